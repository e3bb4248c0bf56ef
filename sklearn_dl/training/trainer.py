"""Who trains: at once and alone by default, or whoever has put itself into ``trainer``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TypeAlias

import torch

from sklearn_dl.training.job import FitJob, FitResult, Progress
from sklearn_dl.training.members import combined, members
from sklearn_dl.training.model import Model
from sklearn_dl.training.net import StackNet
from sklearn_dl.training.threads import limited_threads, threads_for

__all__ = ["Train", "keeper", "submit", "train_alone", "train_stack", "trainer"]

Train: TypeAlias = Callable[[FitJob], FitResult]


def train_stack(jobs: Sequence[FitJob]) -> list[FitResult]:
    """Train jobs of one ``stack_key`` together; results in the order of the jobs.

    A model that diverges ends with its error in its result and does not disturb the others. Ctrl-C
    ends a single fit with its weights so far; with several it passes through. Jobs that have a
    place go on from the state that is kept there, and leave their results. Gradients are drawn
    whatever surrounds the call, such as ``torch.no_grad()``.
    """
    with torch.inference_mode(False), torch.enable_grad():
        return _train_stack(jobs)


def _train_stack(jobs: Sequence[FitJob]) -> list[FitResult]:
    teams = [members(job) for job in jobs]
    models = [
        Model(one, team, member)
        for team, ones in enumerate(teams)
        for member, one in enumerate(ones)
    ]
    order = sorted(range(len(models)), key=lambda i: _place(models[i]))
    with limited_threads(threads_for(sum(job.step_flops for job in jobs))):
        progress = _progress(jobs)
        ordered = [models[i] for i in order]
        net = StackNet(ordered, jobs[0].callbacks, int(jobs[0].verbose), progress)
        net.fit(None, None)
    if net.interrupted and net.n_teams > 1:
        raise KeyboardInterrupt
    results: list[list[FitResult]] = [[] for _ in jobs]
    for model in models:
        assert model.result is not None
        state = model.result.state
        state.values = {name: value.cpu() for name, value in state.values.items()}
        results[model.team].append(model.result)
    found = [combined(team) for team in results]
    for result in found:
        result.resumed = net.resumed
    if progress is not None and not net.interrupted:
        progress.finish(found)
    return found


def _progress(jobs: Sequence[FitJob]) -> Progress | None:
    places = [job.place for job in jobs if job.place is not None]
    return places[0].store.progress([place.key for place in places]) if places else None


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


trainer: ContextVar[Train] = ContextVar("trainer", default=train_alone)
#: Knows results without training, and says where a training is kept: `sklearn_dl.checkpointing`.
keeper: ContextVar[Callable[[FitJob, Train], FitResult] | None] = ContextVar("keeper", default=None)


def submit(job: FitJob) -> FitResult:
    """Have a job trained by the current trainer, unless its result is kept."""
    keep = keeper.get()
    return trainer.get()(job) if keep is None else keep(job, trainer.get())
