"""How does training answer to its learning rate and batch size?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import _num_samples

from sklearn_dl.plotting.display import LINES, Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sklearn_dl.studies import BatchSizeStudy, LearningRateRange

__all__ = ["BatchSizeDisplay", "LearningRateRangeDisplay", "ScheduleDisplay"]


class LearningRateRangeDisplay(Display):
    """The training loss that each constant learning rate reaches, and where training is unstable.

    Parameters
    ----------
    found : LearningRateRange
        Of `sklearn_dl.studies.learning_rate_range`.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After ``plot``.
    line_ : Line2D
        Mean loss by rate.
    """

    line_: Any

    def __init__(self, found: LearningRateRange) -> None:
        self.found = found

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, ax: Axes | None = None, **options: Any
    ) -> Self:
        """Train and draw.

        Parameters
        ----------
        estimator, X, y
            A DLClassifier or DLRegressor, or a Pipeline that ends in one, and training rows.
        ax : matplotlib Axes, optional
            A new figure by default.
        **options
            Further arguments of `sklearn_dl.studies.learning_rate_range`.
        """
        from sklearn_dl.studies import learning_rate_range

        return cls(learning_rate_range(estimator, X, y, **options)).plot(ax=ax)

    def _draw(self, ax: Axes) -> None:
        found, runs = self.found, self.found.runs
        start = float(runs["start_loss"].mean())
        ceiling = 10 * start
        fine = runs[~runs["diverged"] & (runs["loss"] <= ceiling)]
        lost = runs[runs["diverged"] | (runs["loss"] > ceiling)]
        ax.plot(fine["learning_rate"], fine["loss"], ".", color="0.6", label="each seed")
        whole = fine[~fine["learning_rate"].isin(lost["learning_rate"])]
        mean = whole.groupby("learning_rate")["loss"].mean()
        (self.line_,) = ax.plot(mean.index, mean, color="black", label="mean")
        if len(lost):
            top = np.full(len(lost), ceiling)
            ax.plot(lost["learning_rate"], top, "x", color="black", label="diverged or off the top")
        ax.axhline(start, color="0.6", linewidth=0.8, label="before training")
        if np.isfinite(found.largest_stable):
            ax.axvline(
                found.largest_stable,
                color="black",
                linestyle="--",
                label=f"largest stable: {found.largest_stable:.3g}",
            )
        if np.isfinite(found.curvature_limit):
            ax.axvline(
                found.curvature_limit,
                color="black",
                linestyle=":",
                label=f"limit by curvature: {found.curvature_limit:.3g}",
            )
        ax.set(xscale="log", yscale="log", xlabel="learning rate (constant)")
        ax.set_ylabel(f"training loss after {found.n_steps} updates")
        title = "No rate tried is stable"
        if np.isfinite(found.largest_stable):
            title = f"Stable up to {found.largest_stable:.3g}"
        if np.isfinite(found.best):
            title += f", best at {found.best:.3g}"
        ax.set_title(title)
        ax.legend(fontsize="small")


class ScheduleDisplay(Display):
    """The learning rate of each update, as training will set it.

    Parameters
    ----------
    rates : DataFrame
        Of `sklearn_dl.studies.schedule_rates`.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After ``plot``.
    line_ : Line2D
    """

    line_: Any
    size: ClassVar[tuple[float, float]] = (6, 3)

    def __init__(self, rates: pd.DataFrame) -> None:
        self.rates = rates

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any = None, *, ax: Axes | None = None
    ) -> Self:
        """Draw the schedule for as many rows as X has.

        Parameters
        ----------
        estimator : DLClassifier, DLRegressor or Pipeline that ends in one
        X : array-like of shape (n, n_features)
        y : ignored
        ax : matplotlib Axes, optional
            A new figure by default.
        """
        from sklearn_dl.studies import schedule_rates

        return cls(schedule_rates(estimator, _num_samples(X))).plot(ax=ax)

    def _draw(self, ax: Axes) -> None:
        rate = self.rates["learning_rate"]
        (self.line_,) = ax.plot(self.rates["epoch"], rate, color="black")
        ax.set_ylim(0, 1.05 * float(rate.max()))
        ax.set(xlabel="epoch", ylabel="learning rate")
        k = int(rate.to_numpy().argmax())
        ax.set_title(
            f"The rate peaks at {rate[k]:.3g} in epoch {self.rates['epoch'][k]:.3g}\n"
            f"and ends at {rate.iloc[-1]:.2g}"
        )


class BatchSizeDisplay(Display):
    """A measure over batch sizes, with and without momentum, each at its own best rate.

    Parameters
    ----------
    found : BatchSizeStudy
        Of `sklearn_dl.studies.batch_size_study`.
    measure : str, default="test_loss"
        A measure of ``found.table``, such as "train_loss", "noise_scale" or "eigenvalue_max".
    budget : {"equal epochs", "equal steps"}

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After ``plot``.
    lines_ : list
        One a momentum.
    """

    lines_: list[Any]

    def __init__(
        self, found: BatchSizeStudy, measure: str = "test_loss", budget: str = "equal epochs"
    ) -> None:
        if f"{measure}_low" not in found.table or budget not in set(found.table["budget"]):
            raise ValueError(
                f"measure and budget must be among those of the study; got {measure!r}, {budget!r}."
            )
        self.found, self.measure, self.budget = found, measure, budget

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        measure: str = "test_loss",
        budget: str = "equal epochs",
        ax: Axes | None = None,
        **options: Any,
    ) -> Self:
        """Train and draw.

        Parameters
        ----------
        estimator, X, y
            A DLClassifier or DLRegressor, or a Pipeline that ends in one, and rows.
        measure, budget
            As in the constructor.
        ax : matplotlib Axes, optional
            A new figure by default.
        **options
            Further arguments of `sklearn_dl.studies.batch_size_study`.
        """
        from sklearn_dl.studies import batch_size_study

        return cls(batch_size_study(estimator, X, y, **options), measure, budget).plot(ax=ax)

    def _draw(self, ax: Axes) -> None:
        table = self.found.table[self.found.table["budget"] == self.budget]
        self.lines_ = []
        for k, (momentum, own) in enumerate(table.groupby("momentum", sort=False)):
            style, marker, grey = LINES[k % len(LINES)]
            mean = own[self.measure]
            spread = np.vstack(
                [mean - own[f"{self.measure}_low"], own[f"{self.measure}_high"] - mean]
            )
            bars = ax.errorbar(
                own["batch_size"] * (1 + 0.04 * k),  # apart, so that bars do not hide each other
                mean,
                yerr=np.nan_to_num(spread),
                linestyle=style,
                marker=marker,
                color=grey,
                capsize=3,
                label=f"momentum {momentum:g}",
            )
            self.lines_.append(bars)
        ax.set_xscale("log", base=2)
        ax.set_xticks(sizes := sorted(table["batch_size"].unique()), [str(s) for s in sizes])
        ax.minorticks_off()
        words = self.measure.replace("_", " ").replace("test", "held-out")
        ax.set(xlabel="batch size", ylabel=f"{words}, 95 % interval over seeds")
        ax.legend()
        if table[self.measure].isna().all():
            ax.set_title(f"The {words} of this network is not known")
            return
        best = table.iloc[int(table[self.measure].argmin())]
        ax.set_title(
            f"{self.budget.capitalize()}: lowest {words}\nwith batches of "
            f"{best['batch_size']:.0f}, momentum {best['momentum']:g}"
        )
