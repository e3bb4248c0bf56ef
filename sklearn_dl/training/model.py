"""One model on its way through training: its clock and history, when it stops, what it keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from sklearn_dl.schedules import factor_of_fall, learning_rate_schedule
from sklearn_dl.training.job import DivergenceError, FitJob, FitResult, ModelState

__all__ = ["EpochRecord", "Model", "steps_per_epoch"]

EpochRecord = dict[str, float]

#: A mean training loss of this many times the loss at the start is a divergence, finite or not.
EXPLOSION = 1e4
#: What of a model moves in training and is plain.
_CLOCK = (
    *("epoch", "plateau_factor", "_start_loss", "_settled", "_best_loss", "_best_epoch", "_stale"),
    *("_plateau_loss", "_plateau_stale"),
)


def steps_per_epoch(n_rows: int, batch_size: int) -> int:
    """Batches in ``n_rows`` rows; a last batch of a single row joins the one before."""
    return max(1, -(-(n_rows - 1) // batch_size))


class Model:
    """The state of one job that is not a tensor of the stack.

    Models of one ``team`` watch the same loss and end together.
    """

    def __init__(self, job: FitJob, team: int = 0, member: int = 0) -> None:
        self.job, self.team, self.member = job, team, member
        recipe = job.recipe
        self.n_steps = steps_per_epoch(job.n_rows, recipe.batch_size)
        seeds = torch.Generator().manual_seed(job.seed)
        # for initial values and shuffling
        self.generator = torch.Generator().manual_seed(_draw_seed(seeds))
        # for noise on the rows of a batch, drawn where the batch is
        self.noise = torch.Generator(job.device).manual_seed(_draw_seed(seeds))
        self._schedule = learning_rate_schedule(
            recipe.schedule,
            max_epochs=recipe.max_epochs,
            decay_every=recipe.decay_every,
            decay_factor=recipe.decay_factor,
            warmup=recipe.warmup,
        )
        self.moving = self._schedule is not None or recipe.schedule == "plateau"
        self.plateau_factor = 1.0
        self.epoch = 0
        self.history: dict[str, list[float]] = {}
        self._start_loss = math.inf
        self.optimizer_state = job.start.optimizer if job.start else {}
        self.result: FitResult | None = None
        self._settled = False
        self._best_loss, self._best_epoch, self._stale = math.inf, 0, 0
        self._best: ModelState | None = None
        self._plateau_loss, self._plateau_stale = math.inf, 0

    @property
    def done(self) -> bool:
        """Whether the training of this model has ended."""
        return self.result is not None

    def rates(self) -> list[float]:
        """The learning rate of each step of the coming epoch."""
        base = self.job.recipe.learning_rate * self.plateau_factor
        if self._schedule is None:
            return [base] * self.n_steps
        first, total = self.epoch * self.n_steps, self.job.recipe.max_epochs * self.n_steps
        return [base * self._schedule(first + i, total) for i in range(self.n_steps)]

    @property
    def unsettled(self) -> bool:
        """Whether the weights of an ended training are still to be tried."""
        result = self.result
        if result is None or self._settled:
            return False
        return result.error is not None or result.best_epoch is None

    def sound(self, loss: float, *, finite_only: bool = False) -> bool:
        """Whether a training loss is finite and no explosion."""
        return math.isfinite(loss) and (finite_only or loss <= EXPLOSION * self._start_loss)

    def settle(self, loss: float, fallback: ModelState | None) -> None:
        """Close an ended training whose last weights have this loss; replace them where needed."""
        self._settled = True
        if fallback is not None:
            assert self.result is not None
            self.result.state = fallback
            of = "of the last weights on some training rows"
            self.result.error = self.result.error or self._divergence(loss, of)

    def note_start(self, loss: float) -> None:
        """Take the loss of the first batch, before any step, as the measure of an explosion."""
        if self._start_loss == math.inf and math.isfinite(loss):
            # a floor for targets that the initial network happens to fit
            self._start_loss = max(loss, 0.01)

    def end_epoch(
        self,
        record: EpochRecord,
        now: Callable[[], ModelState],
        before: Callable[[], ModelState],
        team_now: Callable[[], ModelState],
    ) -> None:
        """Take the epoch into account and decide whether to go on.

        Parameters
        ----------
        record : dict
            ``train_loss``, ``valid_loss`` and the other columns of the history.
        now, before : callable
            Give the model's numbers after and before this epoch.
        team_now : callable
            Gives those of its whole team, with a leading axis where that is several.
        """
        self.epoch += 1
        loss = record["train_loss"]
        if not self.sound(loss):
            self._finish(self._best or before(), error=self._divergence(loss))
            return
        for key, value in {"epoch": float(self.epoch), **record}.items():
            self.history.setdefault(key, []).append(value)
        if self.job.verbose:
            held_out = (
                "" if self.job.validation is None else f", validation {record['valid_loss']:.6g}"
            )
            print(f"Epoch {self.epoch}: training loss {loss:.6g}{held_out}")
        watched = loss if self.job.validation is None else record["valid_loss"]
        if self.job.left_out is not None:
            watched = record["left_out_loss"]
        stop = self._watch(watched, now)
        self._lower_on_plateau(watched)
        if self.job.on_epoch is not None:
            stop |= self.job.on_epoch(record, team_now)
        if stop or self.epoch >= self.job.recipe.max_epochs:
            self.finish(now)

    def finish(self, now: Callable[[], ModelState], *, interrupted: bool = False) -> None:
        """End with the best weights under early stopping, else with those of now."""
        self._finish(self._best or now(), interrupted=interrupted)

    def _finish(
        self, state: ModelState, *, error: Exception | None = None, interrupted: bool = False
    ) -> None:
        best = self._best_epoch if self._best is not None else None
        self.result = FitResult(state, self.history, best, error, interrupted)

    def _divergence(self, loss: float, of: str = "") -> DivergenceError:
        rate = self.job.recipe.learning_rate
        of = f" {of}" if of else ""
        what = f"is {loss}" if not math.isfinite(loss) else f"grew to {loss:.3g}"
        return DivergenceError(
            f"the training loss{of} {what} in epoch {self.epoch}, with learning_rate={rate:g}. The "
            "likely cause is a learning rate too large for this optimizer (try a tenth), or "
            "inputs on very different scales with preprocessing=None. The weights of the last good "
            "epoch are kept."
        )

    def _watch(self, loss: float, now: Callable[[], ModelState]) -> bool:
        """Keep the best weights under early stopping; whether to stop."""
        recipe = self.job.recipe
        if not recipe.early_stopping:
            return False
        improved = loss < self._best_loss - recipe.tol
        self._stale = 0 if improved else self._stale + 1
        if loss < self._best_loss:
            self._best_loss, self._best_epoch, self._best = loss, self.epoch, now()
        return self._stale >= recipe.n_iter_no_change

    def _lower_on_plateau(self, loss: float) -> None:
        recipe = self.job.recipe
        if recipe.schedule != "plateau":
            return
        if loss < self._plateau_loss - recipe.tol:
            self._plateau_loss, self._plateau_stale = loss, 0
            return
        self._plateau_stale += 1
        if self._plateau_stale >= recipe.n_iter_no_change:
            self.plateau_factor *= factor_of_fall(recipe.decay_factor)
            self._plateau_stale = 0

    def kept(self) -> dict[str, Any]:
        """All that moves in training, for `load_kept`."""
        result = self.result
        return {
            **{name: getattr(self, name) for name in _CLOCK},
            "generators": [g.get_state() for g in (self.generator, self.noise)],
            "history": {
                name: torch.tensor(column, dtype=torch.float64)
                for name, column in self.history.items()
            },
            "best": None if self._best is None else vars(self._best),
            "result": None if result is None else vars(result.state),
            "best_epoch": None if result is None else result.best_epoch,
            "error": None if result is None or result.error is None else str(result.error),
        }

    def load_kept(self, kept: dict[str, Any]) -> None:
        """Be where the model was that `kept` described."""
        for name in _CLOCK:
            setattr(self, name, kept[name])
        for generator, state in zip((self.generator, self.noise), kept["generators"], strict=True):
            generator.set_state(state)
        self.history = {name: column.tolist() for name, column in kept["history"].items()}
        if kept["best"] is not None:
            self._best = ModelState(**kept["best"])
        if kept["result"] is not None:
            error = None if kept["error"] is None else DivergenceError(kept["error"])
            state = ModelState(**kept["result"])
            self.result = FitResult(state, self.history, kept["best_epoch"], error)


def _draw_seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator))
