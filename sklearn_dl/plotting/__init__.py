"""The Displays scikit-learn lacks, in scikit-learn's Display convention.

Each is legible in greyscale, shows one thing, and its title says what was found.
"""

from sklearn_dl.plotting.curvature import HessianSpectrumDisplay, LossLandscapeDisplay
from sklearn_dl.plotting.ledger import LedgerDisplay
from sklearn_dl.plotting.resilience import ResilienceDisplay
from sklearn_dl.plotting.studies import (
    BatchSizeDisplay,
    LearningRateRangeDisplay,
    ScheduleDisplay,
)
from sklearn_dl.plotting.training import TrainingCurveDisplay

__all__ = [
    "BatchSizeDisplay",
    "HessianSpectrumDisplay",
    "LearningRateRangeDisplay",
    "LedgerDisplay",
    "LossLandscapeDisplay",
    "ResilienceDisplay",
    "ScheduleDisplay",
    "TrainingCurveDisplay",
]
