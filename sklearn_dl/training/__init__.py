"""The one training loop: jobs in, trained models out."""

from sklearn_dl.training.inputs import DenseInputs, FileInputs, Inputs, SparseInputs
from sklearn_dl.training.job import (
    DivergenceError,
    Examples,
    FitJob,
    FitResult,
    ModelState,
    Place,
    Progress,
    Recipe,
    Score,
)
from sklearn_dl.training.trainer import (
    Train,
    keeper,
    submit,
    train_alone,
    train_stack,
    trainer,
)

__all__ = [
    "DenseInputs",
    "DivergenceError",
    "Examples",
    "FileInputs",
    "FitJob",
    "FitResult",
    "Inputs",
    "ModelState",
    "Place",
    "Progress",
    "Recipe",
    "Score",
    "SparseInputs",
    "Train",
    "keeper",
    "submit",
    "train_alone",
    "train_stack",
    "trainer",
]
