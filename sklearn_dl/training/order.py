"""In which order does an epoch serve the rows?

Any order at all where rows are in memory. Where they lie in a file, single rows from everywhere
would each cost a read of the disk. There the file is cut into blocks; the blocks are shuffled, and
rows are shuffled within windows of some blocks. A batch then holds rows from as many places of the
file as a window has blocks.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from sklearn_dl.training.inputs import WINDOW_BLOCKS

__all__ = ["Order", "block_order"]


def block_order(n_rows: int, block_rows: int | None, generator: Generator) -> Tensor | None:
    """The blocks of a file in the order in which they are read; None where there are none."""
    if block_rows is None:
        return None
    return torch.randperm(-(-n_rows // block_rows), generator=generator)


class Order:
    """Positions of rows, drawn as far as they are asked for.

    Parameters
    ----------
    n_rows : int
    generator : Generator or None
        None: as they stand.
    blocks : Tensor or None
        See `block_order`; None: any row may come at any time.
    block_rows : int or None
    """

    def __init__(
        self,
        n_rows: int,
        generator: Generator | None,
        blocks: Tensor | None = None,
        block_rows: int | None = None,
    ) -> None:
        self._n_rows, self._generator, self._block_rows = n_rows, generator, block_rows
        self._start, self._next_block = 0, 0
        self._blocks = blocks
        if generator is None:
            self._drawn = torch.arange(n_rows)
        elif blocks is None:
            self._drawn = torch.randperm(n_rows, generator=generator)
        else:
            self._drawn = torch.arange(0)

    def part(self, start: int, stop: int) -> Tensor:
        """What comes at [start, stop); parts are asked for in their order, without overlap."""
        while self._start + len(self._drawn) < min(stop, self._n_rows):
            window = self._window()
            self._drawn = torch.cat([self._drawn[start - self._start :], window])
            self._start = start
        return self._drawn[start - self._start : stop - self._start]

    def _window(self) -> Tensor:
        assert self._blocks is not None
        assert self._block_rows is not None
        blocks = self._blocks[self._next_block : self._next_block + WINDOW_BLOCKS]
        self._next_block += WINDOW_BLOCKS
        first = blocks.unsqueeze(1) * self._block_rows
        rows = (first + torch.arange(self._block_rows)).flatten()
        rows = rows[rows < self._n_rows]
        return rows[torch.randperm(len(rows), generator=self._generator)]
