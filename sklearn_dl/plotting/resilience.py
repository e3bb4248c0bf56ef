"""How much skill is left under noise?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_dl.plotting.display import LINES, Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sklearn_dl.resilience import Resilience

__all__ = ["ResilienceDisplay"]

UNITS = {
    "feature noise": "noise on the numbers (standard deviations)",
    "missing values": "share of cells lost",
    "category swaps": "share of categories swapped",
    "label noise": "share of training labels wrong",
}
WORDS = {
    "feature noise": "Under noise of {:g} sd",
    "missing values": "With {:.0%} of the cells lost",
    "category swaps": "With {:.0%} of the categories swapped",
    "label noise": "With {:.0%} wrong labels",
}


class ResilienceDisplay(Display):
    """Share of the skill that is left under noise, beside reference models.

    Parameters
    ----------
    found : Resilience
        Of `sklearn_dl.resilience.resilience`.
    corruption : str, optional
        One of ``found.corruptions``; the first by default.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After ``plot``.
    lines_ : list of Line2D
        One a model, the model under study first.
    """

    lines_: list[Any]

    def __init__(self, found: Resilience, corruption: str | None = None) -> None:
        corruption = corruption or found.corruptions[0]
        if corruption not in found.corruptions:
            raise ValueError(f"corruption must be one of {found.corruptions}, got {corruption!r}.")
        self.found, self.corruption = found, corruption

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        corruption: str | None = None,
        ax: Axes | None = None,
        **options: Any,
    ) -> Self:
        """Measure and draw.

        Parameters
        ----------
        estimator, X, y
            A fitted classifier or regressor, and rows it has not learnt.
        corruption : str, optional
            "feature noise" (default), "missing values", "category swaps" or "label noise".
        ax : matplotlib Axes, optional
            A new figure by default.
        **options
            Further arguments of `sklearn_dl.resilience.resilience`.
        """
        from sklearn_dl.resilience import resilience

        return cls(resilience(estimator, X, y, **options), corruption).plot(ax=ax)

    def _draw(self, ax: Axes) -> None:
        curves = self.found.curves[self.found.curves["corruption"] == self.corruption]
        self.lines_ = []
        for k, (name, own) in enumerate(curves.groupby("model", sort=False)):
            style, marker, grey = LINES[k % len(LINES)]
            (line,) = ax.plot(
                own["level"], own["retention"], style, marker=marker, color=grey, label=name
            )
            self.lines_.append(line)
            if k == 0:
                ax.fill_between(
                    own["level"], own["retention_low"], own["retention_high"], color="0.85"
                )
        ax.axhline(0.5, color="0.6", linewidth=0.8)
        ax.axhline(0, color="black", linewidth=0.8)
        kept = curves["retention"].to_numpy(dtype=float)
        lowest = float(np.nanmin(kept)) if np.isfinite(kept).any() else 0.0
        ax.set_ylim(max(-1.0, min(-0.05, lowest - 0.05)), 1.1)
        ax.set(
            xlabel=UNITS[self.corruption],
            ylabel="share of the skill that is left",
            title=self._title(),
        )
        ax.legend(loc="lower left")

    def _title(self) -> str:
        own = self.found.curves[
            (self.found.curves["model"] == self.found.model)
            & (self.found.curves["corruption"] == self.corruption)
        ]
        last = own.iloc[-1]
        if np.isnan(last["retention"]):
            return f"{self.found.model} has no sure skill to lose"
        return (
            f"{WORDS[self.corruption].format(last['level'])} {self.found.model}\nkeeps "
            f"{last['retention']:.0%} ({last['retention_low']:.0%} to "
            f"{last['retention_high']:.0%}) of its skill"
        )
