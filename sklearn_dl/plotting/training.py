"""How did training go?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_dl.plotting.display import Display

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

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After ``plot``.
    lines_ : list of Line2D
        One a curve.
    """

    lines_: list[Any]

    def __init__(self, epochs: Any, losses: dict[str, Any]) -> None:
        self.epochs = np.asarray(epochs)
        self.losses = {name: np.asarray(curve, dtype=float) for name, curve in losses.items()}

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
            return cls(history["epoch"].to_numpy(), curves).plot(ax=ax)
        if not hasattr(core, "loss_curve_"):
            raise TypeError(
                f"{type(core).__name__} keeps no training history. Pass an estimator with "
                "history_ or loss_curve_, such as DLClassifier."
            )
        curve = np.asarray(core.loss_curve_)
        return cls(np.arange(1, len(curve) + 1), {"train_loss": curve}).plot(ax=ax)

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
        ax.set(xlabel="epoch", ylabel="loss", title="Training curve")
        ax.legend()
