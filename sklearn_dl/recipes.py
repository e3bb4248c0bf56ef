"""Numbers chosen from the number of rows where the user leaves them to us.

All rules are constant below 256 rows: a row of weight two and a row that stands twice then meet the
same training, which scikit-learn's checks demand to the last digit.
"""

from __future__ import annotations

from typing import Any

__all__ = ["N_MEMBERS", "PATIENCE", "PLAIN", "auto_batch_size", "auto_max_epochs"]

#: Networks of the ensemble, each of which leaves out one fold of the rows.
N_MEMBERS = 5
#: Epochs without a lower loss on those rows after which training ends, where ``max_epochs`` is left
#: to us.
PATIENCE = 10

#: (rows up to, batch size): small data wants many updates, large data wants throughput. Steps of
#: RealMLP's rule (Holzmueller et al. 2024, pytabkit 1.7).
BATCH_SIZES = ((1024, 64), (8192, 128), (30_000, 256), (100_000, 512))
LARGEST_BATCH = 1024

#: (rows up to, epochs): few rows are soon learnt by heart, many make many steps in an epoch. What
#: the members lose on rows they left out ends training before that where it pays.
EPOCHS = ((512, 50), (2048, 60), (16_384, 40))
FEWEST_EPOCHS = 25


def auto_batch_size(n_rows: int) -> int:
    """Rows a batch for ``n_rows`` training rows."""
    return next((size for rows, size in BATCH_SIZES if n_rows <= rows), LARGEST_BATCH)


def auto_max_epochs(n_rows: int) -> int:
    """Epochs for ``n_rows`` training rows."""
    return next((epochs for rows, epochs in EPOCHS if n_rows <= rows), FEWEST_EPOCHS)


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
