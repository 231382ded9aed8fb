"""Embeddings: single tables, tables in shards, and rows added up by sparse ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

import octolite
from octolite.errors import InvalidGraphError, RuntimeModelError, UnsupportedError
from octolite.ir.types import INT8
from octolite.tflite import read
from tests.frontends.build import Type, const, graph, node, placeholder
from tests.recorded import relative_error, run, sqnr
from tests.recurrent import INDEX, Recording

ALL = [Recording(name) for name in INDEX if name.startswith("embedding")]
SHARDED = [r for r in ALL if "shards" in r.name or "partitioned" in r.name]
LOOKUPS = {"EMBEDDING_LOOKUP", "GATHER"}

by_name = pytest.mark.parametrize("recording", ALL, ids=lambda r: r.name)
in_shards = pytest.mark.parametrize("recording", SHARDED, ids=lambda r: r.name)


def convert(recording: Recording, quantize: str = "none") -> bytes:
    return octolite.convert(
        recording.path, quantize, output_arrays=recording.facts["outputs"], min_elements=256
    )


@by_name
@pytest.mark.parametrize("make", [octolite.Interpreter, LiteRT], ids=["octolite", "litert"])
def test_float_file_gives_what_tensorflow_gave(recording: Recording, make: Any) -> None:
    content = convert(recording)
    for feeds, expected in recording.runs():
        for found, wanted in zip(run(make, content, feeds), expected.values(), strict=True):
            assert found.shape == wanted.shape
            assert relative_error(found, wanted) < 1e-5


@by_name
def test_hybrid_file_is_as_near_as_in_litert(recording: Recording) -> None:
    content = convert(recording, "dynamic")
    for feeds, expected in recording.runs():
        ours, theirs = run(octolite.Interpreter, content, feeds), run(LiteRT, content, feeds)
        for mine, other, wanted in zip(ours, theirs, expected.values(), strict=True):
            assert sqnr(mine, wanted) > 35
            assert sqnr(mine, wanted) > sqnr(other, wanted) - 0.5


@by_name
def test_table_is_int8_and_looked_up_by_the_operator_for_it(recording: Recording) -> None:
    main = read(convert(recording, "dynamic")).main
    assert max((v for v in main.constants()), key=lambda v: v.data.size).dtype is INT8
    found, wanted = main.operators(), set(recording.facts["expect"])
    if wanted & LOOKUPS:
        assert len([n for n in main.nodes if n.op.name in LOOKUPS]) == 1
    else:
        assert wanted <= set(found)
    if recording in SHARDED:
        assert set(found) <= {"EMBEDDING_LOOKUP", "RESHAPE"}


OUTSIDE = [
    pytest.param(recording, bad, id=f"{recording.name}-{bad}")
    for recording in ALL
    for bad in (-1, 102, 2**31 - 1, 2**32 + 1)
    if recording.name != "embedding_one_hot"  # a product: zeros for such an id
    and not (recording.name == "embedding_sparse_safe" and bad < 0)  # left out
    and bad <= np.iinfo(recording.runs()[0][0]["ids"].dtype).max
]


@pytest.mark.parametrize("quantize", ["none", "dynamic"])
@pytest.mark.parametrize(("recording", "bad"), OUTSIDE)
def test_ids_outside_the_table_are_errors(recording: Recording, bad: int, quantize: str) -> None:
    feeds, _ = recording.runs()[0]
    feeds["ids"].reshape(-1)[-1] = bad
    with pytest.raises(RuntimeModelError, match="index"):
        run(octolite.Interpreter, convert(recording, quantize), feeds)


@in_shards
def test_every_row_of_the_shards_has_its_place(recording: Recording) -> None:
    """The table of the file, whole, against the shards read by TensorFlow's strategy."""
    table = max(read(convert(recording)).main.constants(), key=lambda v: v.data.size).data
    shards = [v for v in _constants(recording) if v.ndim == 2]
    count = sum(map(len, shards))
    if recording.facts["construct"].endswith("mod"):
        wanted = [shards[i % 3][i // 3] for i in range(count)]
    else:
        wanted = list(np.concatenate(shards))
    np.testing.assert_array_equal(table, wanted)


def _constants(recording: Recording) -> list[np.ndarray]:
    from octolite.frontends.graphdef.reader import read as read_graph
    from octolite.frontends.graphdef.tensors import array_of

    nodes = read_graph(recording.path).node
    return [array_of(n.attr["value"].tensor) for n in nodes if n.op == "Const"]


# -- sparse: other feeds than were recorded --------------------------------------------------------

SPARSE = [r for r in ALL if "sparse" in r.name]
TABLE = next(v for v in _constants(SPARSE[0]) if v.ndim == 2)


def feed(recording: Recording, rows: list[int], ids: list[int]) -> dict[str, np.ndarray]:
    given = {
        "indices": np.array([[row, k] for k, row in enumerate(rows)], np.int64).reshape(-1, 2),
        "ids": np.array(ids, np.int64),
        "weights": np.full(len(ids), 0.5, np.float32),
        "shape": np.array([6, 9], np.int64),
    }
    return {i["name"]: given[i["name"]] for i in recording.facts["inputs"]}


@pytest.mark.parametrize("recording", SPARSE, ids=lambda r: r.name)
def test_rows_that_nothing_is_added_to_are_zeros(recording: Recording) -> None:
    (out,) = run(octolite.Interpreter, convert(recording), feed(recording, [1, 4], [7, 9]))
    factor = 0.5 if recording.name.endswith("weighted_sum") else 1.0
    wanted = np.zeros((6 if "safe" in recording.name else 5, 16), np.float32)
    wanted[[1, 4]] = factor * TABLE[[7, 9]]
    np.testing.assert_allclose(out, wanted, rtol=1e-6)


@pytest.mark.parametrize("recording", SPARSE, ids=lambda r: r.name)
def test_no_ids_at_all(recording: Recording) -> None:
    (out,) = run(octolite.Interpreter, convert(recording), feed(recording, [], []))
    assert not out.any()
    assert len(out) == (6 if "safe" in recording.name else 0)


@pytest.mark.parametrize("name", ["mean", "sqrtn"])
def test_weights_that_add_up_to_zero_give_zero(name: str) -> None:
    """TensorFlow divides by them without NaN; TFLite's own mean would not."""
    recording = Recording(f"embedding_sparse_weighted_{name}")
    feeds = feed(recording, [0, 1], [3, 4]) | {"weights": np.array([0, 2], np.float32)}
    for make in (octolite.Interpreter, LiteRT):
        (out,) = run(make, convert(recording), feeds)
        np.testing.assert_allclose(out, [np.zeros(16), TABLE[4]], rtol=1e-6)


def test_rows_are_added_up_as_tensorflow_1_writes_it() -> None:
    """Looked up once for each distinct id, then added up by their numbers."""
    content = graph(
        placeholder("ids", -1, dtype="DT_INT64"),
        placeholder("rows", -1, dtype="DT_INT32"),
        const("table", TABLE),
        const("axis", 0, "int32"),
        node("unique", "Unique", "ids", out_idx=Type("DT_INT32")),
        node("found", "GatherV2", "table", "unique", "axis"),
        node("out", "SparseSegmentMean", "found", "unique:1", "rows"),
    )
    content = octolite.convert(content, "none")
    found = read(content).main.operators()
    assert found["EMBEDDING_LOOKUP_SPARSE"] == 1
    assert not {"UNIQUE", "GATHER"} & set(found)
    feeds = {"ids": np.array([5, 7, 5], np.int64), "rows": np.array([0, 0, 1], np.int32)}
    for make in (octolite.Interpreter, LiteRT):
        (out,) = run(make, content, feeds)
        np.testing.assert_allclose(out, [TABLE[[5, 7]].mean(axis=0), TABLE[5]], rtol=1e-6)


def test_rows_that_are_filled_in_without_being_masked_are_refused() -> None:
    content = graph(
        placeholder("indices", -1, 2, dtype="DT_INT64"),
        placeholder("ids", -1, dtype="DT_INT64"),
        const("shape", [4, 3], "int64"),
        const("zero", 0, "int64"),
        node("fill", "SparseFillEmptyRows", "indices", "ids", "shape", "zero"),
        node("out", "Identity", "fill:1"),
    )
    with pytest.raises(UnsupportedError, match="SparseFillEmptyRows"):
        octolite.convert(content, "none", output_arrays=["out"])


# -- what must not be taken for a lookup -----------------------------------------------------------


def sharded(shard: list[Any], row: list[Any], sizes: tuple[int, ...] = (3, 2)) -> bytes:
    """A lookup in shards; the nodes ``shard`` and ``row`` say where an id lies."""
    count = len(sizes)
    types = {"T": Type("DT_FLOAT")}
    nodes = [
        placeholder("ids", -1, dtype="DT_INT32"),
        const("zero", 0, "int32"), const("one", 1, "int32"), const("two", 2, "int32"),
        node("size", "Size", "ids", out_type=Type("DT_INT32")),
        node("range", "Range", "zero", "size", "one"),
        *shard, *row,
        node("rows", "DynamicPartition", "row", "shard", num_partitions=count),
        node("places", "DynamicPartition", "range", "shard", num_partitions=count),
    ]  # fmt: skip
    for k, size in enumerate(sizes):
        nodes.append(const(f"table{k}", np.arange(size * 4).reshape(size, 4) + 100 * k))
        nodes.append(node(f"found{k}", "GatherV2", f"table{k}", f"rows:{k}", "zero", **types))
    parts = [f"places:{k}" for k in range(count)] + [f"found{k}" for k in range(count)]
    return graph(*nodes, node("out", "DynamicStitch", *parts, N=count))


BY_TURNS = [node("shard", "FloorMod", "ids", "two")], [node("row", "FloorDiv", "ids", "two")]


def test_shards_in_turn_are_one_table() -> None:
    content = octolite.convert(sharded(*BY_TURNS), "none")
    assert read(content).main.operators() == {"EMBEDDING_LOOKUP": 1}
    (out,) = run(octolite.Interpreter, content, {"ids": np.array([4, 0, 3], np.int32)})
    np.testing.assert_array_equal(out[:, 0], [8, 0, 104])


@pytest.mark.parametrize(
    ("shard", "row", "sizes"),
    [
        (*BY_TURNS, (3, 5)),  # rows that no id up to 7 has, and one beyond that has one
        (  # an id has no shard
            [node("shard", "FloorDiv", "ids", "two")],
            [node("row", "FloorMod", "ids", "two")],
            (3, 2),
        ),
        (BY_TURNS[0], [node("row", "FloorMod", "ids", "two")], (3, 2)),  # ids that share a row
        (BY_TURNS[0], [node("row", "Sub", "zero", "ids")], (3, 2)),
        (BY_TURNS[0], [node("row", "FloorMod", "two", "two")], (3, 2)),
        ([node("shard", "Less", "ids", "two")], BY_TURNS[1], (3, 2)),
        (BY_TURNS[0], [placeholder("row", -1, dtype="DT_INT32")], (3, 2)),
    ],
)
def test_other_partitions_are_refused(
    shard: list[Any], row: list[Any], sizes: tuple[int, ...]
) -> None:
    with pytest.raises(UnsupportedError, match="DynamicPartition"):
        octolite.convert(sharded(shard, row, sizes), "none")


@pytest.mark.parametrize("number", [0.5, 1e30, np.inf, np.nan])
def test_rows_by_numbers_that_no_id_can_have_are_refused(number: float) -> None:
    row = [const("number", number), node("row", "Sub", "ids", "number")]
    with pytest.raises(InvalidGraphError, match="'number' is float32"):
        octolite.convert(sharded(BY_TURNS[0], row), "none")
