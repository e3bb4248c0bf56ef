"""What all Displays share: where they draw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Display", "new_axes"]

#: Lines that are told apart without colour: (style, marker, grey).
LINES = (("-", "o", "black"), ("--", "s", "0.35"), (":", "^", "0.35"), ("-.", "D", "0.35"))


def new_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The axes to draw on; matplotlib is asked for only here."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError(
            'plots need matplotlib: pip install "sklearn-dl[plot]" (or pip install matplotlib).'
        ) from None
    made: Axes = plt.subplots(figsize=size, layout="constrained")[1]
    return made


class Display(ABC):
    """A figure made from measurements, as scikit-learn's Displays are.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After ``plot``.
    """

    ax_: Axes
    figure_: Figure
    size: ClassVar[tuple[float, float]] = (6, 4)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.

        Returns
        -------
        self
        """
        ax = new_axes(ax, self.size)
        self._draw(ax)
        self.ax_, self.figure_ = ax, ax.figure  # type: ignore[assignment]  # no subfigures here
        return self

    @abstractmethod
    def _draw(self, ax: Axes) -> None:
        """Draw on these axes."""
