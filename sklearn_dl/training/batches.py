"""The rows of a stack of models, shuffled in memory and served as batches.

Every model has its own rows. Models are sorted by the number of their batches, so the models that
still have rows at a step of the epoch are always the first ones; shorter last batches are padded
with rows of zeros that weigh nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sklearn_dl.nn import Batch
from sklearn_dl.training.job import Examples
from sklearn_dl.training.model import Model
from sklearn_dl.training.order import Order, block_order

__all__ = ["Batches", "Step", "padded"]

#: Rows are gathered in blocks of about this many bytes: large enough that the cost of a gather is
#: spread over many steps, small beside the data where the data is large.
BLOCK_BYTES = 2**22


@dataclass
class Step:
    """One batch of each active model.

    Attributes
    ----------
    n_models : int
        Active models, the first of the stack.
    x : Tensor of shape (n_models, rows, n_features)
    target : Tensor of shape (n_models, rows) or (n_models, rows, n_outputs)
    share : Tensor of shape (n_models, rows)
        What each row's loss adds to its model's batch loss: weight over the number of rows.
    batch : Batch
        Weights and true rows for the layers that need them.
    """

    n_models: int
    x: Tensor
    target: Tensor
    share: Tensor
    batch: Batch


def padded(parts: Sequence[Tensor], n_rows: int) -> Tensor:
    """Stack tensors of shape (n_i, ...) to (n_models, n_rows, ...), padded with zeros."""
    if len(parts) == 1 and parts[0].shape[0] == n_rows:
        return parts[0].unsqueeze(0)
    out = parts[0].new_zeros(len(parts), n_rows, *parts[0].shape[1:])
    for row, part in zip(out, parts, strict=True):
        row[: part.shape[0]] = part
    return out


class Batches:
    """Batches of a stack of models, epoch after epoch.

    Attributes
    ----------
    relative : Tensor of shape (n_models, longest) or None
        Sample weight over its mean, by row; None where no model has weights.
    """

    def __init__(self, models: Sequence[Model], device: torch.device, dtype: torch.dtype) -> None:
        self._models = models
        self._examples: list[Examples] = [m.job.examples.to(device) for m in models]
        self._lengths = [len(e) for e in self._examples]
        self._batch_size = models[0].job.batch_size
        self.n_steps = models[0].n_steps
        self._ragged = len(set(self._lengths)) > 1
        self._longest = max(self._lengths)
        self._device, self._dtype = device, dtype
        self.relative = self._relative_weights()
        self._buffers: tuple[Tensor, Tensor, Tensor | None] | None = None
        self._share = self._shares() if self._ragged else None
        self._even_share = self._shares_of_equals()
        self._static = (
            self._block([None] * len(models), 0, self._longest) if self.n_steps == 1 else None
        )
        width = self._batch_size * self._examples[0].inputs.n_features * dtype.itemsize
        self._steps_per_block = max(1, BLOCK_BYTES // (len(models) * max(1, width)))

    def _relative_weights(self) -> Tensor | None:
        if all(e.weight is None for e in self._examples):
            return None
        ones = [torch.ones(n, dtype=torch.float64) for n in self._lengths]
        weights = [
            one
            if e.weight is None
            else e.weight.to(torch.float64) / e.weight.to(torch.float64).mean()
            for e, one in zip(self._examples, ones, strict=True)
        ]
        return padded([w.to(self._device, self._dtype) for w in weights], self._longest)

    def _shares(self) -> Tensor:
        """1 over the rows of the batch that each position falls into, (n_models, longest)."""
        share = torch.zeros(
            len(self._models), self._longest, device=self._device, dtype=self._dtype
        )
        for row, model, n in zip(share, self._models, self._lengths, strict=True):
            last = (model.n_steps - 1) * self._batch_size
            row[:last] = 1 / self._batch_size
            row[last:n] = 1 / (n - last)
        return share

    def _shares_of_equals(self) -> tuple[Tensor, Tensor]:
        """The same where all models have as many rows: of a batch, and of the last one."""
        k, last = len(self._models), self._longest - (self.n_steps - 1) * self._batch_size
        kind: dict[str, Any] = {"device": self._device, "dtype": self._dtype}
        full = torch.full((k, self._batch_size), 1 / self._batch_size, **kind)
        return full, torch.full((k, last), 1 / last, **kind)

    def stop(self, model: int, step: int) -> int:
        """Position behind the last row of a model's batch."""
        if step == self._models[model].n_steps - 1:
            return self._lengths[model]
        return (step + 1) * self._batch_size

    def n_active(self, step: int) -> int:
        """Models that have rows at this step of the epoch."""
        return sum(m.n_steps > step for m in self._models)

    def epoch(self) -> Iterator[tuple[Tensor | None, list[Step]]]:
        """Shuffle, then yield blocks of steps, each with the relative weights of its rows.

        A model whose rows are all in one batch is not shuffled: the order would change nothing but
        rounding, and equal weights and repeated rows would no longer agree exactly.
        """
        if self._static is not None:
            x, target, relative = self._static
            yield relative, [self._step(0, 0, x, target, relative)]
            return
        block_rows = self._examples[0].inputs.block_rows
        # models that share a file share its blocks, too: each is read once for all
        blocks = block_order(self._longest, block_rows, self._models[0].generator)
        orders = [
            Order(n, m.generator if m.n_steps > 1 else None, blocks, block_rows)
            for m, n in zip(self._models, self._lengths, strict=True)
        ]
        for first in range(0, self.n_steps, self._steps_per_block):
            steps = range(first, min(first + self._steps_per_block, self.n_steps))
            k = self.n_active(first)
            start = first * self._batch_size
            stop = max(self.stop(i, min(steps[-1], self._models[i].n_steps - 1)) for i in range(k))
            parts = [order.part(start, stop) for order in orders[:k]]
            x, target, relative = self._block(parts, start, stop)
            yield relative, [self._step(step, start, x, target, relative) for step in steps]

    def _block(
        self, orders: Sequence[Tensor | None], start: int, stop: int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Rows at positions [start, stop) of each model's order; None: the rows as they stand."""
        if orders[0] is None:
            parts = [e.inputs.rows(0, len(e)).to(self._device) for e in self._examples]
            x = padded(parts, self._longest)
            target = padded([e.target for e in self._examples], self._longest)
            return x, target, self.relative
        k, width = len(orders), stop - start
        if self._buffers is None:
            self._buffers = self._new_buffers(k, width)
        # the same memory for each block: fresh pages cost more than filling them
        x, target = (buffer[:k, :width] for buffer in self._buffers[:2])
        relative = None if self._buffers[2] is None else self._buffers[2][:k, :width]
        for i, order in enumerate(orders):
            assert order is not None
            index, n, examples = order.to(self._device), len(order), self._examples[i]
            examples.inputs.take(index, x[i, :n])
            torch.index_select(examples.target, 0, index, out=target[i, :n])
            if relative is not None and self.relative is not None:
                torch.index_select(self.relative[i], 0, index, out=relative[i, :n])
            if n < width:
                for block in (x, target) if relative is None else (x, target, relative):
                    block[i, n:] = 0
        return x, target, relative

    def _new_buffers(self, k: int, width: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Room for the first block of an epoch, the largest but for a single row that may join."""
        first, width = self._examples[0], width + 1
        x = torch.empty((k, width, first.inputs.n_features), device=self._device, dtype=self._dtype)
        target = first.target.new_empty(k, width, *first.target.shape[1:])
        return x, target, None if self.relative is None else x.new_empty(k, width)

    def _step(
        self, step: int, offset: int, x: Tensor, target: Tensor, relative: Tensor | None
    ) -> Step:
        k = self.n_active(step)
        start = step * self._batch_size
        stop = max(self.stop(i, step) for i in range(k)) if self._ragged else self.stop(0, step)
        rows = slice(start - offset, stop - offset)
        if self._share is None:
            share = self._even_share[step == self.n_steps - 1]
        else:
            share = self._share[:k, start:stop]
        batch = Batch()
        if self._ragged:
            batch.rows = [self.stop(i, step) - start for i in range(k)]
            if min(batch.rows) < stop - start:
                # behind a model's last row may stand the first row of its next batch: a batch with
                # one row more than the others is a last one that took in a single row
                share = share.clone()
                for row, n in zip(share, batch.rows, strict=True):
                    row[n:] = 0
        if relative is not None:
            share = share * relative[:k, rows]
        if self._ragged or relative is not None:
            batch.weight = share
        return Step(k, x[:k, rows], target[:k, rows], share, batch)
