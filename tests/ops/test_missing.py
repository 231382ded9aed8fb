"""Operators of the schema that Octolite lacks are those that LiteRT has no kernel for."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
import tflite
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import octolite
from octolite.errors import UnsupportedError
from octolite.ops import REGISTRY
from octolite.tflite import schema

NO_OPERATORS = {"CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"}
MISSING = sorted(schema.OPERATOR_CODES.keys() - REGISTRY.keys() - NO_OPERATORS)


def model(code: int) -> bytes:
    """A graph of one operator that reads and computes nothing."""
    builder = flatbuffers.Builder(512)

    def table(name: str, **fields: int) -> int:
        getattr(tflite, f"{name}Start")(builder)
        for field, value in fields.items():
            getattr(tflite, f"{name}Add{field}")(builder, value)
        return int(getattr(tflite, f"{name}End")(builder))

    def tables(offset: int) -> int:
        builder.StartVector(4, 1, 4)
        builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    nothing = builder.CreateNumpyVector(np.zeros(0, np.int32))
    node = table("Operator", Inputs=nothing, Outputs=nothing)
    graph = tables(table("SubGraph", Inputs=nothing, Outputs=nothing, Operators=tables(node)))
    old = min(code, schema.LAST_DEPRECATED_CODE)
    codes = tables(table("OperatorCode", DeprecatedBuiltinCode=old, Version=1, BuiltinCode=code))
    buffers = tables(table("Buffer"))
    builder.Finish(
        table("Model", Version=3, OperatorCodes=codes, Subgraphs=graph, Buffers=buffers),
        schema.FILE_IDENTIFIER,
    )
    return bytes(builder.Output())


@pytest.mark.parametrize("name", MISSING)
def test_litert_lacks_it_too(name: str) -> None:
    content = model(schema.OPERATOR_CODES[name])
    for resolver in (OpResolverType.BUILTIN_REF, OpResolverType.BUILTIN):
        with pytest.raises(ValueError, match=f"Didn't find op for builtin opcode '{name}'"):
            Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    with pytest.raises(UnsupportedError, match=f"{name}: node 0"):
        octolite.Interpreter(model_content=content)


def test_the_schema_has_operators_that_are_missing() -> None:
    assert "CONCAT_EMBEDDINGS" in MISSING
    assert "STABLEHLO_ADD" not in MISSING
