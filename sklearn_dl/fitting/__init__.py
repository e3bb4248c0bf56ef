"""From checked rows and an estimator's parameters to a job, and from its result to predictions."""

from sklearn_dl.fitting.architecture import (
    architecture_of,
    check_same_encoding,
    check_same_network,
    is_stackable,
    refuse_random_loss,
)
from sklearn_dl.fitting.inputs import (
    Bins,
    Encoder,
    embedded_levels,
    encoded_examples,
    fitted_encoder,
    piecewise_bins,
    training_dtype,
)
from sklearn_dl.fitting.rows import (
    Rows,
    checked_rows,
    hold_out,
    member_folds,
    scaled_weights,
)
from sklearn_dl.fitting.settings import (
    batch_size_of,
    checked_callbacks,
    is_strong,
    n_members_of,
    new_seed,
    recipe_of,
    torch_device,
)
from sklearn_dl.fitting.trained import (
    as_arrays,
    as_tensors,
    history_frame,
    left_out_outputs,
    network_outputs,
    numpy_state,
    plain_module,
    torch_state,
    warn_if_not_converged,
)
from sklearn_dl.nn import Architecture

__all__ = [
    "Architecture",
    "Bins",
    "Encoder",
    "Rows",
    "architecture_of",
    "as_arrays",
    "as_tensors",
    "batch_size_of",
    "check_same_encoding",
    "check_same_network",
    "checked_callbacks",
    "checked_rows",
    "embedded_levels",
    "encoded_examples",
    "fitted_encoder",
    "history_frame",
    "hold_out",
    "is_stackable",
    "is_strong",
    "left_out_outputs",
    "member_folds",
    "n_members_of",
    "network_outputs",
    "new_seed",
    "numpy_state",
    "piecewise_bins",
    "plain_module",
    "recipe_of",
    "refuse_random_loss",
    "scaled_weights",
    "torch_device",
    "torch_state",
    "training_dtype",
    "warn_if_not_converged",
]
