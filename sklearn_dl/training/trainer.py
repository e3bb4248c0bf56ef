"""Who trains: at once and alone by default, or whoever has put itself into ``trainer``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar

from sklearn_dl.training.job import FitJob, FitResult
from sklearn_dl.training.members import combined, members
from sklearn_dl.training.model import Model
from sklearn_dl.training.net import StackNet
from sklearn_dl.training.threads import limited_threads, threads_for

__all__ = ["submit", "train_alone", "train_stack", "trainer"]


def train_stack(jobs: Sequence[FitJob]) -> list[FitResult]:
    """Train jobs of one ``stack_key`` together; results in the order of the jobs.

    A model that diverges ends with its error in its result and does not disturb the others. Ctrl-C
    ends a single fit with its weights so far; with several it passes through.
    """
    teams = [members(job) for job in jobs]
    models = [
        Model(one, team, member)
        for team, ones in enumerate(teams)
        for member, one in enumerate(ones)
    ]
    order = sorted(range(len(models)), key=lambda i: _place(models[i]))
    with limited_threads(threads_for(sum(job.step_flops for job in jobs))):
        net = StackNet([models[i] for i in order], jobs[0].callbacks, int(jobs[0].verbose))
        net.fit(None, None)
    if net.interrupted and net.n_teams > 1:
        raise KeyboardInterrupt
    results: list[list[FitResult]] = [[] for _ in jobs]
    for model in models:
        assert model.result is not None
        state = model.result.state
        state.values = {name: value.cpu() for name, value in state.values.items()}
        results[model.team].append(model.result)
    return [combined(team) for team in results]


def _place(model: Model) -> tuple[int, str]:
    """Long models first (see ``Batches``), equal settings side by side (``StackOptimizer``)."""
    recipe = model.job.recipe
    settings = (recipe.optimizer.settings, recipe.learning_rate, recipe.weight_decay)
    schedule = (recipe.schedule, recipe.warmup, recipe.decay_every, recipe.decay_factor)
    return -model.n_steps, repr((*settings, recipe.max_epochs, *schedule))


def train_alone(job: FitJob) -> FitResult:
    """Train one job now."""
    (result,) = train_stack([job])
    return result


trainer: ContextVar[Callable[[FitJob], FitResult]] = ContextVar("trainer", default=train_alone)


def submit(job: FitJob) -> FitResult:
    """Have a job trained by the current trainer."""
    return trainer.get()(job)
