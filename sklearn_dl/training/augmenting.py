"""Augmentation of a stack: each model draws for itself, all are changed at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sklearn_dl.augmentation import Augmentation, Draws, Mixed, Rule, UserFunction
from sklearn_dl.nn.randomness import private_random
from sklearn_dl.training.batches import Step
from sklearn_dl.training.model import Model

__all__ = ["StackAugmentation", "rejoined", "sum_of", "terms_of"]


class StackAugmentation:
    """What the models of a stack do to their batches in training.

    Parameters
    ----------
    models : sequence of Model
        One at least has an augmentation. Each draws from its own ``noise``.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self._generators = [model.noise for model in models]
        self._rules: dict[Rule, list[tuple[int, Augmentation]]] = {}
        self._functions: list[tuple[int, UserFunction, Augmentation]] = []
        self._strengths: dict[tuple[Rule, int], Tensor] = {}  # by rule and how many are active
        for place, model in enumerate(models):
            augmentation: Augmentation | None = model.job.recipe.augmentation
            if augmentation is None:
                continue
            if isinstance(augmentation.rule, Rule):
                self._rules.setdefault(augmentation.rule, []).append((place, augmentation))
            else:
                self._functions.append((place, augmentation.rule, augmentation))

    @staticmethod
    def of(models: Sequence[Model]) -> StackAugmentation | None:
        """That of some models; None where none has any."""
        if all(model.job.recipe.augmentation is None for model in models):
            return None
        return StackAugmentation(models)

    @torch.no_grad()
    def __call__(self, step: Step) -> tuple[Tensor, Mixed | None]:
        """The batch changed, as a copy, and how its rows are mixed."""
        n, length, _ = step.x.shape
        rows = [length] * n if step.batch.rows is None else list(step.batch.rows)
        out, mixed = step.x, None
        for rule, members in self._rules.items():
            present = [(place, augmentation) for place, augmentation in members if place < n]
            if not present:
                continue
            places = [place for place, _ in present]
            whole = len(places) == n
            x = step.x if whole else step.x[places]
            changed = rule.apply(x, self._draws(rule, present, x, rows))
            if isinstance(changed, tuple):
                changed, mixture = changed
                mixed = mixture if whole else _spread(mixture, places, step)
            if whole:
                out = changed
            else:
                out = out.clone() if out is step.x else out
                out[places] = changed
        return self._apply_functions(out, step, rows), mixed

    def _draws(
        self, rule: Rule, members: Sequence[tuple[int, Augmentation]], x: Tensor, rows: list[int]
    ) -> Draws:
        image = members[0][1].image
        lengths = [rows[place] for place, _ in members]
        padded = min(lengths) < x.shape[1]
        make = x.new_zeros if padded else x.new_empty
        numbers = make((*x.shape[:2], rule.n_numbers(x.shape[2], image)))
        for drawn, (place, augmentation) in zip(numbers, members, strict=True):
            rule.draw(drawn[: rows[place]], augmentation.strength, self._generators[place])
        key = rule, len(members)
        if key not in self._strengths:
            strengths = x.new_tensor([augmentation.strength for _, augmentation in members])
            self._strengths[key] = strengths.view(-1, 1, 1)
        n_rows = x.new_tensor(lengths).view(-1, 1, 1) if padded else None
        return Draws(numbers, self._strengths[key], n_rows, image)

    def _apply_functions(self, out: Tensor, step: Step, rows: list[int]) -> Tensor:
        for place, function, augmentation in self._functions:
            if place < step.n_models:
                out = out.clone() if out is step.x else out
                own = out[place, : rows[place]]
                generator = self._generators[place]
                with private_random(generator):  # also what the function draws without saying so
                    changed = function(own, generator, augmentation.strength, augmentation.image)
                own.copy_(changed)
        return out


def _spread(mixed: Mixed, places: list[int], step: Step) -> Mixed:
    """A mixture of some models as one of all, whose other rows are wholly themselves."""
    partner = torch.arange(step.x.shape[1], device=step.x.device).repeat(step.n_models, 1)
    share = step.x.new_ones(partner.shape)
    partner[places], share[places] = mixed.partner, mixed.share
    return Mixed(partner, share)


def terms_of(step: Step, mixed: Mixed | None) -> list[tuple[Tensor, Tensor]]:
    """Targets and shares whose losses add up to those of the batch.

    A mixture has two targets; each half counts as the row it comes from.
    """
    if mixed is None:
        return [(step.target, step.share)]
    first = step.share * mixed.share
    if step.batch.weight is None:  # the rows of a batch all count alike
        second = step.share - first
    else:
        second = mixed.second(step.share) * (1 - mixed.share)
    return [(step.target, first), (mixed.second(step.target), second)]


def sum_of(parts: Sequence[Tensor]) -> Tensor:
    """The sum of one tensor or two."""
    return parts[0] if len(parts) == 1 else torch.add(*parts)


def rejoined(
    losses: Sequence[Tensor],
    terms: Sequence[tuple[Tensor, Tensor]],
    step: Step,
    mixed: Mixed | None,
) -> Tensor:
    """One loss a row, (n_models, rows), that times ``step.share`` gives what the row added."""
    if mixed is None:
        return losses[0]
    if step.batch.weight is None:
        return torch.lerp(losses[1], losses[0], mixed.share)
    added = sum_of([loss * share for loss, (_, share) in zip(losses, terms, strict=True)])
    return (added / step.share).nan_to_num_(0.0)  # padding is 0 / 0
