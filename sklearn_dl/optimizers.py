"""How the weights move: name -> torch.optim class and arguments.

The training loop hands all parameters of a model to the optimizer as one row of a matrix, which is
the same thing for optimizers that treat every parameter by itself (``ELEMENTWISE``), and lets one
optimizer step a whole stack of models. Other classes get one tensor a layer and train alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

from torch import optim

__all__ = ["ELEMENTWISE", "OPTIMIZERS", "OptimizerSpec", "optimizer_spec"]

#: Default decay of the first moment, and of plain momentum (Sutskever et al. 2013).
MOMENTUM = 0.9
#: Default decay of the squared-gradient average of RMSProp (Hinton 2012, lecture 6e) ...
RMSPROP_DECAY = 0.9
#: ... and of Adam (Kingma and Ba 2015).
ADAM_DECAY = 0.999

ELEMENTWISE = frozenset(
    {
        optim.SGD,
        optim.Adagrad,
        optim.RMSprop,
        optim.Adam,
        optim.AdamW,
        optim.NAdam,
        optim.RAdam,
        optim.Adamax,
        optim.Adadelta,
    }
)
_FUSED = frozenset({optim.SGD, optim.Adagrad, optim.Adam, optim.AdamW})  # torch fuses these on CPU
#: Classes that shrink the weights themselves rather than add their decay to the gradient.
_DECOUPLED = frozenset({optim.AdamW})

OPTIMIZERS: dict[str, type[optim.Optimizer]] = {
    "sgd": optim.SGD,
    "adagrad": optim.Adagrad,
    "rmsprop": optim.RMSprop,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
}
# one object a name, so that the specs of two estimators compare equal
_FACTORIES: dict[str, Callable[..., optim.Optimizer]] = {
    name: partial[optim.Optimizer](cls, **{"fused": True}) if cls in _FUSED else cls
    for name, cls in OPTIMIZERS.items()
}


@dataclass(frozen=True)
class OptimizerSpec:
    """A torch optimizer without its rate and weight decay, which belong to each model.

    Attributes
    ----------
    factory : callable
        ``(params, lr=, **settings) -> torch.optim.Optimizer``.
    settings : tuple of (str, value)
        Arguments that may differ between the models of a stack.
    elementwise : bool
        Whether the step of a parameter depends on that parameter alone.
    linear : bool
        Whether the step is proportional to the rate once weight decay is taken out, so that one
        optimizer with rate 1 serves models of different rates.
    decoupled : bool
        Whether weight decay shrinks the weights instead of adding to the gradient.
    takes_decay : bool
        Whether the factory has an argument ``weight_decay``.
    """

    factory: Callable[..., optim.Optimizer]
    settings: tuple[tuple[str, Any], ...]
    elementwise: bool
    linear: bool
    decoupled: bool
    takes_decay: bool = True


def optimizer_spec(
    optimizer: str | Callable[..., optim.Optimizer],
    *,
    momentum: float | None,
    rms_decay: float | None,
) -> OptimizerSpec:
    """Resolve the ``optimizer``, ``momentum`` and ``rms_decay`` of an estimator.

    Parameters
    ----------
    optimizer : str, class or partial
        A name of ``OPTIMIZERS``, a ``torch.optim.Optimizer`` class, or a partial of one.
    momentum : float or None
        Plain momentum of ``"sgd"`` and ``"rmsprop"``, beta1 of the Adams. ``None``: 0.9, but 0 for
        ``"rmsprop"``. Passed to a user's class only where given.
    rms_decay : float or None
        Decay of the squared-gradient average. ``None``: 0.9 for ``"rmsprop"``, 0.999 for the Adams.
    """
    if not isinstance(optimizer, str):
        return _user_spec(optimizer, momentum)
    cls = OPTIMIZERS[optimizer]
    settings: dict[str, Any] = {}
    beta1 = MOMENTUM if momentum is None else momentum
    if optimizer == "sgd":
        settings["momentum"] = beta1
    elif optimizer == "rmsprop":
        settings["alpha"] = RMSPROP_DECAY if rms_decay is None else rms_decay
        settings["momentum"] = 0.0 if momentum is None else momentum
    elif optimizer in ("adam", "adamw"):
        settings["betas"] = (beta1, ADAM_DECAY if rms_decay is None else rms_decay)
    return OptimizerSpec(
        _FACTORIES[optimizer],
        tuple(settings.items()),
        True,
        linear=True,
        decoupled=cls in _DECOUPLED,
    )


def _user_spec(optimizer: Callable[..., optim.Optimizer], momentum: float | None) -> OptimizerSpec:
    cls = optimizer.func if isinstance(optimizer, partial) else optimizer
    accepted = signature(cls).parameters
    settings: list[tuple[str, Any]] = []
    if momentum is not None:
        if "momentum" not in accepted:
            raise ValueError(
                f"optimizer {getattr(cls, '__name__', cls)!s} has no momentum argument; got "
                f"momentum={momentum!r}. Leave momentum=None, or pass a functools.partial of it."
            )
        settings.append(("momentum", momentum))
    return OptimizerSpec(
        optimizer,
        tuple(settings),
        elementwise=cls in ELEMENTWISE,
        linear=False,
        decoupled=False,
        takes_decay="weight_decay" in accepted,
    )
