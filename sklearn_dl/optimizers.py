"""How the weights move: name -> torch.optim class and arguments.

The training loop hands all parameters of a model to the optimizer as one row of a matrix, which is
the same thing for optimizers that treat every parameter by itself (``ELEMENTWISE``), and lets one
optimizer step a whole stack of models. Other classes get one tensor a layer and train alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, optim
from torch.optim.adagrad import adagrad
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

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
State = dict[str, Tensor]
UpdateRule = Callable[..., None]
"""``(values, gradient, state, *, lr, weight_decay, **settings)``: one step in place.

These are the functions below torch's optimizer classes, fused where torch fuses them. The classes
import ``torch._dynamo`` when the first of them is made (1.3 s and 84 MiB, seen) and cost more a
step.
"""


def _sgd(
    x: Tensor, g: Tensor, state: State, *, lr: float, weight_decay: float, momentum: float
) -> None:
    buffers = [state.get("momentum_buffer")]
    sgd(
        [x],
        [g],
        buffers,
        fused=True,
        lr=lr,
        weight_decay=weight_decay,
        momentum=momentum,
        dampening=0.0,
        nesterov=False,
        maximize=False,
    )
    if buffers[0] is not None:
        state["momentum_buffer"] = buffers[0]


def _adagrad(x: Tensor, g: Tensor, state: State, *, lr: float, weight_decay: float) -> None:
    if not state:
        state.update(step=torch.zeros(()), sum=torch.zeros_like(x))
    adagrad(
        [x],
        [g],
        [state["sum"]],
        [state["step"]],
        fused=x.device.type == "cpu",
        lr=lr,
        weight_decay=weight_decay,
        lr_decay=0.0,
        eps=1e-10,
        maximize=False,
    )


def _rmsprop(
    x: Tensor,
    g: Tensor,
    state: State,
    *,
    lr: float,
    weight_decay: float,
    alpha: float,
    momentum: float,
) -> None:
    if not state:
        state.update(step=torch.zeros(()), square_avg=torch.zeros_like(x))
        if momentum:
            state["momentum_buffer"] = torch.zeros_like(x)
    rmsprop(
        [x],
        [g],
        [state["square_avg"]],
        [],
        [state["momentum_buffer"]] if momentum else [],
        [state["step"]],
        foreach=False,  # torch has no fused form; a loop over tensors is here a loop over one
        lr=lr,
        weight_decay=weight_decay,
        alpha=alpha,
        momentum=momentum,
        eps=1e-8,
        centered=False,
    )


def _adam(
    x: Tensor,
    g: Tensor,
    state: State,
    *,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float],
    decoupled: bool = False,
) -> None:
    if not state:
        state.update(step=torch.zeros((), device=x.device))
        state.update(exp_avg=torch.zeros_like(x), exp_avg_sq=torch.zeros_like(x))
    adam(
        [x],
        [g],
        [state["exp_avg"]],
        [state["exp_avg_sq"]],
        [],
        [state["step"]],
        fused=True,
        decoupled_weight_decay=decoupled,
        lr=lr,
        weight_decay=weight_decay,
        beta1=betas[0],
        beta2=betas[1],
        eps=1e-8,
        amsgrad=False,
        maximize=False,
    )


@dataclass(frozen=True)
class Named:
    """What an optimizer with a name is.

    Attributes
    ----------
    cls : type
        As torch has it.
    rule : callable
        The same as a function.
    settings : callable
        ``(momentum, rms_decay) -> arguments`` of both; None is our default.
    decoupled : bool
        Whether weight decay shrinks the weights instead of adding to the gradient.
    """

    cls: type[optim.Optimizer]
    rule: UpdateRule
    settings: Callable[[float | None, float | None], dict[str, Any]]
    decoupled: bool = False


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _sgd_settings(momentum: float | None, rms_decay: float | None) -> dict[str, Any]:
    return {"momentum": _given(momentum, MOMENTUM)}


def _rmsprop_settings(momentum: float | None, rms_decay: float | None) -> dict[str, Any]:
    return {"alpha": _given(rms_decay, RMSPROP_DECAY), "momentum": _given(momentum, 0.0)}


def _adam_settings(momentum: float | None, rms_decay: float | None) -> dict[str, Any]:
    return {"betas": (_given(momentum, MOMENTUM), _given(rms_decay, ADAM_DECAY))}


OPTIMIZERS: dict[str, Named] = {
    "sgd": Named(optim.SGD, _sgd, _sgd_settings),
    "adagrad": Named(optim.Adagrad, _adagrad, lambda momentum, rms_decay: {}),
    "rmsprop": Named(optim.RMSprop, _rmsprop, _rmsprop_settings),
    "adam": Named(optim.Adam, _adam, _adam_settings),
    "adamw": Named(optim.AdamW, partial(_adam, decoupled=True), _adam_settings, decoupled=True),
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
    rule : callable or None
        The same optimizer as a function, where there is one.
    """

    factory: Callable[..., optim.Optimizer]
    settings: tuple[tuple[str, Any], ...]
    elementwise: bool
    linear: bool
    decoupled: bool
    takes_decay: bool = True
    rule: UpdateRule | None = None


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
        Refused for a user's class, whose name for it we do not know.

    Raises
    ------
    ValueError
        A partial sets what belongs to the estimator, or a class has no such argument.
    TypeError
        ``optimizer`` is none.
    """
    if not isinstance(optimizer, str):
        return _user_spec(optimizer, momentum, rms_decay)
    named = OPTIMIZERS[optimizer]
    return OptimizerSpec(
        named.cls,
        tuple(named.settings(momentum, rms_decay).items()),
        elementwise=True,
        linear=True,
        decoupled=named.decoupled,
        rule=named.rule,
    )


#: Arguments that the estimator sets in every optimizer -> its parameter.
_OURS = {"lr": "learning_rate", "weight_decay": "weight_decay"}


def _user_spec(
    optimizer: Callable[..., optim.Optimizer], momentum: float | None, rms_decay: float | None
) -> OptimizerSpec:
    cls = optimizer.func if isinstance(optimizer, partial) else optimizer
    try:
        accepted = signature(cls).parameters
    except ValueError as error:
        raise TypeError(
            "optimizer must be a name, a torch.optim.Optimizer class or a partial of one, got "
            f"{optimizer!r}."
        ) from error
    takes_any = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in accepted.values())
    given = optimizer.keywords if isinstance(optimizer, partial) else {}
    ours = _OURS if momentum is None else {**_OURS, "momentum": "momentum"}
    for argument in sorted(given.keys() & ours.keys()):
        raise ValueError(
            f"optimizer is a partial that sets {argument}={given[argument]!r}, which the parameter "
            f"{ours[argument]} of the estimator sets, too. Give it there alone: "
            f"{ours[argument]}={given[argument]!r}."
        )
    if rms_decay is not None:
        raise ValueError(
            f"rms_decay={rms_decay!r} is for an optimizer with a name. Leave rms_decay=None, and "
            "pass a functools.partial of the class with its own argument, such as alpha or betas."
        )
    settings: list[tuple[str, Any]] = []
    if momentum is not None:
        if "momentum" not in accepted and not takes_any:
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
        takes_decay="weight_decay" in accepted or takes_any,
    )
