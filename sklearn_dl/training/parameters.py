"""All parameters of a stack of models as one matrix, a row a model.

What concerns whole models (optimizer steps, clipping, snapshots, freezing) is then one operation on
rows, whatever the network; the layers see their parameters as views of the matrix. What is not
trained, buffers and parameters that need no gradient, stands beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sklearn_dl.nn import Stacked
from sklearn_dl.nn.piecewise import StackedPiecewise
from sklearn_dl.training.job import ModelState

__all__ = ["ParameterMatrix"]

#: Parameters start at multiples of this many numbers (64 bytes of float32), as vector units like
#: it.
ALIGNMENT = 16


class ParameterMatrix:
    """The parameters (and buffers) of a stack.

    Attributes
    ----------
    values, gradient : Tensor of shape (n_models, n)
        Of the parameters that are trained. The gaps between aligned parameters hold zeros, and
        keep them.
    """

    def __init__(self, network: Stacked, device: torch.device, dtype: torch.dtype) -> None:
        self._parameters: list[tuple[str, nn.Parameter, int, torch.Size]] = []
        offset, n_models = 0, 0
        for name, parameter in network.named_parameters():
            n_models = parameter.shape[0]
            if not parameter.requires_grad:
                continue
            self._parameters.append((name, parameter, offset, parameter.shape[1:]))
            offset += -(-parameter[0].numel() // ALIGNMENT) * ALIGNMENT
        self.values = torch.zeros(n_models, offset, device=device, dtype=dtype)
        self.gradient = torch.zeros_like(self.values)
        self._buffers: list[tuple[str, nn.Module, str, Tensor]] = []
        for prefix, module in network.named_modules():
            frozen = {k: v for k, v in module._parameters.items() if v is not None}
            frozen = {k: v for k, v in frozen.items() if not v.requires_grad}
            for key, held in (*module._buffers.items(), *frozen.items()):
                assert held is not None
                full = held.detach().to(device, dtype if held.is_floating_point() else None)
                name = f"{prefix}.{key}" if prefix else key
                self._buffers.append((name, module, key, full))
        self.bind(n_models)

    def bind(self, n_models: int) -> None:
        """Let the network see the first ``n_models`` rows only."""
        self._leaves: list[Tensor] = []
        self._gradients: list[Tensor] = []
        for _, parameter, offset, shape in self._parameters:
            stop = offset + shape.numel()
            parameter.grad = None
            parameter.data = self.values[:n_models, offset:stop].view(n_models, *shape)
            parameter.grad = self.gradient[:n_models, offset:stop].view(n_models, *shape)
            self._leaves.append(parameter)
            self._gradients.append(parameter.grad)
        for _, module, key, full in self._buffers:
            frozen = module._parameters.get(key)
            if frozen is None:
                module._buffers[key] = full[:n_models]
            else:
                frozen.data = full[:n_models]

    def backward(self, loss: Tensor) -> None:
        """Write the gradient of ``loss`` to the rows that the network sees."""
        # copied, not accumulated: saves a pass of zeroing
        drawn = torch.autograd.grad(loss, self._leaves, materialize_grads=True)
        torch._foreach_copy_(self._gradients, drawn)

    @property
    def has_averages(self) -> bool:
        """Whether the network keeps numbers that training moves without a gradient."""
        return any(
            key in module._buffers and not isinstance(module, StackedPiecewise)
            for _, module, key, _ in self._buffers
        )

    def tensors(self) -> list[nn.Parameter]:
        """The layers' own views, one a parameter."""
        return [parameter for _, parameter, _, _ in self._parameters]

    def snapshot(self) -> tuple[Tensor, list[Tensor]]:
        """A copy of all rows, for ``row``."""
        return self.values.clone(), [full.clone() for *_, full in self._buffers]

    def row(self, model: int, of: tuple[Tensor, list[Tensor]] | None = None) -> ModelState:
        """One model's numbers by name, copied, of a snapshot or as they are now."""
        values, buffers = of or (self.values, [full for *_, full in self._buffers])
        state = {
            name: values[model, offset : offset + shape.numel()].view(shape).clone()
            for name, _, offset, shape in self._parameters
        }
        for (name, *_), full in zip(self._buffers, buffers, strict=True):
            state[name] = full[model].clone()
        return ModelState(state)

    @torch.no_grad()
    def load_all(self, snapshot: tuple[Tensor, list[Tensor]]) -> None:
        """Set the numbers of all models."""
        self.values.copy_(snapshot[0])
        for (*_, full), value in zip(self._buffers, snapshot[1], strict=True):
            full.copy_(value)

    @torch.no_grad()
    def load(self, model: int, state: ModelState) -> None:
        """Set one model's numbers."""
        for name, _, offset, shape in self._parameters:
            row = self.values[model, offset : offset + shape.numel()]
            row.view(shape).copy_(state.values[name])
        for name, _, _, full in self._buffers:
            full[model].copy_(state.values[name])
