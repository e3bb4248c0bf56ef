"""A job of several networks: one job a member going in, one result coming out.

Each member may leave out one fold of the rows. What the members together lose on the rows they left
out says after which epoch to stop, so no row is lost for that purpose: a joint decision, as models
of one team are told the same loss (Holzmueller et al. 2024, section 5: jointly is better than each
by its own).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sklearn_dl.training.inputs import SomeInputs
from sklearn_dl.training.job import Examples, FitJob, FitResult, ModelState

__all__ = ["combined", "joined", "members"]


def members(job: FitJob) -> list[FitJob]:
    """The job of each member; a job of one network is its own only member."""
    if job.n_members == 1:
        return [job]
    return [_member(job, i) for i in range(job.n_members)]


def _member(job: FitJob, i: int) -> FitJob:
    examples, left_out, recipe = job.examples, None, job.recipe
    if job.folds is not None:
        left_out = _some(examples, job.folds == i)
        examples = _some(examples, job.folds != i)
        recipe = replace(recipe, early_stopping=True, n_iter_no_change=recipe.patience, tol=0.0)
    start = job.start
    if start is not None:
        optimizer = start.optimizer["members"][i] if start.optimizer else {}
        start = ModelState({name: value[i] for name, value in start.values.items()}, optimizer)
    return replace(
        job,
        architecture=replace(job.architecture, n_members=1),
        seed=int(np.random.SeedSequence([job.seed, i]).generate_state(1, np.uint64)[0] >> 2),
        examples=examples,
        left_out=left_out,
        recipe=recipe,
        start=start,
        folds=None,
        on_epoch=job.on_epoch if i == 0 else None,
        verbose=job.verbose and i == 0,
    )


def _some(examples: Examples, chosen: torch.Tensor) -> Examples:
    index = chosen.nonzero().squeeze(1)
    if len(chosen) < 2**31:
        index = index.to(torch.int32)  # half the memory: there is one a row and member
    weight = None if examples.weight is None else examples.weight[index]
    return Examples(SomeInputs(examples.inputs, index), examples.target[index], weight)


def joined(states: Sequence[ModelState]) -> ModelState:
    """States of the members with a leading axis; that of one network as it is."""
    if len(states) == 1:
        return states[0]
    values = {
        name: torch.stack([state.values[name] for state in states]) for name in states[0].values
    }
    kept = [state.optimizer for state in states]
    # a member that diverged has lost its own, and members step together
    optimizer: dict[str, Any] = {"members": kept} if all(kept) else {}
    return ModelState(values, optimizer)


def combined(results: Sequence[FitResult]) -> FitResult:
    """One result for a job: numbers with a leading axis of members, histories averaged."""
    if len(results) == 1:
        return results[0]
    first = results[0]
    length = min(len(result.history.get("epoch", [])) for result in results)
    history = {
        column: np.mean([result.history[column][:length] for result in results], axis=0).tolist()
        for column in (first.history if length else {})
    }
    errors = [result.error for result in results if result.error is not None]
    return FitResult(
        state=joined([result.state for result in results]),
        history=history,
        best_epoch=first.best_epoch,
        error=errors[0] if errors else None,
        interrupted=any(result.interrupted for result in results),
    )
