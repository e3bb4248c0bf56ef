"""Warning filters follow the thread whose turn it is.

``warnings.catch_warnings`` saves and restores filters of the whole process. Two threads inside it
that take turns would undo each other's, and the last to leave would leave its own behind.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

__all__ = ["WarningState"]

# What catch_warnings itself saves; the last one is where record=True puts its list.
_NAMES = ("filters", "showwarning", "_showwarnmsg_impl")


@dataclass(frozen=True)
class WarningState:
    """What decides whether and how a warning is shown."""

    values: tuple[tuple[str, Any], ...]

    @classmethod
    def now(cls) -> WarningState:
        """The state at this moment."""
        names = (name for name in _NAMES if hasattr(warnings, name))
        return cls(tuple((name, getattr(warnings, name)) for name in names))

    def restore(self) -> None:
        """Make this the state again."""
        for name, value in self.values:
            setattr(warnings, name, value)
        with warnings.catch_warnings():  # leaving it tells the C code that the filters changed
            pass
