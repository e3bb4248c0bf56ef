"""Numbers chosen from the number of rows where the user leaves them to us.

All rules are constant below 256 rows: a row of weight two and a row that stands twice then meet the
same training, which scikit-learn's checks demand to the last digit.
"""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = [
    "N_MEMBERS",
    "PATIENCE",
    "PLAIN",
    "auto_batch_size",
    "auto_dropout",
    "auto_label_smoothing",
    "auto_max_epochs",
]

Steps: TypeAlias = tuple[tuple[int, int], ...]
"""(rows up to, value), rising."""

#: Networks of the ensemble, each of which leaves out one fold of the rows.
N_MEMBERS = 5
#: Epochs without a lower loss on those rows after which training ends, where ``max_epochs`` is left
#: to us.
PATIENCE = 10

#: Dropout of networks that learn all rows, to the last epoch.
DROPOUT = 0.1

#: Share of the targets spread over the classes where left-out rows say how sure a network may be.
SMOOTHING = 0.05

#: (rows up to, batch size): small data wants many updates, large data wants throughput. Steps of
#: RealMLP's rule (Holzmueller et al. 2024, pytabkit 1.7).
BATCH_SIZES: Steps = ((1024, 64), (8192, 128), (30_000, 256), (100_000, 512))
LARGEST_BATCH = 1024
#: The same for convolutions: on a CPU a step is arithmetic whatever the batch, so that small ones
#: cost little, and many updates are what they lack.
IMAGE_BATCH_SIZES: Steps = ((16_384, 32), (65_536, 64))
LARGEST_IMAGE_BATCH = 128

#: (rows up to, epochs): few rows are soon learnt by heart, many make many steps in an epoch. What
#: the members lose on rows they left out ends training before that where it pays.
EPOCHS: Steps = ((512, 50), (2048, 60), (16_384, 40))
FEWEST_EPOCHS = 25
#: The same for convolutions, whose every row costs much and which profit from many updates. 150
#: digits of 8 x 8, two seeds: 0.93 right after 50 epochs, 0.94 after 150; augmented 0.88 and 0.95.
IMAGE_EPOCHS: Steps = ((512, 150), (2048, 80), (16_384, 30))
FEWEST_IMAGE_EPOCHS = 15


def auto_dropout(*, leaves_rows_out: bool) -> float:
    """Share of units to drop: none where members end by the rows that they leave out.

    They lose nothing without it, and it takes a third of the time.
    """
    return 0.0 if leaves_rows_out else DROPOUT


def auto_label_smoothing(*, leaves_rows_out: bool, classes: bool) -> float:
    """Share of the targets to spread: some where the members' left-out rows mend the sureness.

    Then it orders the classes better, and costs no calibration.

    Parameters
    ----------
    leaves_rows_out : bool
        Whether members end by the rows that they leave out.
    classes : bool
        Whether cross-entropy of one class a row is minimised.
    """
    return SMOOTHING if leaves_rows_out and classes else 0.0


def auto_batch_size(n_rows: int, module: Any = "auto") -> int:
    """Rows a batch for ``n_rows`` training rows."""
    if _convolves(module):
        return _of(IMAGE_BATCH_SIZES, n_rows, LARGEST_IMAGE_BATCH)
    return _of(BATCH_SIZES, n_rows, LARGEST_BATCH)


def auto_max_epochs(n_rows: int, module: Any = "auto") -> int:
    """Epochs for ``n_rows`` training rows."""
    if _convolves(module):
        return _of(IMAGE_EPOCHS, n_rows, FEWEST_IMAGE_EPOCHS)
    return _of(EPOCHS, n_rows, FEWEST_EPOCHS)


def _convolves(module: Any) -> bool:
    return isinstance(module, str) and module == "cnn"


def _of(steps: Steps, n_rows: int, beyond: int) -> int:
    return next((value for rows, value in steps if n_rows <= rows), beyond)


#: Every trick off: the network of the textbook, for teaching and for fair comparisons.
PLAIN: dict[str, Any] = {
    "module": "mlp",
    "preprocessing": "standard",
    "normalization": None,
    "dropout": 0.0,
    "schedule": None,
    "warmup": 0.0,
    "max_grad_norm": None,
    "augmentation": None,
    "weight_decay": 0.0,
}
