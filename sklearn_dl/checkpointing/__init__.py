"""Fits that survive the death of their process."""

from sklearn_dl.checkpointing.context import checkpoints

__all__ = ["checkpoints"]
