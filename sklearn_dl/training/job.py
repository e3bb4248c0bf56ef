"""What a fit asks of the training loop, and what it gets back.

A ``FitJob`` is plain data: encoded rows, an architecture, a loss, a recipe and a seed. It knows
nothing of estimators, so it can wait, be grouped with others, or travel to another process.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from sklearn_dl.losses import Loss
from sklearn_dl.nn import Architecture
from sklearn_dl.optimizers import OptimizerSpec
from sklearn_dl.training.inputs import Inputs

__all__ = [
    "DivergenceError",
    "Examples",
    "FitJob",
    "FitResult",
    "ModelState",
    "Place",
    "Progress",
    "Recipe",
    "Score",
    "Store",
]

Score = Literal["accuracy", "r2", "d2_pinball"]


class DivergenceError(FloatingPointError):
    """The training loss became non-finite or exploded.

    The estimator that raised it keeps the weights of the last good epoch and can predict.
    """


@dataclass(frozen=True)
class Examples:
    """Rows with their targets.

    Attributes
    ----------
    inputs : Inputs
        Encoded rows.
    target : Tensor of shape (n_rows,) or (n_rows, n_outputs)
        Class indices (int64), or values in the dtype of the inputs.
    weight : Tensor of shape (n_rows,) or None
        Positive sample weights.
    """

    inputs: Inputs
    target: Tensor
    weight: Tensor | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.inputs)

    def to(self, device: torch.device) -> Examples:
        """The same rows on a device."""
        weight = None if self.weight is None else self.weight.to(device)
        return Examples(self.inputs.to(device), self.target.to(device), weight)


@dataclass(frozen=True)
class Recipe:
    """How one model is trained. The models of a stack share only optimizer class and batch size."""

    optimizer: OptimizerSpec
    learning_rate: float
    batch_size: int
    max_epochs: int
    weight_decay: float = 0.0
    max_grad_norm: float | None = None
    schedule: str | Callable[[float], float] | None = None
    decay_every: int | None = None
    decay_factor: float | None = None
    warmup: float = 0.0
    dropout: float = 0.0
    label_smoothing: float = 0.0
    augmentation: Any = None
    early_stopping: bool = False
    n_iter_no_change: int = 10
    tol: float = 1e-4
    # epochs without a lower loss on the rows that members left out, after which they stop
    patience: int = 10


@dataclass
class ModelState:
    """The numbers of one model.

    Attributes
    ----------
    values : dict of str to Tensor
        Parameters and buffers by name, without the model axis.
    optimizer : dict of str to Any
        State of the optimizer, to go on from; empty where there is none.
    """

    values: dict[str, Tensor]
    optimizer: dict[str, Any] = field(default_factory=dict)


class Progress(Protocol):
    """Where the state of one stack in training is kept."""

    def load(self) -> dict[str, Any] | None:
        """The state to go on from, if there is one."""

    def is_due(self) -> bool:
        """Whether to save after this epoch."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state: plain values, lists, dicts and tensors."""

    def finish(self, results: Sequence[FitResult]) -> None:
        """Keep what came out, in the order of the jobs; the state is needed no longer."""


class Store(Protocol):
    """Where the states and results of many fits are kept; it may travel to another process."""

    def progress(self, keys: Sequence[str]) -> Progress:
        """The place of a stack of fits."""


@dataclass(frozen=True)
class Place:
    """Where a fit is kept.

    Attributes
    ----------
    store : Store
        Hashable.
    key : str
        Stands for all that decides the result.
    """

    store: Store
    key: str


@dataclass(frozen=True)
class FitJob:
    """One model to train.

    Attributes
    ----------
    architecture, loss, recipe
        What is trained, what is minimised and how.
    examples : Examples
    seed : int
        Decides initial values, shuffling, dropout and augmentation.
    validation : Examples or None
        Rows whose loss is watched after each epoch.
    score : {"accuracy", "r2", "d2_pinball"} or None
        Score on the validation rows beside their loss.
    start : ModelState or None
        Where to go on from; None: fresh initial values.
    left_out : Examples or None
        Rows that this model does not learn from and its team is stopped by.
    folds : Tensor of shape (n_rows,), int64, or None
        The member that leaves out each row; None: all learn from all rows.
    bins : Tensor of shape (3, n_binned, n_bins) or None
        Slope, offset and mean of each bin of the piecewise-linear encoding.
    device, dtype
        Where and in which precision to train.
    callbacks : sequence
        skorch callbacks.
    on_epoch : callable or None
        ``(record, state) -> stop``: called after each epoch with its history record and a function
        that gives the model's state; a true value ends the training of this model.
    verbose : bool
        Print a line an epoch.
    keep_optimizer : bool
        Whether the result carries the optimizer's state.
    repeatable : bool
        Whether the same fit would have the same seed again.
    place : Place or None
        Where to keep the state of the training and its result.
    """

    architecture: Architecture
    loss: Loss
    recipe: Recipe
    examples: Examples
    seed: int
    validation: Examples | None = None
    score: Score | None = None
    start: ModelState | None = None
    left_out: Examples | None = None
    folds: Tensor | None = None
    bins: Tensor | None = None
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    callbacks: Sequence[Any] = ()
    on_epoch: Callable[[dict[str, float], Callable[[], ModelState]], bool] | None = None
    verbose: bool = False
    keep_optimizer: bool = False
    stackable: bool = True
    repeatable: bool = True
    place: Place | None = None

    @property
    def stack_key(self) -> Hashable | None:
        """Jobs with equal keys may be trained as one stack; None: this one trains alone."""
        if (
            self.callbacks
            or self.start
            or not self.stackable
            or not self.recipe.optimizer.elementwise
            or self.examples.inputs.block_rows is not None
        ):
            return None
        spec = self.recipe.optimizer
        key = (
            self.architecture,
            self.loss,
            (spec.factory, tuple(name for name, _ in spec.settings), spec.takes_decay),
            self.recipe.batch_size,
            (str(self.device), self.dtype, self.score),
            self.validation is None,
            self.folds is None,
            None if self.place is None else self.place.store,
        )
        try:
            hash(key)
        except TypeError:  # a user's callable without a hash
            return None
        return key

    @property
    def portable(self) -> bool:
        """Whether the job may be trained in another process."""
        in_a_file = self.examples.inputs.block_rows is not None
        return not (self.callbacks or self.on_epoch is not None or in_a_file)

    @property
    def n_rows(self) -> int:
        """Training rows."""
        return len(self.examples)

    @property
    def batch_size(self) -> int:
        """Rows of a full batch."""
        return self.recipe.batch_size

    @property
    def max_epochs(self) -> int:
        """Epochs unless stopped early."""
        return self.recipe.max_epochs

    @property
    def n_members(self) -> int:
        """Networks to train."""
        return self.architecture.n_members

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays the job holds."""
        parts = [self.examples] if self.validation is None else [self.examples, self.validation]
        return sum(p.inputs.nbytes + p.target.nbytes for p in parts)

    @property
    def n_parameters(self) -> int:
        """Learnable numbers of a shipped architecture of plain layers; an estimate otherwise."""
        return self.architecture.n_parameters

    @property
    def step_flops(self) -> float:
        """Operations of one step: forward 2 a product, backward 4; an estimate."""
        return 6.0 * self.architecture.n_multiplications * min(self.batch_size, self.n_rows)


@dataclass
class FitResult:
    """A trained model.

    Attributes
    ----------
    state : ModelState
        Its numbers on the CPU: the best epoch's under early stopping, else the last finite ones.
    history : dict of str to list
        One entry an epoch.
    best_epoch : int or None
        Epoch whose weights were kept, under early stopping.
    error : Exception or None
        Set where training failed.
    interrupted : bool
        Whether Ctrl-C ended the training.
    resumed : bool
        Whether the training went on from a state that was kept.
    """

    state: ModelState
    history: dict[str, list[float]]
    best_epoch: int | None = None
    error: Exception | None = None
    interrupted: bool = False
    resumed: bool = False
