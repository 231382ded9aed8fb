"""Lookups on every instruction set against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octolite
from octolite.errors import KernelError, RuntimeModelError
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import INT32, Array
from octolite.kernels import isa, spec
from octolite.kernels.select import build
from octolite.ops.base import operator_class
from octolite.quantize import quantize
from octolite.runtime.executor import Executor
from octolite.tflite import write
from tests.kernels.conftest import around
from tests.kernels.guarded import Guarded


def look_up(
    row: isa.Isa,
    request: spec.Lookup,
    table: Array,
    ids: Array,
    executor: Executor,
    at_end: bool = True,
    **options: Any,
) -> Array:
    """Launch and run between forbidden pages."""
    layer = build(request, isa=row)
    launch = layer.launch(input_shape=ids.shape, table=table.shape, **options)
    kind = np.float32 if request.scaled else table.dtype
    buffers = [
        Guarded(ids.shape, ids.dtype, at_end),
        Guarded(table.shape, table.dtype, at_end),
        Guarded(launch.output_shape, kind, at_end),
    ]
    numbers, rows, out = buffers
    numbers.array[...], rows.array[...] = ids, table
    order = (rows, numbers) if request.table_first else (numbers, rows)
    faults = launch.faults()
    executor.run(launch.steps([b.address for b in order], out.address, 0, faults))
    for buffer in buffers:
        buffer.check()
    for check in launch.checks:
        check(faults)
    return out.array.copy()


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.float32, np.int64])
@pytest.mark.parametrize("index", [np.int16, np.int32, np.int64])
def test_rows_along_any_axis(
    row: isa.Isa, dtype: Any, index: Any, alone: Executor, random: np.random.Generator
) -> None:
    request = spec.Lookup(np.dtype(dtype).itemsize, np.dtype(index).itemsize, table_first=True)
    for at_end in (False, True):
        for axis, shape in ((0, (5, 37)), (1, (3, 5, 7)), (2, (2, 3, 5)), (0, (4,))):
            table = random.integers(-100, 100, shape).astype(dtype)
            ids = random.integers(0, shape[axis], (2, 3)).astype(index)
            out = look_up(row, request, table, ids, alone, at_end, axis=axis)
            np.testing.assert_array_equal(out, np.take(table, ids, axis))


@pytest.mark.parametrize(
    ("shape", "numbers", "axis", "batch"),
    [
        ((2, 5, 37), (2, 3), 1, 1),
        ((3, 4, 5, 7), (3, 2, 2), 2, 1),
        ((3, 2, 5), (3, 2, 4), 2, 2),
        ((3, 2, 5, 3), (3, 2), 2, 2),
        ((0, 5, 3), (0, 4), 1, 1),
        ((2, 5, 3), (2, 0), 1, 1),
    ],
)
def test_axes_that_tables_and_numbers_share(
    row: isa.Isa,
    shape: tuple[int, ...],
    numbers: tuple[int, ...],
    axis: int,
    batch: int,
    alone: Executor,
    random: np.random.Generator,
) -> None:
    request = spec.Lookup(4, 4, table_first=True)
    table = random.standard_normal(shape, np.float32)
    ids = random.integers(0, shape[axis], numbers).astype(np.int32)
    out = look_up(row, request, table, ids, alone, axis=axis, batch_dims=batch)
    items = np.ndindex(*shape[:batch])
    each = [np.take(table[item], ids[item], axis - batch) for item in items]
    np.testing.assert_array_equal(out.reshape(-1), np.array(each, np.float32).reshape(-1))


@pytest.mark.parametrize("per_row", [False, True])
def test_codes_become_real(
    row: isa.Isa, per_row: bool, alone: Executor, random: np.random.Generator
) -> None:
    request = spec.Lookup(1, 4, scaled=True)
    scale = random.uniform(0.5, 2, 11 if per_row else 1).astype(np.float32)
    for width in around(row.lanes):
        table = random.integers(-128, 128, (11, width)).astype(np.int8)
        ids = random.integers(0, 11, 5000).astype(np.int32)
        out = look_up(row, request, table, ids, alone, scale=scale)
        factor = (scale[ids] if per_row else scale)[:, None]
        np.testing.assert_array_equal(out, table[ids] * factor)


@pytest.mark.parametrize("wrong", [-1, 5, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_number_that_names_no_row_reads_nothing(
    row: isa.Isa, wrong: int, scaled: bool, alone: Executor
) -> None:
    request = spec.Lookup(1, 4, scaled)
    table = np.ones((5, 9), np.int8)
    ids = np.array([4, wrong, 0], np.int32)
    options = {"scale": np.ones(1, np.float32)} if scaled else {}
    with pytest.raises(RuntimeModelError, match=rf"index {wrong} is not in \[0, 5\)"):
        look_up(row, request, table, ids, alone, **options)


def test_no_numbers_and_no_rows(row: isa.Isa, alone: Executor) -> None:
    request = spec.Lookup(4, 4)
    some, none = np.ones((5, 3), np.float32), np.zeros((0, 3), np.float32)
    assert look_up(row, request, some, np.zeros(0, np.int32), alone).shape == (0, 3)
    with pytest.raises(RuntimeModelError, match=r"not in \[0, 0\)"):
        look_up(row, request, none, np.zeros(2, np.int32), alone)


def test_scales_must_fit_the_table() -> None:
    layer = build(spec.Lookup(1, 4, scaled=True))
    with pytest.raises(KernelError, match="4 scales for a table of 5 rows"):
        layer.launch(input_shape=(2,), table=(5, 3), scale=np.ones(4, np.float32))


@pytest.mark.parametrize("name", ["EMBEDDING_LOOKUP", "GATHER"])
@pytest.mark.parametrize("quantized", [False, True])
def test_an_interpreter_names_the_node_and_goes_on(name: str, quantized: bool) -> None:
    graph = Graph()
    ids = graph.add_input("ids", INT32, (3,))
    rows = np.random.default_rng(0).standard_normal((200, 16), np.float32)
    table = Value.constant("table", rows)
    inputs = [table, ids] if name == "GATHER" else [ids, table]
    graph.outputs = [graph.add(operator_class(name)(), inputs, "words").output]
    model = Model([graph])
    if quantized:
        quantize(model, "dynamic")
    interpreter = octolite.Interpreter(model_content=write(model))
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    for wrong in (-1, 200):
        interpreter.set_tensor(source, np.array([0, wrong, 7], np.int32))
        with pytest.raises(RuntimeModelError, match=rf"{name}.*index {wrong} is not in"):
            interpreter.invoke()
    interpreter.set_tensor(source, np.array([0, 199, 7], np.int32))
    interpreter.invoke()
    found = interpreter.get_tensor(target)
    np.testing.assert_allclose(found, rows[[0, 199, 7]], atol=0.02 * quantized)
