"""From checked rows and an estimator's parameters to a job, and from its result to predictions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pandas.util import hash_pandas_object
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_consistent_length

from sklearn_dl.losses import Link
from sklearn_dl.nn import EMBEDDING_SIZE, PERIODIC, STRONG, Architecture, PlainEnsemble, build
from sklearn_dl.nn.replicated import can_be_stacked
from sklearn_dl.optimizers import OptimizerSpec, optimizer_spec
from sklearn_dl.recipes import DROPOUT, N_MEMBERS, PATIENCE, auto_batch_size, auto_max_epochs
from sklearn_dl.tabular import (
    ImageEncoder,
    ImageShape,
    LargeTable,
    Table,
    TabularEncoder,
    is_large,
)
from sklearn_dl.training import (
    DenseInputs,
    Examples,
    FileInputs,
    FitJob,
    Inputs,
    ModelState,
    Recipe,
    SparseInputs,
)
from sklearn_dl.training.inputs import SomeInputs
from sklearn_dl.training.threads import limited_threads, threads_for

__all__ = [
    "Architecture",
    "Encoder",
    "Rows",
    "architecture_of",
    "checked_callbacks",
    "checked_rows",
    "checked_sizes",
    "embedded_levels",
    "encoded_examples",
    "fitted_encoder",
    "history_frame",
    "hold_out",
    "is_stackable",
    "left_out_outputs",
    "member_folds",
    "n_members_of",
    "network_outputs",
    "new_seed",
    "numpy_state",
    "piecewise_bins",
    "plain_module",
    "recipe_of",
    "torch_device",
    "torch_state",
    "warn_if_not_converged",
]

#: Below so many rows no validation split is made.
FEWEST_ROWS_TO_SPLIT = 10
#: Rows encoded and predicted at a time: bounds the memory of a prediction.
PREDICTION_ROWS = 8192


Encoder: TypeAlias = TabularEncoder | ImageEncoder
Bins: TypeAlias = "tuple[tuple[int, ...], NDArray[np.float64]]"
"""Encoded columns of numbers that the network encodes, and slope, offset and mean of their bins."""


@dataclass(frozen=True)
class Rows:
    """Checked rows of a table with their targets.

    Attributes
    ----------
    table : DataFrame, ndarray, csr_array or LargeTable of shape (n, n_features)
    target : ndarray of shape (n,) or (n, n_outputs)
    weight : ndarray of shape (n,) or None
        Positive.
    """

    table: Table | LargeTable
    target: NDArray[Any]
    weight: NDArray[np.float64] | None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.target)

    def at(self, index: NDArray[np.intp]) -> Rows:
        """Some of the rows."""
        weight = None if self.weight is None else self.weight[index]
        if isinstance(self.table, LargeTable):
            return Rows(self.table.at(index), self.target[index], weight)
        return Rows(_safe_indexing(self.table, index), self.target[index], weight)

    def in_memory(self) -> Table:
        """The table, read where it lies in a file."""
        return self.table.read(slice(None)) if isinstance(self.table, LargeTable) else self.table

    def for_statistics(self) -> tuple[Table, NDArray[np.float64] | None]:
        """Table and weights that an encoding is learnt from: a sample of rows of a large one."""
        if not isinstance(self.table, LargeTable):
            return self.table, self.weight
        chosen = self.table.sample()
        return self.table.read(chosen), None if self.weight is None else self.weight[chosen]


def checked_rows(table: Table, target: NDArray[Any], sample_weight: Any) -> Rows:
    """Rows of equal number; those of weight zero are dropped before anything is counted."""
    check_consistent_length(table, target)
    held = LargeTable(table) if isinstance(table, np.ndarray) and is_large(table) else table
    if sample_weight is None:
        return Rows(held, target, None)
    weight = _check_sample_weight(sample_weight, table, dtype=np.float64, ensure_non_negative=True)
    rows = Rows(held, target, weight)
    return rows if weight.all() else rows.at(np.flatnonzero(weight))


def new_seed(random_state: Any) -> int:
    """A seed for a fit; without a random state a fresh one that moves no global state."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31 - 1))
    return int(check_random_state(random_state).randint(2**31 - 1))


def hold_out(
    rows: Rows, fraction: float, seed: int, labels: NDArray[Any] | None
) -> tuple[Rows, Rows | None]:
    """Split off validation rows, stratified by ``labels`` where every class has rows enough."""
    n = len(rows)
    if n < FEWEST_ROWS_TO_SPLIT:
        warnings.warn(
            f"early_stopping needs at least {FEWEST_ROWS_TO_SPLIT} rows to hold some out, got {n}: "
            "all rows are trained on for max_epochs epochs.",
            UserWarning,
            stacklevel=2,
        )
        return rows, None
    n_held_out = min(n - 1, max(1, round(fraction * n)))
    stratify = None
    if labels is not None:
        counts = np.unique(labels, return_counts=True)[1]
        if counts.min() >= 2 and len(counts) <= min(n_held_out, n - n_held_out):
            stratify = labels
    train, test = train_test_split(
        np.arange(n), test_size=n_held_out, random_state=seed, stratify=stratify
    )
    return rows.at(np.sort(train)), rows.at(np.sort(test))


def checked_sizes(sizes: Any, name: str = "hidden_layer_sizes") -> tuple[int, ...]:
    """Positive ints as a tuple; a single int is one layer."""
    listed = (sizes,) if np.ndim(sizes) == 0 else tuple(sizes)
    if not all(
        isinstance(s, (int, np.integer)) and not isinstance(s, bool) and s > 0 for s in listed
    ):
        raise ValueError(f"{name} must be positive ints, got {sizes!r}.")
    return tuple(int(s) for s in listed)


def torch_device(device: Any) -> torch.device:
    """The device to train on, checked to be there."""
    try:
        found = torch.get_default_device() if device is None else torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={device!r} cannot be used here: {reason}") from error
    return found


def checked_callbacks(callbacks: Any) -> tuple[Any, ...]:
    """skorch callbacks: instances or classes, alone or as (name, callback)."""
    listed = tuple(callbacks or ())
    for one in listed:
        callback = one[1] if isinstance(one, tuple) and len(one) == 2 else one
        if not all(hasattr(callback, name) for name in ("initialize", "on_epoch_end")):
            raise TypeError(
                "callbacks must be skorch callbacks (skorch.callbacks.Callback), alone or as "
                f"(name, callback); got {one!r}. scikit-learn's own go into set_callbacks."
            )
    return listed


def architecture_of(
    estimator: Any,
    n_features: int,
    n_outputs: int,
    *,
    bins: Bins,
    n_levels: tuple[int, ...],
    n_members: int,
    link: Link,
    image: ImageShape | None,
    levels: tuple[float, ...] = (),
) -> Architecture:
    """The network that the parameters ask for."""
    channels = checked_sizes(estimator.channels, "channels")
    return Architecture(
        estimator.module,
        n_features,
        n_outputs,
        checked_sizes(estimator.hidden_layer_sizes),
        estimator.activation,
        estimator.normalization,
        binned=bins[0],
        n_bins=bins[1].shape[2],
        periodic=PERIODIC if bins[0] and is_periodic(estimator) else (0, 0),
        n_levels=n_levels,
        embedding_size=EMBEDDING_SIZE if n_levels else 0,
        n_members=n_members,
        link=link,
        image=image,
        channels=channels if estimator.module == "cnn" else (),
        levels=levels,
    )


def fitted_encoder(estimator: Any, rows: Rows, image: ImageShape | None) -> Encoder:
    """What turns tables like this one into inputs of the network."""
    if image is None:
        return TabularEncoder(
            preprocessing=estimator.preprocessing,
            categorical_features=estimator.categorical_features,
            many_levels=many_levels(estimator),
        ).fit_table(*rows.for_statistics())
    given = estimator.categorical_features
    if given is not None and not (isinstance(given, str) and given == "from_dtype"):
        raise ValueError(
            f"images have no categories, but categorical_features={given!r}. Leave it at "
            "'from_dtype', or input_shape at None for a table."
        )
    encoder = ImageEncoder(shape=image, preprocessing=estimator.preprocessing)
    return encoder.fit_table(*rows.for_statistics())


def many_levels(estimator: Any) -> str:
    """What the module reads of columns with many levels; codes cannot be mixed or shaken."""
    return "code" if is_strong(estimator.module) and not estimator.augmentation else "infrequent"


def embedded_levels(encoder: Encoder) -> tuple[int, ...]:
    """Levels of each column of codes."""
    if isinstance(encoder, ImageEncoder):
        return ()
    return tuple(len(encoder.levels_[column]) for column in encoder.coded_columns_)


def piecewise_bins(estimator: Any, encoder: Encoder, rows: Rows) -> Bins:
    """Numbers that the module encodes and their bins, none where it has none."""
    if not is_strong(estimator.module) or isinstance(encoder, ImageEncoder):
        return (), np.zeros((3, 0, 0))
    columns, bins = encoder.piecewise_bins(*rows.for_statistics())
    return columns, bins


def n_members_of(estimator: Any, optimizer: OptimizerSpec) -> int:
    """Networks that are averaged; one where several could not train as one stack."""
    alone = bool(estimator.callbacks) or not optimizer.elementwise
    if estimator.n_members == "auto":
        return N_MEMBERS if is_strong(estimator.module) and not alone else 1
    if estimator.n_members > 1 and alone:
        why = "callbacks" if estimator.callbacks else "an optimizer that mixes parameters"
        raise ValueError(
            f"n_members={estimator.n_members} networks train together, which {why} cannot follow. "
            "Set n_members=1."
        )
    return int(estimator.n_members)


def is_strong(module: Any) -> bool:
    """Whether the module encodes numbers and levels itself and is an ensemble by default."""
    return isinstance(module, str) and module in STRONG


def is_periodic(estimator: Any) -> bool:
    """Whether the module embeds numbers by waves beside bins."""
    return isinstance(estimator.module, str) and estimator.module == "periodic"


def member_folds(
    rows: Rows, n_members: int, seed: int, *, stratify: bool, one_batch: bool
) -> torch.Tensor | None:
    """The member that leaves out each row, (n_rows,); None where there are too few rows.

    Where one batch holds all rows, rows of equal content have the same fold: a row of weight two
    and a row that stands twice then leave the same rows to every member.
    """
    if n_members == 1:
        return None
    if one_batch:
        _, first, place = np.unique(_content(rows), return_index=True, return_inverse=True)
    else:
        first = place = np.arange(len(rows))
    if len(first) < max(FEWEST_ROWS_TO_SPLIT, n_members):
        return None
    order = np.random.RandomState(seed).permutation(len(first))
    if stratify:
        order = order[np.argsort(rows.target[first][order], kind="stable")]
    folds = np.empty(len(first), dtype=np.int64)
    folds[order] = np.arange(len(first)) % n_members
    return torch.from_numpy(folds[place])


def _content(rows: Rows) -> NDArray[np.uint64]:
    """A number for each row, equal for rows with equal features and target."""
    assert not isinstance(rows.table, LargeTable)  # one batch does not hold it
    table = rows.table.toarray() if isinstance(rows.table, csr_array) else rows.table
    if isinstance(table, np.ndarray):
        table = pd.DataFrame(np.asarray(table, dtype=np.float64))
    else:  # the same numbers of another dtype are the same rows
        plain = [isinstance(dtype, np.dtype) and dtype.kind in "biuf" for dtype in table.dtypes]
        table = table.astype(dict.fromkeys(table.columns[plain], np.float64))
    # by rank: units measured with weights or with repetitions differ in their last bit
    columns = rows.target.reshape(len(rows), -1).T
    target = pd.DataFrame([np.unique(column, return_inverse=True)[1] for column in columns]).T
    keys = [hash_pandas_object(frame, index=False).to_numpy() for frame in (table, target)]
    return np.asarray(keys[0] * np.uint64(3) + keys[1], dtype=np.uint64)


def recipe_of(estimator: Any, n_rows: int, *, incremental: bool, watched: bool) -> Recipe:
    """How to train ``n_rows`` rows; ``partial_fit`` makes one epoch at the constant rate.

    Without the augmentation, which needs to know what the rows are.
    """
    batch_size = estimator.batch_size
    epochs = estimator.max_epochs
    smoothing = getattr(estimator, "label_smoothing", 0.0)
    return Recipe(
        optimizer=optimizer_spec(
            estimator.optimizer, momentum=estimator.momentum, rms_decay=estimator.rms_decay
        ),
        learning_rate=float(estimator.learning_rate),
        batch_size=auto_batch_size(n_rows, estimator.module)
        if batch_size == "auto"
        else int(batch_size),
        max_epochs=1
        if incremental
        else auto_max_epochs(n_rows, estimator.module)
        if epochs == "auto"
        else int(epochs),
        weight_decay=float(estimator.weight_decay),
        max_grad_norm=estimator.max_grad_norm,
        schedule=None if incremental else estimator.schedule,
        decay_every=estimator.decay_every,
        decay_factor=estimator.decay_factor,
        warmup=0.0 if incremental else float(estimator.warmup),
        dropout=DROPOUT if estimator.dropout == "auto" else float(estimator.dropout),
        label_smoothing=0.0 if smoothing == "auto" else float(smoothing),
        early_stopping=bool(estimator.early_stopping) and watched,
        n_iter_no_change=estimator.n_iter_no_change,
        tol=float(estimator.tol),
        patience=PATIENCE,
    )


def encoded_examples(encoder: Encoder, rows: Rows, dtype: torch.dtype) -> Examples:
    """Rows as the loop wants them; a sparse or large table is encoded batch by batch."""
    numpy_dtype = np.dtype(str(dtype).removeprefix("torch."))
    inputs: Inputs
    if isinstance(rows.table, csr_array):
        inputs = SparseInputs(rows.table, encoder.transform_table, encoder.n_encoded_, numpy_dtype)
    elif isinstance(rows.table, LargeTable):
        read, encode = rows.table.read, encoder.transform_table
        inputs = FileInputs(read, encode, len(rows), encoder.n_encoded_, numpy_dtype)
    else:
        inputs = DenseInputs(_tensor(encoder.transform_table(rows.table, numpy_dtype)))
    target = _tensor(rows.target)
    weight = None if rows.weight is None else _tensor(rows.weight)
    return Examples(inputs, target if target.dtype == torch.int64 else target.to(dtype), weight)


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """Share memory, also with a read-only array, which nothing here writes to."""
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


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
            value.data = _tensor(state[name]).reshape(value.shape)
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
            rows = _tensor(encoder.transform_table(chunk, dtype)).to(first.device)
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


def numpy_state(state: ModelState) -> dict[str, NDArray[Any]]:
    """The numbers of a model as arrays, for an estimator to keep."""
    return {name: value.numpy() for name, value in state.values.items()}


def torch_state(state: dict[str, NDArray[Any]], optimizer: dict[str, Any]) -> ModelState:
    """The numbers of a model for the loop to go on from."""
    return ModelState({name: _tensor(value) for name, value in state.items()}, optimizer)


def is_stackable(architecture: Architecture) -> bool:
    """Whether models of this architecture can train as one stack; checks a user's callables."""
    if callable(architecture.activation):
        rows = torch.zeros(1, 2, 3)
        out = architecture.activation(rows)
        if not isinstance(out, torch.Tensor) or out.shape != rows.shape:
            seen = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            raise ValueError(
                "a callable activation must return a tensor of the shape of its argument; for "
                f"shape {tuple(rows.shape)} it gave {seen}."
            )
    if not callable(architecture.module):
        return True
    stackable = can_be_stacked(architecture.module, architecture.n_features, architecture.n_outputs)
    if architecture.n_members > 1 and not stackable:
        raise ValueError(
            f"n_members={architecture.n_members} networks train together, which a module that "
            "keeps buffers or draws random numbers cannot. Set n_members=1."
        )
    return stackable
