"""What must be kept of a training so that it goes on bit for bit?

Taken between two epochs: the numbers of the models with their optimizer, the positions of their
random streams, and what their schedules, stopping rules and histories have seen. Models that have
ended but still stand in the stack are kept there: a stack of another size rounds differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sklearn_dl.training.loop import Stack
from sklearn_dl.training.model import Model

__all__ = ["resumed", "snapshot"]


def snapshot(models: Sequence[Model], stack: Stack) -> dict[str, Any]:
    """The state of a training of ``models``, of which ``stack`` holds those that go on."""
    place = {id(model): i for i, model in enumerate(models)}
    return {
        "models": [model.kept() for model in models],
        "places": [place[id(model)] for model in stack.models],
        "stack": stack.kept(),
    }


def resumed(models: Sequence[Model], state: dict[str, Any]) -> Stack:
    """The stack as it was; ``models``, fresh ones of the same jobs, are brought to where they were.

    Parameters
    ----------
    models : sequence of Model
        In the order in which `snapshot` had them.
    state : dict
        What `snapshot` gave.
    """
    kept = state["stack"]
    going = [models[place] for place in state["places"]]
    for model, optimizer in zip(going, kept["optimizer"], strict=True):
        model.optimizer_state = _moved(optimizer, model.job.device)
    scaled, runs = kept["layout"]
    layout = scaled, [(start, stop) for start, stop in runs]
    stack = Stack(going, [model.job.start for model in going], layout=layout)
    stack.load_kept(kept)
    for model, own in zip(models, state["models"], strict=True):
        model.load_kept(own)  # last: the fresh stack drew initial values
    return stack


def _moved(value: Any, device: torch.device) -> Any:
    """The same with all tensors on a device."""
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value.to(device) if isinstance(value, torch.Tensor) else value
