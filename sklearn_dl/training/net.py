"""The training loop: skorch's, over a stack of models held in memory.

skorch brings the epoch loop, the history, callbacks and checkpoints; the per-batch data path is
ours (``Stack``), because a DataLoader costs more than the mathematics on a table. A fit with skorch
callbacks trains one model and shows it to them without the model axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import skorch
import torch
from numpy.typing import NDArray
from skorch.callbacks import EpochTimer, PassthroughScoring, PrintLog
from torch import Tensor

from sklearn_dl.losses import Loss, over_classes
from sklearn_dl.nn import Batch
from sklearn_dl.training.batches import Step
from sklearn_dl.training.job import Examples, Progress, Score
from sklearn_dl.training.loop import Stack
from sklearn_dl.training.model import Model
from sklearn_dl.training.snapshot import resumed, snapshot

__all__ = ["StackNet", "StopTraining"]

#: Models that have ended stay in the stack until this share of it has: rebuilding the stack costs
#: about as much as a few steps.
SHRINK_SHARE = 0.25


class StopTraining(KeyboardInterrupt):
    """Ends the epoch loop from inside, as skorch's own callbacks do; no Ctrl-C."""


class StackNet(skorch.NeuralNet):
    """A skorch net whose module is a stack of models.

    Parameters
    ----------
    models : sequence of Model
        Sorted by length and settings; they are given their results.
    callbacks : sequence
        skorch callbacks; only with one model.
    verbose : int
        Whether to print a line an epoch.
    progress : Progress or None
        Where the state is kept between epochs.
    """

    def __init__(
        self,
        models: Sequence[Model],
        callbacks: Sequence[Any],
        verbose: int = 0,
        progress: Progress | None = None,
    ) -> None:
        job = models[0].job
        super().__init__(
            module=torch.nn.Module,
            criterion=job.loss,
            lr=job.recipe.learning_rate,
            max_epochs=max(m.job.recipe.max_epochs for m in models),
            batch_size=job.recipe.batch_size,
            train_split=None,
            callbacks=list(callbacks) if callbacks else "disable",
            predict_nonlinearity=_LINKS[job.loss.link],
            verbose=verbose,
            device=str(job.device),
        )
        self.models = models
        self.progress, self.resumed = progress, False
        self.interrupted = False

    # what skorch builds

    def get_default_callbacks(self) -> list[tuple[str, Any]]:
        """What monitors and checkpoints read: the losses and the time of each epoch."""
        losses = [("train_loss", PassthroughScoring(name="train_loss", on_train=True))]
        if self.models[0].job.validation is not None:
            losses.append(("valid_loss", PassthroughScoring(name="valid_loss")))
        log = [("print_log", PrintLog())] if self.verbose else []
        return [("epoch_timer", EpochTimer()), *losses, *log]

    def initialize_module(self) -> StackNet:
        """Build the stack and draw its initial values."""
        state = None if self.progress is None else self.progress.load()
        if state is None:
            self.stack = Stack(self.models, [m.job.start for m in self.models])
        else:
            self.stack, self.resumed = resumed(self.models, state), True
        self._show_stack()
        return self

    def _show_stack(self) -> None:
        self.module_ = self.stack.network
        if self.stack.optimizer.torch_optimizer is not None:
            self.optimizer_ = self.stack.optimizer.torch_optimizer

    def initialize_criterion(self) -> StackNet:
        """The loss is a function and needs no initialisation."""
        self.criterion_ = self.criterion
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> StackNet:
        """The stack has built its optimizer."""
        return self

    # the epoch loop

    @property
    def n_teams(self) -> int:
        """How many fits are trained: the members of an ensemble are one."""
        return len({model.team for model in self.models})

    def fit_loop(
        self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any
    ) -> StackNet:
        """skorch's loop, ended by our stopping rules, by a callback, or by Ctrl-C."""
        try:
            super().fit_loop(X, y, epochs, **fit_params)
        except StopTraining:
            pass
        except KeyboardInterrupt:
            self.interrupted = True
            if self.n_teams > 1:
                return self  # skorch would swallow it here: `train_stack` raises it again
        for i, model in enumerate(self.stack.models):
            if not model.done:
                with torch.no_grad():
                    model.finish(partial(self.stack.row, i), interrupted=self.interrupted)
        self.stack.settle()
        return self

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Tell callbacks; skorch's stop the training by raising KeyboardInterrupt."""
        try:
            super().notify(method_name, **cb_kwargs)
        except StopTraining:
            raise
        except KeyboardInterrupt as stop:
            if not self.callbacks_:
                raise
            raise StopTraining from stop

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Stop where no model goes on; leave out those that have ended where that pays."""
        models = self.stack.models
        going = sum(not model.done for model in models)
        if going == 0:
            raise StopTraining
        if going <= (1 - SHRINK_SHARE) * len(models):
            self.stack = self.stack.shrunk()
            self._show_stack()
        super().on_epoch_begin(net, **kwargs)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Close the epoch for every model."""
        self.stack.end_epoch()
        going = any(not model.done for model in self.models)
        if self.progress is not None and self.progress.is_due() and going:
            self.progress.save(snapshot(self.models, self.stack))

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """The rows of the first model, as callbacks want them; training reads the jobs."""
        if not self.callbacks_:
            return None, None
        job = self.models[0].job
        held_out = job.validation and _dataset(job.validation, job.loss)
        return _dataset(job.examples, job.loss), held_out

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Batches of the stack in training; skorch's loader where a callback predicts."""
        if training or dataset is None:
            return None
        return super().get_iterator(dataset, training=training)

    def run_single_epoch(
        self,
        iterator: Any,
        training: bool,
        prefix: str,
        step_fn: Callable[..., dict[str, Tensor]],
        **fit_params: Any,
    ) -> None:
        """One pass over the rows; each batch is shown to callbacks only where there are any."""
        if not training:
            super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)
        elif self.callbacks_:
            self.stack.begin_epoch()
            batches = self._shown_batches()
            super().run_single_epoch(batches, training, prefix, step_fn, **fit_params)
        else:
            self.stack.train_epoch()

    def _shown_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        index = 0
        for relative, steps in self.stack.batches.epoch():
            self._losses: list[Tensor] = []
            for step in steps:
                self._current: tuple[int, Step] = (index, step)
                # copies: callbacks keep what they see, and the next block takes the same memory
                yield step.x[0].clone(), step.target[0].clone()
                index += 1
            self.stack.count(relative, self._losses, steps)

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """One step of the only model, as skorch's callbacks see it."""
        index, step = self._current
        self.stack.network.train()

        def announce() -> None:
            parameters = list(self.stack.network.named_parameters())
            self.notify(
                "on_grad_computed", named_parameters=iter(parameters), batch=batch, training=True
            )

        losses, outputs = self.stack.train_step(index, step, announce)
        self._losses.append(losses)
        return {"loss": (losses * step.share).sum(), "y_pred": outputs[0].detach()}

    def get_loss(
        self, y_pred: Tensor, y_true: Any, X: Any = None, training: bool = False
    ) -> Tensor:
        """Mean loss of a batch without the model axis."""
        target = torch.as_tensor(y_true, device=y_pred.device)
        return self.stack.loss(y_pred, target).mean()

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        """Outputs of the only model, (rows, n_outputs)."""
        rows = torch.as_tensor(x, device=self.stack.device, dtype=self.stack.dtype)
        return self.stack.outputs(rows.unsqueeze(0), Batch())[0]

    def predict(self, X: Any) -> Any:
        """Class indices, or values in standardised units."""
        values = self.predict_proba(X)
        if self.criterion_.target == "index":
            return values.argmax(1)
        return (values > 0.5).astype(np.int64) if self.criterion_.link == "sigmoid" else values

    @property
    def classes_(self) -> NDArray[np.int64]:
        """Class indices, which scorers ask for."""
        return np.arange(self.models[0].job.architecture.n_outputs)

    def __sklearn_tags__(self) -> Any:
        """Scorers ask whether the net is a classifier."""
        tags = super().__sklearn_tags__()
        score: Score | None = self.models[0].job.score
        tags.estimator_type = "classifier" if score == "accuracy" else "regressor"
        return tags


def _softmax(outputs: Tensor) -> Tensor:
    return over_classes(torch.softmax, outputs)


def _identity(outputs: Tensor) -> Tensor:
    return outputs


_LINKS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": _softmax,
    "sigmoid": torch.sigmoid,
    "identity": _identity,
    "exp": torch.exp,
}


def _dataset(examples: Examples, loss: Loss) -> Any:
    target = examples.target
    if loss.target == "signed":  # callbacks know labels, not their weights
        target = (target > 0).to(target.dtype)
    return skorch.dataset.Dataset(examples.inputs.rows(0, len(examples)), target)
