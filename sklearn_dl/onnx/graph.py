"""A graph in the making: nodes and constants with names of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise ImportError('export_onnx needs onnx: pip install "sklearn-dl[onnx]".') from error

__all__ = ["OPSET", "Graph", "element_type"]

#: Of 2023; runtimes have it.
OPSET, ML_OPSET, IR_VERSION = 20, 3, 10
ML = "ai.onnx.ml"

_TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.bool_): TensorProto.BOOL,
    np.dtype(object): TensorProto.STRING,
}


def element_type(dtype: Any) -> int:
    """ONNX's number of a numpy dtype; object stands for text."""
    return int(_TYPES[np.dtype(dtype)])


class Graph:
    """Collects what `model` assembles; `add` and `constant` return the name of a value."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._count = 0
        #: Height and width of the feature maps, behind the last layer that was appended.
        self.sides: list[int] = []

    def _name(self, stem: str) -> str:
        """A new name; inputs, which are named by the user, are declared before all else."""
        taken = {value.name for value in self._inputs}
        self._count += 1
        while f"{stem}_{self._count}" in taken:
            self._count += 1
        return f"{stem}_{self._count}"

    def input(self, name: str, dtype: Any, *sizes: int) -> str:
        """Declare an input of shape (n_rows, *sizes)."""
        shape: list[str | int | None] = ["n_rows", *sizes]
        self._inputs.append(helper.make_tensor_value_info(name, element_type(dtype), shape))
        return name

    def constant(self, values: Any, dtype: Any = None) -> str:
        """Store an array."""
        array = np.asarray(values, dtype=dtype)
        name = self._name("constant")
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Append a node with one output."""
        output = self._name(op.lower())
        self._nodes.append(
            helper.make_node(op, list(inputs), [output], domain=domain, **attributes)
        )
        return output

    def cast(self, value: str, dtype: Any) -> str:
        """Convert to a dtype."""
        return self.add("Cast", value, to=element_type(dtype))

    def columns(self, parts: list[str]) -> str:
        """Matrices side by side."""
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=1)

    def model(
        self, outputs: dict[str, tuple[str, Any, list[Any]]], about: dict[str, str]
    ) -> onnx.ModelProto:
        """The checked model.

        Parameters
        ----------
        outputs : dict of str to (value, dtype, shape)
        about : dict
            Metadata.

        Raises
        ------
        ValueError
            An input has the name of an output.
        """
        both = [value.name for value in self._inputs if value.name in outputs]
        if both:
            raise ValueError(
                f"column {both[0]!r} has the name of an output of the graph. Name it otherwise "
                "before fit."
            )
        ends = [
            helper.make_node("Identity", [value], [name]) for name, (value, _, _) in outputs.items()
        ]
        declared = [
            helper.make_tensor_value_info(name, element_type(dtype), shape)
            for name, (_, dtype, shape) in outputs.items()
        ]
        graph = helper.make_graph(
            [*self._nodes, *ends], "sklearn_dl", self._inputs, declared, self._constants
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)]
        model = helper.make_model(
            graph, producer_name="sklearn_dl", opset_imports=opsets, ir_version=IR_VERSION
        )
        helper.set_model_props(model, about)
        onnx.checker.check_model(model, full_check=True)
        return model


def array_of(values: NDArray[Any]) -> NDArray[Any]:
    """Text as objects, whole numbers as int64, as ONNX holds them.

    Raises
    ------
    ValueError
        The values are neither text nor numbers, or too large.
    """
    if values.dtype.kind == "O" and not all(isinstance(value, str) for value in values):
        kinds = sorted({type(value).__name__ for value in values})
        raise ValueError(f"ONNX holds labels that are text or numbers, got {', '.join(kinds)}.")
    kind = values.dtype.kind
    if kind == "u" and values.max() > np.iinfo(np.int64).max:
        raise ValueError(f"ONNX holds labels up to 2**63 - 1, got {values.max()}.")
    if kind not in "OUSiufb":
        raise ValueError(f"ONNX holds labels that are text or numbers, got {values.dtype}.")
    wanted: dict[str, Any] = {"U": object, "S": object, "i": np.int64, "u": np.int64}
    if values.dtype == np.float16:
        return values.astype(np.float32)
    return values.astype(wanted.get(kind, values.dtype))
