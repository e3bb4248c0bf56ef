"""What both estimators share: parameters, and rows in, trained network out."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_dl import fitting
from sklearn_dl.augmentation import AUGMENTATIONS, augmentation_of
from sklearn_dl.fitting import Rows
from sklearn_dl.losses import Loss
from sklearn_dl.nn import ACTIVATIONS, MODULES
from sklearn_dl.optimizers import OPTIMIZERS
from sklearn_dl.schedules import SCHEDULES
from sklearn_dl.tabular import (
    ImageShape,
    Table,
    check_table,
    checked_shape,
    has_images,
    image_rows,
)
from sklearn_dl.training import FitJob, FitResult, ModelState, Recipe, Score, submit

__all__ = ["MOMENTS", "NetworkEstimator", "checks_parameters"]

#: Where an estimator keeps the state of its optimizer.
MOMENTS = "_optimizer_state"

Method = TypeVar("Method", bound=Callable[..., Any])


def checks_parameters(method: Method) -> Method:
    """scikit-learn's check of all parameters before a fit, with the method's own types."""
    checked: Method = _fit_context(prefer_skip_nested_validation=True)(method)
    return checked


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkEstimator(CallbackSupportMixin, BaseEstimator):
    """A network with its parameters; the targets are the subclasses'.

    A dataclass writes ``__init__`` from the annotations, so each parameter and default stands once.
    """

    hidden_layer_sizes: tuple[int, ...] = (128, 128)
    activation: str | Callable[[torch.Tensor], torch.Tensor] = "relu"
    normalization: str | None = None
    dropout: float | Literal["auto"] = "auto"
    module: str | Callable[[int, int], torch.nn.Module] = "auto"
    n_members: int | Literal["auto"] = "auto"
    input_shape: tuple[int, int, int] | None = None
    channels: tuple[int, ...] = (16, 32)
    optimizer: str | Callable[..., torch.optim.Optimizer] = "adamw"
    learning_rate: float = 0.001
    momentum: float | None = None
    rms_decay: float | None = None
    weight_decay: float = 0.05
    max_grad_norm: float | None = None
    schedule: str | Callable[[float], float] | None = "cosine"
    decay_every: int | None = None
    decay_factor: float | None = None
    warmup: float = 0.05
    batch_size: int | Literal["auto"] = "auto"
    max_epochs: int | Literal["auto"] = "auto"
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    tol: float = 1e-4
    augmentation: str | Callable[..., torch.Tensor] | None = None
    augmentation_strength: float = 0.1
    categorical_features: Any = "from_dtype"
    preprocessing: str | None = "auto"
    warm_start: bool = False
    random_state: Any = None
    verbose: bool | int = False
    dtype: str = "auto"
    device: Any = None
    callbacks: list[Any] | None = None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS)), callable],
        "normalization": [StrOptions({"batch", "layer"}), None],
        "dropout": [Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})],
        "module": [StrOptions(set(MODULES)), callable],
        "n_members": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "input_shape": ["array-like", None],
        "channels": ["array-like", Interval(Integral, 1, None, closed="left")],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left"), None],
        "rms_decay": [Interval(Real, 0, 1, closed="left"), None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        "schedule": [StrOptions(set(SCHEDULES)), callable, None],
        "decay_every": [Interval(Integral, 1, None, closed="left"), None],
        "decay_factor": [Interval(Real, 0, 1, closed="right"), None],
        "warmup": [Interval(Real, 0, 1, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "augmentation": [StrOptions(set(AUGMENTATIONS)), callable, None],
        "augmentation_strength": [Interval(Real, 0, 1, closed="both")],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "preprocessing": [StrOptions({"auto", "standard"}), None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "dtype": [StrOptions({"auto", "float32", "float64"})],
        "device": [str, torch.device, Integral, None],
        "callbacks": [list, tuple, None],
    }

    # learnt in fit: numbers by name, the arguments of their Architecture, a list a column of
    # history
    _state: dict[str, NDArray[Any]] = field(init=False)
    _network: dict[str, Any] = field(init=False)
    _history: dict[str, list[float]] = field(init=False)

    # what differs between the two

    @abstractmethod
    def _check_target(self, y: Any) -> NDArray[Any]:
        """Check y; (n,) or (n, n_outputs)."""

    @abstractmethod
    def _learn_target(self, rows: Rows) -> Rows:
        """Set what is learnt from y, and encode it."""

    @abstractmethod
    def _encode_target(self, rows: Rows) -> Rows:
        """Encode targets as they were learnt."""

    def _known_target(self, rows: Rows) -> Rows:
        """Encode the targets of a fit that goes on."""
        return self._encode_target(rows)

    @abstractmethod
    def _loss(self) -> Loss:
        """The loss to minimise."""

    @abstractmethod
    def _scored_by(self) -> Score:
        """The score on held-out rows."""

    def _calibrate(self, job: FitJob) -> None:
        """Learn from the rows that members left out what predictions lack."""

    def _levels(self) -> tuple[float, ...]:
        """Levels of several quantiles, where they are asked for."""
        return ()

    # fitting

    @checks_parameters
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None
    ) -> Self:
        """Train a network.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n_rows, n_features)
            Or images, (n_rows, channels, height, width) or (n_rows, height, width), see ``module``
            and ``input_shape``.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            Numbers; for a classifier labels of any type, or a 0/1 matrix of labels.
        sample_weight : array-like of shape (n_rows,), default=None
            Not negative; a row of weight zero is as good as absent.
        X_val, y_val : default=None
            Rows whose loss is watched; used by ``early_stopping`` instead of held-out rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For a parameter or data that cannot be used; the message says what was seen.
        DivergenceError
            The training loss became non-finite or exploded.
        """
        validation = None if X_val is None and y_val is None else (X_val, y_val)
        return self._fit(X, y, sample_weight, validation)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any] | None = None,
        *,
        incremental: bool = False,
        target_known: bool = False,
    ) -> Self:
        self._check_finite_parameters()
        fitted = hasattr(self, "_state")
        resume = fitted and (incremental or self.warm_start)
        table = self._check_table(X, reset=not resume)
        rows = fitting.checked_rows(table, self._check_target(y), sample_weight)
        if not resume:  # old weights are none of what is learnt now, should it come to no new ones
            self._forget("_state", "_history", "_module", MOMENTS)
        known = resume or target_known
        rows = self._known_target(rows) if known else self._learn_target(rows)
        held_out = None
        if not (resume and incremental):
            self._seed, self._n_partial = fitting.new_seed(self.random_state), 0
        if not resume:  # a network that goes on is judged by rows that it has not learnt from
            self._fold_seed = self._seed
        if validation is not None:
            held_out = self._validation_rows(*validation)
        elif self.early_stopping and not incremental:
            rows, held_out = fitting.hold_out(
                rows, self.validation_fraction, self._fold_seed, self._strata(rows)
            )
        if not resume:
            self.encoder_ = fitting.fitted_encoder(self, rows, self.input_shape_)
        with torch.inference_mode(False), torch.enable_grad():  # whatever surrounds the fit
            job = self._job(rows, held_out, resume=resume, incremental=incremental)
            metadata = None if sample_weight is None else {"sample_weight": sample_weight}
            told = {"estimator": self, "X": X, "y": y, "metadata": metadata}
            context = self._init_callback_context(max_subtasks=job.max_epochs)
            context.call_on_fit_task_begin(**told)
            result = submit(self._with_hooks(job, context, told))
            self._keep(job, result, incremental=incremental)
            self._calibrate(job)
            context.call_on_fit_task_end(**told, reconstruction_attributes={})
        return self

    def _check_finite_parameters(self) -> None:
        for name in ("learning_rate", "weight_decay", "tol"):
            if not isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)!r}.")

    def _check_table(self, X: Any, *, reset: bool) -> Table:
        X, shape = self._image_rows(X, reset=reset)
        table = check_table(self, X, reset=reset, allow_nan=self.preprocessing is not None)
        if reset:
            self.input_shape_ = shape
        return table

    def _image_rows(self, X: Any, *, reset: bool) -> tuple[Any, ImageShape | None]:
        """Images as rows of pixels, and their shape; X itself and None where it is a table."""
        if reset:
            shape = None if self.input_shape is None else checked_shape(self.input_shape)
            images = self.module == "cnn" or shape is not None
        else:
            shape = getattr(self, "input_shape_", None)
            images = shape is not None
        if images:
            return image_rows(X, shape)
        if has_images(X):
            seen = getattr(X, "shape", None) or np.shape(X)
            raise ValueError(
                f"Found array with dim {len(seen)}. {type(self).__name__} expected <= 2. X of "
                f"shape {tuple(seen)} is read as images with module='cnn', or with any module and "
                "input_shape=(channels, height, width)."
            )
        return X, None

    def _strata(self, rows: Rows) -> NDArray[Any] | None:
        return rows.target if rows.target.dtype == np.int64 else None

    def _validation_rows(self, X: Any, y: Any) -> Rows:
        if X is None or y is None:
            given, missing = ("X_val", "y_val") if y is None else ("y_val", "X_val")
            raise ValueError(f"fit got {given} without {missing}: give both or none.")
        table = self._check_table(X, reset=False)
        return self._encode_target(fitting.checked_rows(table, self._check_target(y), None))

    def _job(self, rows: Rows, held_out: Rows | None, *, resume: bool, incremental: bool) -> FitJob:
        """The training that the parameters ask for; ``_network`` says of what."""
        loss, bins = self._loss(), self._bins(rows, known=resume)
        architecture = self._architecture(loss, bins)
        stackable = fitting.is_stackable(architecture)
        start = None
        if resume:
            fitting.check_same_encoding(self.encoder_, self)
            fitting.check_same_network(fitting.Architecture(**self._network), architecture)
            moments = fitting.as_tensors(getattr(self, MOMENTS, {}), self.device)
            start = fitting.torch_state(self._state, moments)
            architecture = fitting.Architecture(**self._network)
        self._network = {**vars(architecture)}
        self._n_partial += 1
        seed, watched = self._seed + self._n_partial - 1, held_out is not None
        folds = None if incremental else self._folds(rows, architecture, watched=watched)
        dtype = fitting.training_dtype(self, rows)
        if callable(self.loss):
            fitting.refuse_random_loss(loss, architecture.n_outputs, rows, dtype)
        encoded = partial(fitting.encoded_examples, self.encoder_, dtype=dtype)
        return FitJob(
            architecture=architecture,
            loss=loss,
            recipe=self._recipe(
                rows, loss, incremental=incremental, watched=watched, folds=folds is not None
            ),
            examples=encoded(rows),
            seed=seed,
            validation=None if held_out is None else encoded(held_out),
            score=self._scored_by(),
            start=start,
            folds=folds,
            bins=torch.from_numpy(bins[1]) if bins[0] else None,
            device=fitting.torch_device(self.device),
            dtype=dtype,
            callbacks=fitting.checked_callbacks(self.callbacks),
            verbose=bool(self.verbose),
            keep_optimizer=incremental or self.warm_start,
            stackable=stackable,
            repeatable=self.random_state is not None,
        )

    def _architecture(self, loss: Loss, bins: fitting.Bins) -> fitting.Architecture:
        return fitting.architecture_of(
            self,
            self.encoder_,
            self.n_outputs_,
            bins=bins,
            link=loss.link,
            image=self.input_shape_,
            levels=self._levels(),
        )

    def _recipe(
        self, rows: Rows, loss: Loss, *, incremental: bool, watched: bool, folds: bool
    ) -> Recipe:
        recipe = fitting.recipe_of(
            self,
            len(rows),
            incremental=incremental,
            watched=watched,
            leaves_rows_out=folds,
            classes=loss.is_cross_entropy and loss.link == "softmax",
        )
        augmentation = augmentation_of(
            self.augmentation, self.augmentation_strength, self.input_shape_
        )
        return replace(recipe, augmentation=augmentation)

    def _folds(
        self, rows: Rows, architecture: fitting.Architecture, *, watched: bool
    ) -> torch.Tensor | None:
        """The member that leaves out each row, where it is left to us when training ends."""
        if self.max_epochs != "auto" or (self.early_stopping and watched):
            return None
        return fitting.member_folds(
            rows,
            architecture.n_members,
            self._fold_seed,
            stratify=self._strata(rows) is not None,
            one_batch=len(rows) <= fitting.batch_size_of(self, len(rows)),
        )

    def _bins(self, rows: Rows, *, known: bool) -> fitting.Bins:
        """The bins of the piecewise-linear encoding; a network that goes on keeps its own."""
        if known:
            had = fitting.Architecture(**self._network)
            return had.binned, np.zeros((3, 0, had.n_bins))
        return fitting.piecewise_bins(self, self.encoder_, rows)

    def _with_hooks(self, job: FitJob, context: Any, told: dict[str, Any]) -> FitJob:
        """Tell scikit-learn's callbacks of each epoch, where there are any."""
        if not getattr(self, "_skl_callbacks", None):
            return job

        def on_epoch(record: dict[str, float], now: Callable[[], ModelState]) -> bool:
            def fitted() -> dict[str, Any]:
                state = fitting.numpy_state(now())
                return {"_state": state, "_module": fitting.plain_module(self._network, state)}

            epoch = context.subcontext(task_name="epoch")
            epoch.call_on_fit_task_begin(**told)
            return bool(epoch.call_on_fit_task_end(**told, reconstruction_attributes=fitted))

        return replace(job, on_epoch=on_epoch)

    def _keep(self, job: FitJob, result: FitResult, *, incremental: bool) -> None:
        """Take over what training gave, then report what went wrong in it."""
        history = result.history
        goes_on = incremental and hasattr(self, "_history")
        self._take_weights(fitting.numpy_state(result.state))
        self._module = fitting.plain_module(self._network, self._state)
        if result.state.optimizer:
            setattr(self, MOMENTS, result.state.optimizer)
        self._history = _joined(self._history, history) if goes_on else history
        self.n_iter_ = len(self._history.get("train_loss", []))
        self.loss_curve_ = list(self._history.get("train_loss", []))
        scores = self._history.get("valid_score", [])
        self.validation_scores_ = list(scores) if job.validation is not None else None
        self.best_epoch_ = result.best_epoch
        self.n_parameters_ = sum(p.numel() for p in self._module.parameters())
        if result.error is not None:
            raise result.error
        if result.interrupted:
            warnings.warn(
                f"training was interrupted after {self.n_iter_} epochs; the model so far is kept.",
                UserWarning,
                stacklevel=4,
            )
        elif not incremental:
            fitting.warn_if_not_converged(history, job.recipe)

    def _take_weights(self, state: dict[str, NDArray[Any]]) -> None:
        """Be a network with these numbers; what belonged to others is forgotten."""
        self._state = state
        self._forget("_module", MOMENTS)

    def _forget(self, *attributes: str) -> None:
        for name in attributes:
            if hasattr(self, name):
                delattr(self, name)

    # what a fitted estimator shows

    @property
    def history_(self) -> pd.DataFrame:
        """A row an epoch, see the class."""
        check_is_fitted(self)
        return fitting.history_frame(self._history)

    @property
    def module_(self) -> torch.nn.Module:
        """The trained network as a plain torch module."""
        check_is_fitted(self)
        if not hasattr(self, "_module"):  # after unpickling
            self._module = fitting.plain_module(self._network, self._state)
        return self._module

    def encode(self, X: Any) -> NDArray[Any]:
        """The inputs of ``module_`` for X, (n, n_encoded)."""
        check_is_fitted(self)
        dtype = next(iter(self._state.values())).dtype
        return self.encoder_.transform_table(self._check_table(X, reset=False), dtype)

    def _outputs(self, X: Any) -> NDArray[Any]:
        """Outputs of the network, float32 where X is, else float64."""
        check_is_fitted(self)
        table = self._check_table(X, reset=False)
        architecture = fitting.Architecture(**self._network)
        outputs = fitting.network_outputs(self.module_, architecture, self.encoder_, table)
        dtypes = set(table.dtypes if isinstance(table, pd.DataFrame) else [table.dtype])
        return outputs.astype(
            np.float32 if dtypes == {np.dtype(np.float32)} else np.float64, copy=False
        )

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there are weights."""
        return hasattr(self, "_state")

    def __getstate__(self) -> dict[str, Any]:
        """What is stored: parameters, weights and history, but nothing torch-made.

        Also the optimizer's state where training is to go on: after ``partial_fit`` and with
        ``warm_start``. It may be twice the weights.
        """
        state: dict[str, Any] = super().__getstate__()
        state.pop("_module", None)
        if MOMENTS in state:
            state[MOMENTS] = fitting.as_arrays(state[MOMENTS])
        return state

    def __sklearn_tags__(self) -> Any:
        """What kinds of input work."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.preprocessing is not None
        return tags


def _joined(a: dict[str, list[float]], b: dict[str, list[float]]) -> dict[str, list[float]]:
    """Epochs of one history after those of another; either has none after a divergence."""
    if not (a and b):
        return a or b
    first = len(a["epoch"])
    return {k: a[k] + ([first + e for e in b[k]] if k == "epoch" else b[k]) for k in b}
