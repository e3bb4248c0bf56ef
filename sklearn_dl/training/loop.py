"""A stack of models in training: one step, one epoch.

The axes are always (n_models, batch, feature). Nothing is read back from the device within an
epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sklearn_dl.losses import loss_and_gradient
from sklearn_dl.nn import Batch, Chain, build
from sklearn_dl.nn.layers import StackedDropout
from sklearn_dl.nn.piecewise import StackedPiecewise
from sklearn_dl.nn.replicated import Replicated
from sklearn_dl.training.augmenting import StackAugmentation, rejoined, sum_of, terms_of
from sklearn_dl.training.batches import Batches, Step
from sklearn_dl.training.inputs import DenseInputs, SomeInputs
from sklearn_dl.training.job import Examples, ModelState
from sklearn_dl.training.judging import Judge, padded_rows
from sklearn_dl.training.members import joined
from sklearn_dl.training.model import EXPLOSION, Model
from sklearn_dl.training.parameters import ParameterMatrix
from sklearn_dl.training.sharpness import scaling_parameters
from sklearn_dl.training.updates import Layout, StackOptimizer

__all__ = ["Stack"]

#: Training rows of a model on which its last weights must lose no more than what is an explosion.
PROBED_ROWS = 1024


class Stack:
    """Models that train together; ``models`` are sorted by length and settings."""

    def __init__(
        self,
        models: Sequence[Model],
        states: Sequence[ModelState | None],
        first: Sequence[ModelState] | None = None,
        layout: Layout | None = None,
    ) -> None:
        self.models = list(models)
        job = models[0].job
        self.loss, self.device, self.dtype = job.loss, job.device, job.dtype
        self.network = build(job.architecture, len(models))
        self._chain = Chain.of(self.network)
        self.parameters = ParameterMatrix(self.network, job.device, job.dtype)
        for i, (model, state) in enumerate(zip(models, states, strict=True)):
            if state is None:
                self.network.reset(i, model.generator)
                self._load_bins(i, model.job.bins)
            else:
                self.parameters.load(i, state)
        self._arm_noise()
        self.optimizer = StackOptimizer(self.parameters, self.models, layout)
        self.batches = Batches(self.models, job.device, job.dtype)
        smoothing = [m.job.recipe.label_smoothing for m in models]
        self._smoothing: Tensor | None = None
        if any(smoothing):
            self._smoothing = self.parameters.values.new_tensor(smoothing).unsqueeze(1)
        self._augmentation = StackAugmentation.of(self.models)
        self._n_bound = len(models)
        self._before = self._earlier = self.parameters.snapshot()
        self._first = first or [self.parameters.row(i) for i in range(len(models))]
        self._last_steps = {m.n_steps - 1 for m in models}
        self._first_loss: Tensor | None = None
        self._scaling = scaling_parameters(self.network) if self.loss.is_cross_entropy else []
        self.judge = Judge(self.models, with_factor=bool(self._scaling))

    def _arm_noise(self) -> None:
        rates = [m.job.recipe.dropout for m in self.models]
        generators = [m.noise for m in self.models]
        shared = [m.n_steps == 1 for m in self.models]
        for module in self.network.modules():
            if isinstance(module, StackedDropout):
                module.arm(rates, generators, shared)
            elif isinstance(module, Replicated) and not self.models[0].job.stackable:
                module.generators = generators

    def _load_bins(self, model: int, bins: Tensor | None) -> None:
        if bins is not None:
            for module in self.network.modules():
                if isinstance(module, StackedPiecewise):
                    module.load(model, bins)

    def bind(self, n_models: int) -> None:
        """Let the first ``n_models`` models take part in the next steps."""
        if n_models != self._n_bound:
            self._n_bound = n_models
            self.parameters.bind(n_models)
            self.optimizer.activate(n_models)

    def outputs(self, x: Tensor, batch: Batch) -> Tensor:
        """Forward pass, (n_models, rows, n_outputs)."""
        return self.network.forward(x, batch)

    def predicted(self, x: Tensor) -> Tensor:
        """Outputs of all models as in prediction, (n_models, rows, n_outputs)."""
        self.bind(len(self.models))
        self.network.eval()
        return self.network.forward(x, Batch())

    def train_step(
        self, index: int, step: Step, announce: Callable[[], None] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Forward, backward and update of step ``index`` of the epoch.

        ``announce`` is called when the gradient is known and nothing has moved yet.

        Returns
        -------
        losses : Tensor of shape (n_models, rows)
            Before the update.
        outputs : Tensor of shape (n_models, rows, n_outputs)
        """
        self.bind(step.n_models)
        self.optimizer.set_rates(index)
        losses, outputs = self.backward(step)
        if announce is not None:
            announce()

        def again() -> float:
            return float((self.backward(step)[0] * step.share).sum())

        self.optimizer.step(again, record=index in self._last_steps)
        return losses, outputs

    def backward(self, step: Step) -> tuple[Tensor, Tensor]:
        """Forward and backward pass: the gradient is left in ``parameters.gradient``.

        It is that of the sum over models of their batch losses: models share no parameter, so each
        row of it is a model's own gradient.
        """
        x, mixed = (step.x, None) if self._augmentation is None else self._augmentation(step)
        terms = terms_of(step, mixed)
        smoothing: Tensor | float = 0.0
        if self._smoothing is not None:
            smoothing = self._smoothing[: step.n_models]
        if self._chain is not None:
            with torch.no_grad():
                outputs = self._chain.forward(x, step.batch)
                found = [
                    loss_and_gradient(self.loss, outputs, target, smoothing, share)
                    for target, share in terms
                ]
                self._chain.backward(sum_of([gradient for _, gradient in found]))
            return rejoined([losses for losses, _ in found], terms, step, mixed), outputs
        outputs = self.outputs(x, step.batch)
        every = [self.loss(outputs, target, smoothing) for target, _ in terms]
        parts = [losses * share for losses, (_, share) in zip(every, terms, strict=True)]
        self.parameters.backward(sum_of(parts).sum())
        return rejoined([losses.detach() for losses in every], terms, step, mixed), outputs

    def begin_epoch(self) -> None:
        """Set the clock of the epoch."""
        self.bind(len(self.models))
        self.optimizer.begin_epoch()
        self.network.train()
        self._totals = torch.zeros(len(self.models), device=self.device, dtype=torch.float64)
        self._begun = time.perf_counter()

    def train_epoch(self) -> None:
        """All steps of one epoch."""
        self.begin_epoch()
        index = 0
        for relative, steps in self.batches.epoch():
            losses = []
            for step in steps:
                losses.append(self.train_step(index, step)[0])
                index += 1
            self.count(relative, losses, steps)

    def count(self, relative: Tensor | None, losses: list[Tensor], steps: list[Step]) -> None:
        """Add the losses of a block of steps to the epoch's total."""
        if self._first_loss is None:
            self._first_loss = (losses[0] * steps[0].share).sum(1)
        whole = losses[0] if len(losses) == 1 else None
        if whole is None and all(step.n_models == steps[0].n_models for step in steps):
            whole = torch.cat(losses, dim=1)
        if whole is not None and steps[0].batch.rows is None:
            weighed = whole if relative is None else whole * relative[: whole.shape[0]]
            self._totals[: whole.shape[0]] += weighed.sum(1, dtype=torch.float64)
            return
        for value, step in zip(losses, steps, strict=True):
            # share x rows = relative weight, 0 for padding
            rows = step.share.new_tensor(step.batch.rows or [value.shape[1]] * step.n_models)
            weighed = (value * step.share).sum(1, dtype=torch.float64) * rows
            self._totals[: step.n_models] += weighed

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Close the epoch for every model: history, stopping rules, divergence."""
        held_out = self.judge.held_out(self.predicted)
        totals, norms = self._totals.tolist(), self.optimizer.norms.tolist()
        seconds = time.perf_counter() - self._begun
        left_out = self.judge.left_out(self.predicted)
        if self._first_loss is not None:
            for model, value in zip(self.models, self._first_loss.tolist(), strict=True):
                model.note_start(value)
        for i, model in enumerate(self.models):
            if model.done:
                continue
            record = {
                "train_loss": totals[i] / model.job.n_rows,
                "valid_loss": held_out[i][0],
                "left_out_loss": left_out[i],
                "valid_score": held_out[i][1],
                "learning_rate": self.optimizer.rate(i),
                "gradient_norm": norms[i],
                "seconds": seconds,
            }
            model.end_epoch(
                record,
                partial(self._sharpened, i),
                partial(self.row, i, before=True),
                partial(self._team_state, model.team),
            )
        ended = {model.team for model in self.models if model.done}
        for i, model in enumerate(self.models):
            if model.team in ended and not model.done:
                model.finish(partial(self.row, i))
        self.settle()
        self._before, self._earlier = self.parameters.snapshot(), self._before

    def _sharpened(self, i: int) -> ModelState:
        """The numbers of one model now, as sure as the rows left out allow."""
        state = self.row(i)
        for name in self._scaling:
            state.values[name] = state.values[name] * self.judge.factors[i]
        return state

    def _team_state(self, team: int) -> ModelState:
        rows = sorted(
            (model.member, i) for i, model in enumerate(self.models) if model.team == team
        )
        return joined([self.row(i) for _, i in rows])

    @torch.no_grad()
    def settle(self) -> None:
        """See that models that have ended predict finite numbers, or give them older weights.

        No epoch has read the loss of the weights that its last step made.
        """
        ended = [i for i, model in enumerate(self.models) if model.unsettled]
        if not ended:
            return
        states = [model.result.state for i in ended if (model := self.models[i]).result]
        losses = self._losses_at(states, ended)
        for i, loss in zip(ended, losses, strict=True):
            model = self.models[i]
            kept = None
            if not self._sound(i, loss):
                older = [self.parameters.row(i, s) for s in (self._before, self._earlier)]
                good = (s for s in older if self._sound(i, self._losses_at([s], [i])[0]))
                kept = next(good, self._first[i])
            model.settle(loss, kept)

    def _sound(self, i: int, loss: float) -> bool:
        """Whether a loss on the probed rows of a model is finite and no explosion."""
        # an explosion is none where running averages lag behind the weights ...
        if self.models[i].sound(loss, finite_only=self.parameters.has_averages):
            return True
        # ... or where these rows, which have a few hard ones among them, began that way
        return math.isfinite(loss) and loss <= EXPLOSION * self._losses_at([self._first[i]], [i])[0]

    def _losses_at(self, states: Sequence[ModelState], models: Sequence[int]) -> list[float]:
        """Loss of models in these states on some training rows; inf in a state not finite."""
        for i, state in zip(models, states, strict=True):
            self.parameters.load(i, state)
        folds: list[Examples | None] = [_probed(model.job.examples) for model in self.models]
        rows = padded_rows(folds, self.device, self.dtype)
        assert rows is not None
        loss, _ = self.judge.judged(self.predicted, *rows)
        return [
            loss[i].item() if all(v.isfinite().all() for v in s.values.values()) else math.inf
            for i, s in zip(models, states, strict=True)
        ]

    def row(self, i: int, *, before: bool = False) -> ModelState:
        """The numbers of one model, now or as they were before this epoch."""
        state = self.parameters.row(i, self._before if before else None)
        if self.models[i].job.keep_optimizer and not before:
            state.optimizer = self.optimizer.row(i)
        return state

    def kept(self) -> dict[str, Any]:
        """All that is not its models' own, for `load_kept`."""
        n = len(self.models)
        return {
            "layout": self.optimizer.layout,
            "optimizer": [self.optimizer.row(i) for i in range(n)],
            "now": self.parameters.snapshot(),
            "before": self._before,
            "earlier": self._earlier,
            "first": [state.values for state in self._first],
        }

    def load_kept(self, kept: dict[str, Any]) -> None:
        """Go on from what `kept` gave; layout and optimizer were known when this was made."""
        self.parameters.load_all(kept["now"])
        self._before, self._earlier = kept["before"], kept["earlier"]
        self._first = [ModelState(values) for values in kept["first"]]

    def shrunk(self) -> Stack:
        """A stack of the models that go on, with all their state."""
        going = [i for i, model in enumerate(self.models) if not model.done]
        states = [self.parameters.row(i) for i in going]
        for i in going:
            self.models[i].optimizer_state = self.optimizer.row(i)
        return Stack([self.models[i] for i in going], states, [self._first[i] for i in going])


def _probed(examples: Examples) -> Examples:
    """Training rows, spread evenly where there are many: they may be sorted by their target."""
    n, inputs, target, weight = len(examples), examples.inputs, examples.target, examples.weight
    if n > PROBED_ROWS:
        index = (2 * torch.arange(PROBED_ROWS) + 1) * n // (2 * PROBED_ROWS)
        inputs, target = SomeInputs(inputs, index), target[index]
        weight = None if weight is None else weight[index]
    return Examples(DenseInputs(inputs.rows(0, len(inputs))), target, weight)
