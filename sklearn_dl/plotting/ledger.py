"""What does each cause cost?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from sklearn_dl.plotting.display import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LedgerDisplay"]


class LedgerDisplay(Display):
    """What each cause costs, as bars with their 95 % intervals.

    Parameters
    ----------
    ledger : DataFrame
        ``Diagnosis.ledger``.
    unit : str
        Name of the loss, with its unit.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After ``plot``.
    bars_ : BarContainer
        One bar a cause.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_dl.plotting import LedgerDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> display = LedgerDisplay.from_estimator(LogisticRegression(), X, y, random_state=0)
    """

    bars_: Any
    size: ClassVar[tuple[float, float]] = (6, 3)

    def __init__(self, ledger: pd.DataFrame, *, unit: str = "loss") -> None:
        self.ledger = ledger
        self.unit = unit

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, ax: Axes | None = None, **options: Any
    ) -> Self:
        """Diagnose and draw.

        Parameters
        ----------
        estimator, X, y
            As for `sklearn_dl.diagnose`.
        ax : matplotlib Axes, optional
            A new figure by default.
        **options
            Further arguments of `sklearn_dl.diagnose`.
        """
        from sklearn_dl.diagnosis import diagnose

        diagnosis = diagnose(estimator, X, y, **options)
        return cls(diagnosis.ledger, unit=diagnosis.to_dict()["loss"]).plot(ax=ax)

    def _draw(self, ax: Axes) -> None:
        rows = self.ledger.iloc[::-1]
        y = np.arange(len(rows))
        # The reference is a level and the others are gaps: hatched against filled, in greyscale.
        is_level = np.asarray(rows.index == "reference")
        loss = rows["loss"].to_numpy(dtype=float)
        colors = ["0.85" if level else "0.45" for level in is_level]
        self.bars_ = ax.barh(y, np.nan_to_num(loss), color=colors, edgecolor="black")
        spread = np.vstack([loss - rows["ci_low"], rows["ci_high"] - loss]).astype(float)
        known = np.isfinite(spread).all(axis=0)
        ax.errorbar(
            loss[known], y[known], xerr=spread[:, known], fmt="none", ecolor="black", capsize=3
        )
        for k in np.flatnonzero(~np.isfinite(loss)):
            ax.text(0, y[k], " not applicable", va="center")
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set(yticks=y, yticklabels=list(rows.index), xlabel=self.unit, title=self._title())

    def _title(self) -> str:
        """Which cause costs most."""
        gaps = self.ledger["loss"].drop("reference", errors="ignore").dropna()
        if not len(gaps) or not gaps.max() > 0:
            return "No cause costs anything"
        return f"What costs most: {gaps.idxmax()}, {gaps.max():.3g}"
