"""What every test shares: one thread, no display, two small tables."""

import os
import signal

# Before torch and numpy are imported: two threads on a small net were seen ten times slower.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_iris

torch.set_num_threads(1)
# A shell that starts the tests in the background has them ignore Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def iris() -> tuple[np.ndarray, np.ndarray]:
    """X (150, 4), y (150,) in {0, 1, 2}."""
    return load_iris(return_X_y=True)


@pytest.fixture
def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """X (442, 10), y (442,) in [25, 346]."""
    return load_diabetes(return_X_y=True)
