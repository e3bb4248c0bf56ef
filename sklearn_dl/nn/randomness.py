"""Where a user's module gets random numbers: from the fit's generator, not torch's global one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["draws_random_numbers", "private_random"]


class _PrivateRandom(TorchDispatchMode):
    """Feeds every random operation from one generator; thread-local, as dispatch modes are."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator = generator
        self.used = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        self.used = True
        if kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        if any(argument.name == "generator" for argument in func._schema.arguments):
            return func(*args, **{**kwargs, "generator": self.generator})
        return self._without_generator(func, args, kwargs)

    def _without_generator(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        packet = func.overloadpacket
        wanted = (
            "generator" if func._overloadname == "default" else f"{func._overloadname}_generator"
        )
        if wanted in packet.overloads():
            return getattr(packet, wanted)(*args, **{**kwargs, "generator": self.generator})
        # an operation that takes no generator: lend it the global state for one call
        state = torch.get_rng_state()
        try:
            seed = torch.randint(2**62, (), generator=self.generator)
            torch.default_generator.manual_seed(int(seed))
            return func(*args, **kwargs)
        finally:
            torch.set_rng_state(state)


@contextmanager
def private_random(generator: Generator | None) -> Iterator[_PrivateRandom | None]:
    """Feed the random operations of this thread from ``generator``; None: change nothing."""
    if generator is None:
        yield None
        return
    with _PrivateRandom(generator) as mode:
        yield mode


def draws_random_numbers(module: torch.nn.Module, x: torch.Tensor) -> bool:
    """Whether a forward pass in training mode draws random numbers (dropout and the like)."""
    was_training = module.training
    module.train()
    try:
        with torch.no_grad(), _PrivateRandom(torch.Generator().manual_seed(0)) as mode:
            module(x)
    finally:
        module.train(was_training)
    used: bool = mode.used
    return used
