"""Constants that are stored sparsely: read as LiteRT reads them, or refused when broken."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import octolite
from octolite.errors import FormatError, RuntimeModelError
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32
from octolite.ops import operator_class
from octolite.tflite import read, write
from tests.ops.litert import interpreter_of

DENSE, COMPRESSED = 0, 1


def sparse_array(*shape: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    array = rng.normal(size=shape).astype(np.float32)
    return array * (rng.random(shape) < 0.3)


def level(size: int = 0, segments: Any = None, indices: Any = None, kind: str = "Int32") -> Any:
    found = schema.DimensionMetadataT()
    found.format, found.denseSize = (DENSE, size) if segments is None else (COMPRESSED, size)
    if segments is not None:
        for part, values in (("arraySegments", segments), ("arrayIndices", indices)):
            vector = getattr(schema, f"{kind}VectorT")()
            vector.values = np.asarray(values, kind.lower())
            setattr(found, part, vector)
            setattr(found, f"{part}Type", getattr(schema.SparseIndexVector, f"{kind}Vector"))
    return found


def compressed(array: Any, kind: str = "Int32") -> tuple[Any, Any]:
    """A matrix by rows: its levels and its values."""
    ends = np.concatenate([[0], np.cumsum(np.count_nonzero(array, axis=1))])
    rows = level(len(array))
    return [rows, level(0, ends, np.nonzero(array)[1], kind)], array[array != 0]


def blocked(array: Any, size: tuple[int, int]) -> tuple[Any, Any]:
    """A matrix of blocks, those kept that are not zero throughout."""
    m, n = array.shape[0] // size[0], array.shape[1] // size[1]
    blocks = array.reshape(m, size[0], n, size[1]).transpose(0, 2, 1, 3)
    kept = np.any(blocks, axis=(2, 3))
    ends = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    levels = [level(m), level(0, ends, np.nonzero(kept)[1]), level(size[0]), level(size[1])]
    return levels, blocks[kept].reshape(-1)


def model(array: Any, levels: Any, values: Any, order: Any, blocks: Any = ()) -> bytes:
    """x + densify(array), the array stored sparsely."""
    main = Graph("main")
    x = main.add_input("x", FLOAT32, array.shape)
    w = Value.constant("w", np.asarray(array))
    dense = main.add(operator_class("DENSIFY")(), [w], "dense").output
    main.outputs = [main.add(operator_class("ADD")(), [x, dense], "y").output]
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(write(Model([main])), 0))
    (tensor,) = (t for t in tree.subgraphs[0].tensors if t.name == b"w")
    tensor.sparsity = schema.SparsityParametersT()
    tensor.sparsity.traversalOrder = list(order)
    tensor.sparsity.blockMap = list(blocks)
    tensor.sparsity.dimMetadata = levels
    tree.buffers[tensor.buffer].data = np.frombuffer(np.asarray(values).tobytes(), np.uint8)
    builder = flatbuffers.Builder(4096)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(interpreter: Any, x: Any) -> Any:
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def check(array: Any, content: bytes) -> None:
    x = np.ones(array.shape, np.float32)
    mine = run(octolite.Interpreter(model_content=content), x)
    np.testing.assert_array_equal(mine, x + array)
    np.testing.assert_array_equal(mine, run(interpreter_of(content, "DENSIFY"), x))


@pytest.mark.parametrize("kind", ["Int32", "Uint16", "Uint8"])
def test_compressed_rows_are_made_dense_as_in_litert(kind: str) -> None:
    array = sparse_array(6, 9)
    levels, values = compressed(array, kind)
    check(array, model(array, levels, values, (0, 1)))


def test_compressed_columns_are_made_dense_as_in_litert() -> None:
    array = sparse_array(5, 7)
    levels, values = compressed(array.T)
    check(array, model(array, levels, values, (1, 0)))


def test_blocks_are_made_dense_as_in_litert() -> None:
    array = sparse_array(8, 12, seed=1) * np.kron(np.eye(4, 3), np.ones((2, 4))).astype(np.float32)
    levels, values = blocked(array, (2, 4))
    check(array, model(array, levels, values, (0, 1, 2, 3), (0, 1)))


def test_nothing_but_zeros() -> None:
    array = np.zeros((3, 4), np.float32)
    levels, _ = compressed(array)
    levels[1] = level(0, [0, 0, 0, 1], [2])
    check(array, model(array, levels, np.zeros(1, np.float32), (0, 1)))


ARRAY = sparse_array(4, 6, seed=3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"order": (0, 0)}, "order"),
        ({"order": (0, 1, 2)}, "order"),
        ({"values": np.ones(3, np.float32)}, "bytes for"),
        ({"levels": [level(5), compressed(ARRAY)[0][1]]}, "dense level of 5"),
        ({"levels": [level(4), level(0, [0, 9, 1, 1, 2], [0, 1])]}, "segments"),
        ({"levels": [level(4), level(0, [0, 1, 2], [0, 1])]}, "segments"),
        ({"levels": [level(4), level(0, [0, 0, 0, 0, 2], [0, 6])]}, r"\[0, 6\)"),
        ({"levels": [level(4), level(0, [0, 0, 0, 0, 2], [-1, 0])]}, r"\[0, 6\)"),
        ({"levels": [level(4), level(6), level(5)], "order": (0, 1, 2), "blocks": (1,)}, "blocks"),
        ({"levels": [level(4), level(6), level(0)], "order": (0, 1, 2), "blocks": (7,)}, "blocks"),
        ({"levels": [level(4), level(6), level(1)], "order": (0, 2, 1), "blocks": (1,)}, "axis"),
    ],
)
def test_what_does_not_fit_is_refused(change: Any, says: str) -> None:
    levels, values = compressed(ARRAY)
    given = {"levels": levels, "values": values, "order": (0, 1), **change}
    with pytest.raises(FormatError, match=says) as error:
        read(model(ARRAY, **given))
    assert "'w'" in str(error.value)


def test_a_large_tensor_of_few_values_counts_as_what_it_is() -> None:
    array = np.zeros((200, 300), np.float32)
    levels, values = compressed(array)
    content = model(array, levels, values, (0, 1))
    with pytest.raises(RuntimeModelError, match="memory_limit"):
        read(content, memory_limit=100_000)
    assert read(content).main.nodes[0].inputs[0].shape == (200, 300)
