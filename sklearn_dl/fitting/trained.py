"""From the numbers that training gave to a module, its predictions and its history."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from sklearn_dl.fitting.inputs import Encoder, shared_tensor
from sklearn_dl.fitting.settings import torch_device
from sklearn_dl.nn import Architecture, PlainEnsemble, build
from sklearn_dl.tabular import Table
from sklearn_dl.training import FitJob, ModelState, Recipe
from sklearn_dl.training.inputs import SomeInputs
from sklearn_dl.training.threads import limited_threads, threads_for

__all__ = [
    "as_arrays",
    "as_tensors",
    "history_frame",
    "left_out_outputs",
    "network_outputs",
    "numpy_state",
    "plain_module",
    "torch_state",
    "warn_if_not_converged",
]

#: Rows encoded and predicted at a time: bounds the memory of a prediction.
PREDICTION_ROWS = 8192


def numpy_state(state: ModelState) -> dict[str, NDArray[Any]]:
    """The numbers of a model as arrays, for an estimator to keep."""
    return {name: value.numpy() for name, value in state.values.items()}


def torch_state(state: dict[str, NDArray[Any]], optimizer: dict[str, Any]) -> ModelState:
    """The numbers of a model for the loop to go on from."""
    return ModelState({name: shared_tensor(value) for name, value in state.items()}, optimizer)


def as_arrays(value: Any) -> Any:
    """The state of an optimizer with arrays for tensors, so that it opens without its device."""
    if isinstance(value, dict):
        return {key: as_arrays(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(as_arrays(item) for item in value)
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def as_tensors(value: Any, device: Any) -> Any:
    """The state of an optimizer as `as_arrays` was given it, on a device; copied."""
    if isinstance(value, dict):
        return {key: as_tensors(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(as_tensors(item, device) for item in value)
    is_array = isinstance(value, np.ndarray)
    return torch.tensor(value, device=torch_device(device)) if is_array else value


@torch.inference_mode(False)  # whatever surrounds the call: a user may go on training the module
def plain_module(network: dict[str, Any], state: dict[str, NDArray[Any]]) -> torch.nn.Module:
    """A trained network as a plain torch module in evaluation mode.

    Parameters
    ----------
    network : dict
        Arguments of ``Architecture``.
    state : dict of str to ndarray
        Its parameters and buffers.
    """
    architecture = Architecture(**network)
    k = architecture.n_members
    stack = build(architecture, k)
    with torch.no_grad():
        for name, value in (*stack.named_parameters(), *stack.named_buffers()):
            value.data = shared_tensor(state[name]).reshape(value.shape)
    if k == 1:
        return stack.plain(0).eval()
    return PlainEnsemble([stack.plain(i) for i in range(k)], architecture.link).eval()


def network_outputs(
    module: torch.nn.Module, architecture: Architecture, encoder: Encoder, table: Table
) -> NDArray[Any]:
    """Outputs of a trained network for a checked table, (n, n_outputs), in its own precision."""
    n, step = int(table.shape[0]), architecture.rows_at_once(PREDICTION_ROWS)
    first = next(module.parameters(), torch.empty(0))
    dtype = np.dtype(str(first.dtype).removeprefix("torch."))
    flops = 2.0 * architecture.n_multiplications * min(n, step)
    outputs = []
    with torch.inference_mode(), limited_threads(threads_for(flops)):
        for start in range(0, n, step):
            chunk = table if n <= step else _chunk(table, slice(start, start + step))
            rows = shared_tensor(encoder.transform_table(chunk, dtype)).to(first.device)
            outputs.append(module(rows).cpu().numpy())
    return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)


def left_out_outputs(module: torch.nn.Module, job: FitJob) -> NDArray[Any]:
    """Outputs for each training row of the member that left it out, (n_rows, n_outputs)."""
    assert isinstance(module, PlainEnsemble)
    assert job.folds is not None
    outputs = torch.empty(len(job.folds), job.architecture.n_outputs, dtype=job.dtype)
    with torch.inference_mode():
        for fold, member in enumerate(module.members):
            for index in (job.folds == fold).nonzero().squeeze(1).split(PREDICTION_ROWS):
                rows = SomeInputs(job.examples.inputs, index)
                outputs[index] = member(rows.rows(0, len(rows)))
    return outputs.numpy()


def _chunk(table: Table, rows: slice) -> Table:
    return table.iloc[rows] if isinstance(table, pd.DataFrame) else table[rows]


def history_frame(history: dict[str, list[float]]) -> pd.DataFrame:
    """The public history, a row an epoch."""
    names = ("epoch", "train_loss", "valid_loss", "learning_rate", "gradient_norm", "seconds")
    frame = pd.DataFrame({name: history.get(name, []) for name in names}, columns=list(names))
    if frame["valid_loss"].isna().all():
        frame["valid_loss"] = history.get("left_out_loss", [])
    return frame.astype({"epoch": int})


def warn_if_not_converged(history: dict[str, list[float]], recipe: Recipe) -> None:
    """Warn where a constant rate was still making progress in each of the last epochs."""
    losses = history["train_loss"]
    patience = recipe.n_iter_no_change
    if recipe.schedule is not None or len(losses) < recipe.max_epochs or len(losses) <= patience:
        return
    falls = -np.diff(losses[-patience - 1 :])
    if (falls > recipe.tol).all():
        warnings.warn(
            f"the training loss was still falling after max_epochs={recipe.max_epochs} (by "
            f"more than tol={recipe.tol:g} in each of the last {patience}). Train longer, or with "
            "a larger learning_rate, or set a schedule.",
            ConvergenceWarning,
            stacklevel=2,
        )
