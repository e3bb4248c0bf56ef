"""What does the training loss look like around the weights: valley, saddle or slope, flat or sharp?

Each function takes a fitted estimator, ``f(estimator, X, y)``, or any torch module with its loss,
``f(module, loss, X, y)``, where ``loss(output, y)`` gives unreduced losses whose mean is studied.
The objective is the training loss with its class and sample weights, in float64, without dropout,
label smoothing, augmentation or weight decay (``penalty`` adds the L2 term). Of an ensemble it is
the loss of the averaged outputs, while in training each member lowers a loss of its own: to study
what was minimised, take one network (``n_members=1``, or ``**PLAIN``).
"""

from sklearn_dl.curvature.critical import CriticalPoint, critical_point
from sklearn_dl.curvature.escaping import escape, saddle_race
from sklearn_dl.curvature.hessian import HessianOperator, hessian_operator
from sklearn_dl.curvature.landscape import LossSlice, Sharpness, loss_slice, sharpness
from sklearn_dl.curvature.noise import GradientNoise, gradient_noise
from sklearn_dl.curvature.spectrum import (
    HessianExtremes,
    SpectralDensity,
    hessian_extremes,
    spectral_density,
)
from sklearn_dl.curvature.stacked import critical_points, hessian_extremes_stack
from sklearn_dl.curvature.studied import training_loss

__all__ = [
    "CriticalPoint",
    "GradientNoise",
    "HessianExtremes",
    "HessianOperator",
    "LossSlice",
    "Sharpness",
    "SpectralDensity",
    "critical_point",
    "critical_points",
    "escape",
    "gradient_noise",
    "hessian_extremes",
    "hessian_extremes_stack",
    "hessian_operator",
    "loss_slice",
    "saddle_race",
    "sharpness",
    "spectral_density",
    "training_loss",
]
