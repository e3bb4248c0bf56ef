"""The encoder as nodes: the columns of `TabularEncoder.transform`, in its order."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_dl.onnx.feeding import MISSING_TEXT, Column, columns_of, is_matrix
from sklearn_dl.onnx.graph import ML, Graph
from sklearn_dl.tabular import TabularEncoder
from sklearn_dl.tabular.columns import MISSING, UNSEEN
from sklearn_dl.tabular.writing import CLIP_LIMIT, LARGEST_NUMBER

__all__ = ["emit_encoder"]


def emit_encoder(graph: Graph, encoder: TabularEncoder, dtype: Any) -> str:
    """Declare the inputs and encode them.

    Returns
    -------
    str
        A value of shape (n_rows, n_encoded_) and the dtype of the network.
    """
    given = _declare(graph, encoder)
    codes = {
        position: _codes(graph, encoder, column, value)
        for position, (column, value) in given.items()
        if encoder.kinds_[position] in ("level", "rank")
    }
    parts, flags = _numbers(graph, encoder, given, codes, dtype)
    last = []
    for position in encoder.level_columns_:
        if position in encoder.coded_columns_:
            above = graph.add("Add", codes[position], graph.constant(1, np.int64))
            last.append(graph.cast(graph.add("Max", above, graph.constant(0, np.int64)), dtype))
        else:
            parts.append(_indicators(graph, encoder, position, codes[position], dtype))
        if position in encoder.flagged_level_columns_:
            missing = graph.add("Equal", codes[position], graph.constant([[MISSING]], np.int64))
            flags.append(graph.cast(missing, dtype))
    return graph.columns([*parts, *flags, *last])


def _declare(graph: Graph, encoder: TabularEncoder) -> dict[int, tuple[Column, str]]:
    columns = columns_of(encoder)
    if not is_matrix(encoder):
        return {
            c.position: (c, graph.input(c.name, object if c.text else np.float64, 1))
            for c in columns
        }
    whole = graph.input("X", np.float64, encoder.n_features_in_)
    return {
        c.position: (c, graph.add("Gather", whole, graph.constant([c.position], np.int64), axis=1))
        for c in columns
    }


def _codes(graph: Graph, encoder: TabularEncoder, column: Column, value: str) -> str:
    """Position of each value among the levels, MISSING or UNSEEN; (n_rows, 1)."""
    levels = encoder.levels_[column.position]
    other = len(levels) if column.position in encoder.rare_columns_ else UNSEEN
    if column.text:
        return graph.add(
            "LabelEncoder",
            value,
            domain=ML,
            keys_strings=[*map(str, levels), MISSING_TEXT],
            values_int64s=[*range(len(levels)), MISSING],
            default_int64=other,
        )
    # doubles are compared, not looked up: keys of a LabelEncoder are float32
    same = graph.add("Equal", value, graph.constant([[float(level) for level in levels]]))
    known = graph.add("ReduceMax", graph.cast(same, np.int64), graph.constant([1], np.int64))
    place = graph.add("ArgMax", graph.cast(same, np.float32), axis=1)
    found = graph.add("Where", graph.cast(known, np.bool_), place, graph.constant(other, np.int64))
    return graph.add("Where", graph.add("IsNaN", value), graph.constant(MISSING, np.int64), found)


def _numbers(
    graph: Graph,
    encoder: TabularEncoder,
    given: dict[int, tuple[Column, str]],
    codes: dict[int, str],
    dtype: Any,
) -> tuple[list[str], list[str]]:
    """Scaled numbers, and flags of the missing ones."""
    if not len(encoder.number_columns_):
        return [], []
    read = []
    for position in encoder.number_columns_.tolist():
        if position in codes:  # an ordered categorical is its rank, NaN where there is none
            rank = graph.cast(codes[position], np.float64)
            none = graph.add("Less", rank, graph.constant(0.0))
            read.append(graph.add("Where", none, graph.constant(np.nan), rank))
        else:
            read.append(given[position][1])
    numbers = graph.columns(read)
    if encoder.preprocessing is None:
        return [graph.cast(numbers, dtype)], []
    missing = graph.add("IsNaN", numbers)
    z = graph.add("Sub", numbers, graph.constant(encoder.center_[None]))
    z = graph.add("Mul", z, graph.constant(encoder.scale_[None]))
    z = graph.add("Where", missing, graph.constant(0.0), z)
    z = graph.add("Clip", z, graph.constant(-LARGEST_NUMBER), graph.constant(LARGEST_NUMBER))
    if encoder.preprocessing == "auto":
        third = graph.add("Mul", z, graph.constant(1 / CLIP_LIMIT))
        square = graph.add("Add", graph.add("Mul", third, third), graph.constant(1.0))
        z = graph.add("Div", z, graph.add("Sqrt", square))
    flags = []
    if len(encoder.flagged_numbers_):
        index = graph.constant(encoder.flagged_numbers_, np.int64)
        flags.append(graph.cast(graph.add("Gather", missing, index, axis=1), dtype))
    return [graph.cast(z, dtype)], flags


def _indicators(graph: Graph, encoder: TabularEncoder, position: int, code: str, dtype: Any) -> str:
    n_levels = len(encoder.levels_[position]) + (position in encoder.rare_columns_)
    same = graph.add("Equal", code, graph.constant([list(range(n_levels))], np.int64))
    if n_levels > 2:
        return graph.cast(same, dtype)
    # -1 and 1 in one column for two levels, 0 for one
    weights = np.array([[-1.0], [1.0]] if n_levels == 2 else [[0.0]])
    return graph.add("MatMul", graph.cast(same, dtype), graph.constant(weights, dtype))
