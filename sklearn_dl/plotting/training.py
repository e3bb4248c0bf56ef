"""How did training go?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_dl.plotting.display import Display, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TrainingCurveDisplay"]


class TrainingCurveDisplay(Display):
    """Training and validation loss by epoch.

    Parameters
    ----------
    epochs : ndarray of shape (n_epochs,)
        Epoch numbers.
    losses : dict of str to ndarray of shape (n_epochs,)
        Curves by name.
    others : dict of str to ndarray of shape (n_epochs,), optional
        Learning rate and gradient norm: drawn below the losses, each on its own axes, where no
        axes are given.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After ``plot``.
    lines_ : list of Line2D
        One a loss.
    axes_ : list of Axes
        Of the losses and of each other curve that was drawn.
    """

    lines_: list[Any]
    axes_: list[Axes]

    def __init__(
        self, epochs: Any, losses: dict[str, Any], others: dict[str, Any] | None = None
    ) -> None:
        self.epochs = np.asarray(epochs)
        self.losses = {name: np.asarray(curve, dtype=float) for name, curve in losses.items()}
        self.others = {n: np.asarray(c, dtype=float) for n, c in (others or {}).items()}

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any = None, y: Any = None, *, ax: Axes | None = None
    ) -> Self:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted: a DLClassifier or DLRegressor, a Pipeline that ends in one, or any with a
            ``loss_curve_``.
        X, y : ignored
            Scikit-learn's convention.
        ax : matplotlib Axes, optional
            A new figure by default.

        Raises
        ------
        TypeError
            The estimator keeps no history.
        """
        core = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
        core = getattr(core, "regressor_", core)
        check_is_fitted(core)
        history = getattr(core, "history_", None)
        if history is not None:
            names = [c for c in ("train_loss", "valid_loss") if history[c].notna().any()]
            curves = {name: history[name].to_numpy() for name in names}
            others = {name: history[name].to_numpy() for name in ("learning_rate", "gradient_norm")}
            return cls(history["epoch"].to_numpy(), curves, others).plot(ax=ax)
        if not hasattr(core, "loss_curve_"):
            raise TypeError(
                f"{type(core).__name__} keeps no training history. Pass an estimator with "
                "history_ or loss_curve_, such as DLClassifier."
            )
        curve = np.asarray(core.loss_curve_)
        return cls(np.arange(1, len(curve) + 1), {"train_loss": curve}).plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw; the losses alone where axes are given.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.
        """
        first = new_axes(ax, (6, 4 + 1.2 * len(self.others) * (ax is None)))
        super().plot(first)
        self.axes_ = [first]
        if ax is None and self.others:
            self._below(first)
        return self

    def _below(self, first: Axes) -> None:
        """The other curves, under the losses and over the same epochs."""
        figure, n = self.figure_, len(self.others)
        grid = figure.add_gridspec(n + 1, 1, height_ratios=[3] + [1] * n)
        first.set_subplotspec(grid[0])
        for k, (name, curve) in enumerate(self.others.items()):
            below = figure.add_subplot(grid[k + 1], sharex=first)
            below.plot(self.epochs, curve, color="black")
            below.set_ylabel(name.replace("_", "\n"))
            self.axes_.append(below)
        for upper in self.axes_[:-1]:
            upper.set_xlabel("")
            upper.tick_params(labelbottom=False)
        self.axes_[-1].set_xlabel("epoch")

    def _draw(self, ax: Axes) -> None:
        styles = ("-", "--", ":")
        self.lines_ = [
            ax.plot(self.epochs, curve, styles[k % 3], color="black", label=name.replace("_", " "))[
                0
            ]
            for k, (name, curve) in enumerate(self.losses.items())
        ]
        if all((curve[np.isfinite(curve)] > 0).all() for curve in self.losses.values()):
            ax.set_yscale("log")
        ax.set(xlabel="epoch", ylabel="loss", title=self._title())
        ax.legend()

    def _title(self) -> str:
        """What became of the loss."""
        name, curve = next(iter(self.losses.items()))
        loss = name.replace("_", " ").capitalize()
        if len(curve) == 1:
            return f"{loss} {curve[0]:.3g} in the only epoch"
        went = "fell" if curve[-1] < curve[0] else "did not fall: it went"
        best = int(np.nanargmin(list(self.losses.values())[-1]))
        if len(self.losses) > 1 and best < len(curve) - 1:
            return f"The validation loss was lowest in epoch {self.epochs[best]:g}"
        return f"{loss} {went} from {curve[0]:.3g} to {curve[-1]:.3g}"
