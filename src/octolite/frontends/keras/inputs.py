"""The inputs of a Keras model: what its input layers declare, and what the caller says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from octolite.errors import InvalidGraphError, UnsupportedError, UsageError, did_you_mean
from octolite.frontends.extents import refined
from octolite.frontends.keras.engine import Assembly, Layer, flat
from octolite.frontends.keras.network import Ref, Structure
from octolite.ir.graph import Value
from octolite.ir.types import (
    BOOL,
    FLOAT32,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    UINT8,
    DType,
    Shape,
)

DTYPES: Mapping[str, DType] = {
    "float16": FLOAT32, "bfloat16": FLOAT32, "float32": FLOAT32, "float64": FLOAT32,
    "int8": INT8, "uint8": UINT8, "int16": INT16, "int32": INT32, "int64": INT64,
    "bool": BOOL, "string": STRING,
}  # fmt: skip
"""Keras' dtype → that of the graph, which computes in float32."""


def dtype_of(layer: Layer, key: str = "dtype", default: str = "float32") -> DType:
    """The dtype that a configuration names, directly or by a policy."""
    found: Any = layer.get(key, default)
    if isinstance(found, Mapping):
        config = found.get("config")
        found = config.get("name") if isinstance(config, Mapping) else None
    if isinstance(found, str) and found.startswith("mixed_"):
        found = "float32"
    if not isinstance(found, str) or found not in DTYPES:
        raise UnsupportedError(f"{layer.class_name} of dtype {found!r}")
    return DTYPES[found]


def add_inputs(
    target: Assembly,
    structure: Structure,
    names: Sequence[str] | None,
    shapes: Mapping[str, Sequence[int | None]],
) -> dict[Ref, Value]:
    """The graph's inputs. Raises :class:`UsageError` for names and shapes that do not fit."""
    refs: dict[str, Ref] = {}
    for ref in flat(structure.inputs):
        if ref.layer not in structure.layers:
            raise InvalidGraphError(f"the model's input {ref.layer!r} is no layer of it")
        refs[ref.layer] = ref
    if isinstance(names, str):
        raise UsageError(f"input arrays are a list of names, not the text {names!r}")
    for name in (*(names or ()), *shapes):
        if name not in refs:
            hint = did_you_mean(name, refs)
            raise UsageError(f"the model has no input layer {name!r}. {hint}")
    if names is not None and len(set(names)) != len(refs):
        missing = next((r for r in refs if r not in names), names[0])
        raise UsageError(f"the input arrays are to be all input layers, once each: {missing!r}")
    known = {}
    for name in names if names is not None else refs:
        layer = structure.layers[name]
        if layer.class_name != "InputLayer":
            raise InvalidGraphError(f"the model's input {name!r} is a {layer.class_name}")
        known[refs[name]] = _input(target, layer, name, shapes.get(name))
    return known


def _input(target: Assembly, layer: Layer, name: str, given: Sequence[int | None] | None) -> Value:
    if layer.get("sparse") or layer.get("ragged"):
        raise UnsupportedError(f"input {name!r} takes sparse or ragged tensors")
    declared = layer.get("batch_shape", layer.get("batch_input_shape"))
    known = None if declared is None else _shape(layer, declared)
    if given is not None:
        known = refined(name, known, given)
    if known is None:
        raise UsageError(f"the shape of input {name!r} is unknown: give its input shape")
    return target.graph.add_input(target.unique(name), dtype_of(layer), known)


def _shape(layer: Layer, declared: Any) -> Shape:
    items = declared if isinstance(declared, list | tuple) else [declared]
    if not all(d is None or (type(d) is int and 0 <= d < 2**31) for d in items):
        raise InvalidGraphError(f"{layer!r} declares the shape {declared!r}")
    return tuple(items)
