"""A user's module in a stack: one functional copy a model, mapped over the model axis."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, vmap

from sklearn_dl.nn.layers import Batch, Stacked
from sklearn_dl.nn.randomness import draws_random_numbers, private_random

__all__ = ["Replicated", "can_be_stacked"]


class Replicated(Stacked):
    """``n_models`` copies of the module that ``factory(n_features, n_outputs)`` builds.

    The module is built anew for each model's initial values, drawing from that model's generator
    alone (torch's global state is neither read nor moved). One model runs by itself, several run
    under ``torch.vmap``. Parameters that need no gradient stay as they are built.
    """

    def __init__(
        self,
        factory: Callable[[int, int], nn.Module],
        n_features: int,
        n_outputs: int,
        n_models: int,
    ) -> None:
        super().__init__()
        self._build: Callable[[], nn.Module] = partial(_built, factory, n_features, n_outputs)
        with private_random(torch.Generator().manual_seed(0)):
            template = self._build()
        object.__setattr__(self, "_template", template)  # not a submodule: its values are not used
        self._names = [name for name, _ in template.named_parameters()]
        self._buffer_names = [name for name, _ in template.named_buffers()]
        for name, value in template.named_parameters():
            copies = nn.Parameter(_repeat(value, n_models), requires_grad=value.requires_grad)
            self.register_parameter(_flat(name), copies)
        for name, buffer in template.named_buffers():
            self.register_buffer(_flat(name), _repeat(buffer, n_models))
        self.generators: list[Generator] = []

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, F) to (M, B, H)."""
        template = cast(nn.Module, self._template)
        template.train(self.training)
        state = {name: getattr(self, _flat(name)) for name in self._names}
        if x.shape[0] > 1:

            def one(values: dict[str, Tensor], rows: Tensor) -> Any:
                return functional_call(template, values, (rows,))

            stacked: Tensor = vmap(one)(state, x)
            return stacked
        values = {name: value.squeeze(0) for name, value in state.items()}
        buffers = {name: getattr(self, _flat(name))[0] for name in self._buffer_names}
        used = {**values, **buffers}
        with private_random(self.generators[0] if self.generators else None):
            out: Tensor = functional_call(template, used, (x[0],))
        with torch.no_grad():
            for name, held in buffers.items():
                if used[name] is not held:  # the module has put another tensor in its place
                    held.copy_(used[name])
        return out.unsqueeze(0)

    @torch.no_grad()
    def reset(self, model: int, generator: Generator) -> None:
        """Build the module once more and keep its values."""
        with private_random(generator):
            fresh = self._build()
        for name, value in (*fresh.named_parameters(), *fresh.named_buffers()):
            getattr(self, _flat(name))[model].copy_(value)

    @torch.no_grad()
    def plain(self, model: int) -> nn.Module:
        """One model as the user's own module, in evaluation mode."""
        with private_random(torch.Generator().manual_seed(0)):
            module = self._build()
        reference = getattr(self, _flat(self._names[0])) if self._names else None
        if reference is not None:
            module.to(dtype=reference.dtype, device=reference.device)
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            value.copy_(getattr(self, _flat(name))[model])
        return module.eval()


def can_be_stacked(
    factory: Callable[[int, int], nn.Module], n_features: int, n_outputs: int
) -> bool:
    """Whether copies of a user's module can train as one stack; checks what it maps to what.

    Not where it keeps buffers, which it may change in place, or draws random numbers in its forward
    pass, which would have to come from each model's own generator.

    Raises
    ------
    TypeError
        ``factory`` is a module, or does not return one.
    ValueError
        The module does not map (n, n_features) to (n, n_outputs), or has nothing to train.
    """
    rows = torch.zeros(2, n_features)
    with private_random(torch.Generator().manual_seed(0)):
        module = _built(factory, n_features, n_outputs).to(rows.dtype)
        with torch.no_grad():
            out = module.eval()(rows)
    if not isinstance(out, Tensor) or out.shape != (2, n_outputs):
        seen = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ValueError(
            f"module must map rows of shape (n, {n_features}) to outputs of shape "
            f"(n, {n_outputs}); for 2 rows it gave {seen}."
        )
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError(
            f"module has nothing to train: none of the {len(list(module.parameters()))} parameters "
            f"of {type(module).__name__} needs a gradient. Leave some with requires_grad=True."
        )
    return next(module.buffers(), None) is None and not draws_random_numbers(module, rows)


def _built(factory: Callable[[int, int], nn.Module], n_features: int, n_outputs: int) -> nn.Module:
    if isinstance(factory, nn.Module):  # which is a callable too, on rows
        raise TypeError(
            "module must be a callable (n_features, n_outputs) -> torch.nn.Module, as each fit "
            f"builds its own; got one that is built already, {type(factory).__name__}. Give its "
            "class, or a function that builds it."
        )
    module: Any = factory(n_features, n_outputs)
    if not isinstance(module, nn.Module):
        raise TypeError(
            "module must be a callable (n_features, n_outputs) -> torch.nn.Module; it returned "
            f"{type(module).__name__}."
        )
    built: nn.Module = module
    if any(map(nn.parameter.is_lazy, (*built.parameters(), *built.buffers()))):
        with torch.no_grad():  # lazy layers learn their sizes from the first rows they see
            built.eval()(torch.zeros(2, n_features))
        built.train()
    return built


def _flat(name: str) -> str:
    return "user__" + name.replace(".", "__")


def _repeat(value: Tensor, n_models: int) -> Tensor:
    return value.detach().unsqueeze(0).repeat(n_models, *[1] * value.ndim)
