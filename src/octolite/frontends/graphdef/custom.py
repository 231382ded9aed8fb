"""TensorFlow operators that nobody here knows, kept as custom operators of the same name.

Attributes become options as TensorFlow's converter stores them: types by TFLite's numbers, lists
of numbers or strings as lists; shapes, tensors and functions are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from octolite.errors import OctoliteError
from octolite.frontends.graphdef.nodes import Attributes
from octolite.frontends.graphdef.tensors import shape_of, tf_type
from octolite.ir.types import FLOAT32, DType, Shape, TensorType
from octolite.ops.custom import KeptOperator, kept_operator

TYPES = "_output_types", "Tout", "output_types", "T", "dtype", "out_type"
"""Attributes that tell the types of the results, the first of them that there is."""

NUMBERED = "i", "f", "b", "s", "type"


def kept(node: Attributes, results: int) -> KeptOperator:
    """The operator that stands for ``node``, of which ``results`` results are read."""
    types = _types(node, results)
    shapes = _shapes(node, len(types))
    declared = tuple(map(TensorType, types, shapes))
    return kept_operator(node.op_type)(options_given=options(node.attr), declared=declared)


def options(attributes: Any) -> dict[str, Any]:
    """A node's attributes by name, as far as options can hold them."""
    found = {name: _value(attributes[name]) for name in sorted(attributes)}
    return {n: v for n, v in found.items() if v is not None and not n.startswith("_")}


def _value(attribute: Any) -> Any:
    """A number, a string or a list of them; ``None`` for anything else."""
    kind = attribute.WhichOneof("value")
    if kind == "list":
        lists = (getattr(attribute.list, name) for name in ("s", "i", "f"))
        return next(([_text(v) for v in items] for items in lists if items), None)
    if kind == "type":
        try:
            return tf_type(attribute.type).dtype.code
        except OctoliteError:
            return None
    return _text(getattr(attribute, kind)) if kind in NUMBERED else None


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _types(node: Attributes, results: int) -> list[DType]:
    """The type of each result: as an attribute lists them, or the one that an attribute names."""
    for name in TYPES:
        found = node.attr[name] if node.has(name) else None
        if found is not None and found.WhichOneof("value") == "list" and found.list.type:
            return [tf_type(t).dtype for t in found.list.type]
        if found is not None and found.WhichOneof("value") == "type":
            return [tf_type(found.type).dtype] * results
    return [FLOAT32] * results


def _shapes(node: Attributes, results: int) -> Sequence[Shape | None]:
    listed = node.attr["_output_shapes"].list.shape if node.has("_output_shapes") else ()
    return [shape_of(listed[i]) if i < len(listed) else None for i in range(results)]
