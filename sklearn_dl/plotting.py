"""The Displays scikit-learn lacks, in scikit-learn's Display convention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sklearn_dl.curvature import HessianExtremes, LossSlice, SpectralDensity

__all__ = [
    "HessianSpectrumDisplay",
    "LedgerDisplay",
    "LossLandscapeDisplay",
    "TrainingCurveDisplay",
]


def _axes(ax: Axes | None, **size: Any) -> Axes:
    """The axes to draw on; matplotlib is asked for only here."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError(
            'plots need matplotlib: pip install "sklearn-dl[plot]" (or pip install matplotlib).'
        ) from None
    made: Axes = plt.subplots(**size)[1]
    return made


class LedgerDisplay:
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

    ax_: Axes
    figure_: Figure
    bars_: Any

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

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.

        Returns
        -------
        LedgerDisplay
        """
        ax = _axes(ax, figsize=(6, 3), layout="constrained")
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
        ax.set(
            yticks=y, yticklabels=list(rows.index), xlabel=self.unit, title="What each cause costs"
        )
        self.ax_, self.figure_ = ax, ax.figure  # type: ignore[assignment]  # no subfigures here
        return self


class TrainingCurveDisplay:
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

    ax_: Axes
    figure_: Figure
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

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.

        Returns
        -------
        TrainingCurveDisplay
        """
        ax = _axes(ax, figsize=(6, 4), layout="constrained")
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
        self.ax_, self.figure_ = ax, ax.figure  # type: ignore[assignment]  # no subfigures here
        return self


class HessianSpectrumDisplay:
    """How the eigenvalues of the Hessian are spread, and where the spectrum ends.

    Parameters
    ----------
    density : SpectralDensity
        Of `sklearn_dl.curvature.spectral_density`.
    extremes : HessianExtremes, optional
        Marked where given.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After ``plot``.
    line_ : Line2D
        The density.
    """

    ax_: Axes
    figure_: Figure
    line_: Any

    def __init__(self, density: SpectralDensity, extremes: HessianExtremes | None = None) -> None:
        self.density = density
        self.extremes = extremes

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, ax: Axes | None = None, random_state: Any = None
    ) -> Self:
        """Measure and draw.

        Parameters
        ----------
        estimator, X, y
            A fitted DLClassifier or DLRegressor and rows, as for
            `sklearn_dl.curvature.hessian_extremes`.
        ax : matplotlib Axes, optional
            A new figure by default.
        random_state : int, RandomState or None
        """
        from sklearn_dl.curvature import hessian_extremes, spectral_density

        density = spectral_density(estimator, X, y, random_state=random_state)
        extremes = hessian_extremes(estimator, X, y, random_state=random_state)
        return cls(density, extremes).plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.

        Returns
        -------
        HessianSpectrumDisplay
        """
        ax = _axes(ax, figsize=(6, 4), layout="constrained")
        low, high = float(self.density.values.min()), float(self.density.values.max())
        room = 0.05 * ((high - low) or 1.0)
        grid = np.linspace(low - room, high + room, 1001)
        curve = self.density.curve(grid)
        (self.line_,) = ax.plot(grid, curve, color="black")
        # most eigenvalues are near zero: only the logarithm shows the others
        ax.set_yscale("log")
        ax.set_ylim(curve.max() * 1e-6, curve.max() * 3)
        if self.extremes is not None:
            ends = (self.extremes.eigenvalue_min, self.extremes.eigenvalue_max)
            for value, style, name in zip(ends, (":", "--"), ("smallest", "largest"), strict=True):
                ax.axvline(value, color="0.4", linestyle=style, label=f"{name}: {value:.3g}")
            ax.legend()
        ax.set(
            xlabel="eigenvalue",
            ylabel="density",
            title="Eigenvalues of the training loss's Hessian",
        )
        self.ax_, self.figure_ = ax, ax.figure  # type: ignore[assignment]  # no subfigures here
        return self


class LossLandscapeDisplay:
    """The training loss along lines through the weights beside its Taylor model, or over a plane.

    Parameters
    ----------
    *slices : LossSlice
        Of `sklearn_dl.curvature.loss_slice`: one or more lines, or one plane.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After ``plot``.
    lines_ : list of Line2D
        Loss and Taylor model of each line.
    contours_ : QuadContourSet
        Of a plane.
    """

    ax_: Axes
    figure_: Figure
    lines_: list[Any]
    contours_: Any

    def __init__(self, *slices: LossSlice) -> None:
        planes = [s for s in slices if s.losses.ndim == 2]
        if not slices or (planes and len(slices) > 1):
            raise ValueError(
                f"give lines, or one plane; got {len(slices)} slices, {len(planes)} of them planes."
            )
        self.slices = slices

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        directions: str = "hessian",
        n_directions: int = 1,
        span: float = 1.0,
        ax: Axes | None = None,
        random_state: Any = None,
    ) -> Self:
        """Measure and draw.

        Parameters
        ----------
        estimator, X, y
            A fitted DLClassifier or DLRegressor and rows, as for `sklearn_dl.curvature.loss_slice`.
        directions : {"hessian", "random"}, default="hessian"
            With one direction "hessian" draws two lines, along v_min and along v_max.
        n_directions : {1, 2}, default=1
            Lines, or a plane.
        span : float, default=1
        ax : matplotlib Axes, optional
            A new figure by default.
        random_state : int, RandomState or None
        """
        from dataclasses import replace

        from sklearn_dl.curvature import hessian_extremes, loss_slice

        if directions != "hessian" or n_directions == 2:
            one = loss_slice(
                estimator,
                X,
                y,
                directions=directions,
                n_directions=n_directions,
                span=span,
                random_state=random_state,
            )
            return cls(one).plot(ax=ax)
        ends = hessian_extremes(estimator, X, y, random_state=random_state)
        both = {"v_min": ends.vector_min, "v_max": ends.vector_max}
        lines = [
            replace(
                loss_slice(estimator, X, y, directions=ray, span=span, random_state=random_state),
                names=(name,),
            )
            for name, ray in both.items()
        ]
        return cls(*lines).plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.

        Returns
        -------
        LossLandscapeDisplay
        """
        ax = _axes(ax, figsize=(6, 4), layout="constrained")
        self.lines_ = []
        if self.slices[0].losses.ndim == 2:
            self._plane(ax)
        else:
            self._lines(ax)
        self.ax_, self.figure_ = ax, ax.figure  # type: ignore[assignment]  # no subfigures here
        return self

    def _plane(self, ax: Axes) -> None:
        plane = self.slices[0]
        self.contours_ = ax.contour(
            plane.steps, plane.steps, plane.losses.T, levels=12, colors="black"
        )
        ax.clabel(self.contours_, fontsize="small")
        ax.plot(0, 0, "o", color="black")
        first, second = plane.names
        ax.set(xlabel=f"step along {first}", ylabel=f"step along {second}", title="Training loss")

    def _lines(self, ax: Axes) -> None:
        for k, line in enumerate(self.slices):
            colour = ("black", "0.55")[k % 2]
            self.lines_ += ax.plot(line.steps, line.losses, color=colour, label=line.names[0])
            label = f"{line.names[0]}: second-order Taylor"
            self.lines_ += ax.plot(line.steps, line.taylor, "--", color=colour, label=label)
        # the Taylor model may leave the picture; the loss sets its height
        losses = np.concatenate([line.losses for line in self.slices])
        losses = losses[np.isfinite(losses)]
        room = 0.1 * (float(np.ptp(losses)) or 1.0)
        ax.set_ylim(losses.min() - room, losses.max() + room)
        ax.plot(0, self.slices[0].loss, "o", color="black")
        ax.set(xlabel="step from the weights", ylabel="training loss", title="Loss landscape")
        ax.legend()
