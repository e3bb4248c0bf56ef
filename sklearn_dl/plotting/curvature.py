"""What does the loss look like around the weights?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_dl.plotting.display import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sklearn_dl.curvature import HessianExtremes, LossSlice, SpectralDensity

__all__ = ["HessianSpectrumDisplay", "LossLandscapeDisplay"]


class HessianSpectrumDisplay(Display):
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

    def _draw(self, ax: Axes) -> None:
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
        share = self.density.negative_share
        ax.set(
            xlabel="eigenvalue of the training loss's Hessian",
            ylabel="density",
            title=f"{share:.1%} of the eigenvalues are clearly negative"
            if share > 0
            else "No eigenvalue is clearly negative",
        )


class LossLandscapeDisplay(Display):
    """The training loss along lines through the weights beside its Taylor model, or over a plane.

    Parameters
    ----------
    *slices : LossSlice
        Of `sklearn_dl.curvature.loss_slice`: one or more lines, or one plane.
    names : sequence of str, optional
        What to call the lines; their directions' names by default.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After ``plot``.
    lines_ : list of Line2D
        Loss and Taylor model of each line.
    contours_ : QuadContourSet
        Of a plane.
    """

    lines_: list[Any]
    contours_: Any

    def __init__(self, *slices: LossSlice, names: Sequence[str] | None = None) -> None:
        planes = [s for s in slices if s.losses.ndim == 2]
        if not slices or (planes and len(slices) > 1):
            raise ValueError(
                f"give lines, or one plane; got {len(slices)} slices, {len(planes)} of them planes."
            )
        self.slices = slices
        self.names = [s.names[0] for s in slices] if names is None else list(names)

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
        lines = [
            loss_slice(estimator, X, y, directions=ray, span=span, random_state=random_state)
            for ray in (ends.vector_min, ends.vector_max)
        ]
        return cls(*lines, names=("v_min", "v_max")).plot(ax=ax)

    def _draw(self, ax: Axes) -> None:
        self.lines_ = []
        if self.slices[0].losses.ndim == 2:
            self._plane(ax)
        else:
            self._lines(ax)

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
        for k, (line, name) in enumerate(zip(self.slices, self.names, strict=True)):
            colour = ("black", "0.55")[k % 2]
            self.lines_ += ax.plot(line.steps, line.losses, color=colour, label=name)
            label = f"{name}: second-order Taylor"
            self.lines_ += ax.plot(line.steps, line.taylor, "--", color=colour, label=label)
        # the Taylor model may leave the picture; the loss sets its height
        losses = np.concatenate([line.losses for line in self.slices])
        losses = losses[np.isfinite(losses)]
        room = 0.1 * (float(np.ptp(losses)) or 1.0)
        ax.set_ylim(losses.min() - room, losses.max() + room)
        ax.plot(0, self.slices[0].loss, "o", color="black")
        ax.set(xlabel="step from the weights", ylabel="training loss", title=self._title())
        ax.legend()

    def _title(self) -> str:
        """Which line leads down furthest."""
        start = self.slices[0].loss
        drops = [start - float(np.nanmin(line.losses)) for line in self.slices]
        k = int(np.argmax(drops))
        if not drops[k] > 0:
            return "The loss rises on both sides of every line"
        return f"Along {self.names[k]} the loss falls by {drops[k]:.2g} of {start:.2g}"
