"""How does training answer to its settings? Many fits of one network, trained together.

Each study takes a DLClassifier or DLRegressor, or a Pipeline that ends in one, and gives data
frames with a row a fit and intervals over seeds. What comes out is an observation on these rows:
the course's rules of thumb hold on many tables, and need not hold on this one.
"""

from sklearn_dl.studies.batch_size import BatchSizeStudy, batch_size_study
from sklearn_dl.studies.learning_rate import LearningRateRange, learning_rate_range
from sklearn_dl.studies.saturation import (
    SaturationStudy,
    gradient_by_saturation,
    saturation_study,
)
from sklearn_dl.studies.schedules import schedule_rates, warmup_study
from sklearn_dl.studies.width import negative_curvature_by_width

__all__ = [
    "BatchSizeStudy",
    "LearningRateRange",
    "SaturationStudy",
    "batch_size_study",
    "gradient_by_saturation",
    "learning_rate_range",
    "negative_curvature_by_width",
    "saturation_study",
    "schedule_rates",
    "warmup_study",
]
