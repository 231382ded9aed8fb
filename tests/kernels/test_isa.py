"""The rows of the instruction sets: what their tiles mean, and the code that comes of them."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import pkgutil
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from octolite import kernels
from octolite.errors import KernelError
from octolite.ir.fixed_point import OutputStage
from octolite.ir.types import BOOL, INT8, INT16, UINT8, Array
from octolite.kernels import (
    cell,
    coded_softmax,
    copy,
    depthwise,
    dot,
    extremum,
    integer_cell,
    interleaved,
    isa,
    jit,
    lookup,
    maps,
    microscaled,
    normalize,
    pack,
    peak,
    pool,
    prepare,
    quantized,
    reduce,
    requantize,
    resize,
    softmax,
    sparse,
    spec,
    strassen,
    svdf,
    table,
    walk,
    winograd,
)
from octolite.kernels.expression import FUNCTIONS, Expression, apply
from octolite.kernels.simd import F64, I32, I64, PTR, Builder, vec
from octolite.runtime.executor import Executor
from tests.kernels.assembly import JUMP, count, function, hot_loop, is_use, spilled, uses
from tests.kernels.conftest import RUNNABLE, around, call
from tests.kernels.guarded import Guarded

X86 = "x86_64-unknown-linux-gnu"
ARM = "aarch64-unknown-linux-gnu"


def mapped() -> list[tuple[Expression, list[maps.Access]]]:
    """Every function of elements, of one of the types that it takes."""
    found = []
    for name, known in FUNCTIONS.items():
        for dtype in known.types[:1] if known.operands else ():
            expression = apply(name, [BOOL if x == "b" else dtype for x in known.operands])
            assert expression is not None
            pattern = [maps.ELEMENT, maps.ROW, maps.ELEMENT]
            accesses = [maps.Access(varies, listed=varies == maps.ROW) for varies in pattern]
            found.append((expression, accesses[: len(known.operands)]))
    return found


# How sums of codes of these types become codes.
CODES = INT8, UINT8, INT16
ENDINGS = [
    requantize.Ending(OutputStage.FIXED, 1, large=True),
    requantize.Ending(OutputStage.REAL, 1, large=False),
    requantize.Ending(OutputStage.WIDE, 2, large=False),
]
# What makes the units that take no tile, and arguments for it.
PLAIN: dict[Callable[..., jit.Unit], list[tuple[Any, ...]]] = {
    extremum.unit: [(spec.ArgExtremum("max", 4),)],
    depthwise.unit: [
        (False, False, 3, 2, 1),
        (True, False, 3, 2, 1),
        *(
            (True, False, 3, 2, 1, depthwise.Codes(*given))
            for given in zip(CODES, ENDINGS, strict=True)
        ),
    ],
    prepare.float_unit: [()],
    prepare.repeat_unit: [(size,) for size in (1, 2, 4)],
    maps.unit: mapped(),
    pool.unit: [
        (pool.real_form("max", False),),
        (pool.largest_code_form(UINT8),),
        (pool.mean_code_form(INT16, F64),),
    ],
    quantized.image_unit: [(INT8, 1), (INT8, 2), (UINT8, 2), (INT16, 2)],
    coded_softmax.unit: [(UINT8,)],
    softmax.unit: [(False,), (True,)],
    normalize.unit: [(False,)],
    reduce.unit: [
        (reduce.real_form("mean"), 3),
        (reduce.real_form("max"), 0),
        (reduce.extremum_form("min", UINT8), 3),
        (reduce.total_form(INT16, first=True, last=False), 3),
        (reduce.total_form(UINT8, first=False, last=True), 0),
    ],
    resize.unit: [(kind, dtype) for kind, dtypes in resize.TYPES.items() for dtype in dtypes],
    copy.unit: [(size,) for size in (1, 2, 4, 8)],
    lookup.unit: [(spec.Lookup(4, 8),), (spec.Lookup(1, 4, scaled=True),)],
    peak.stream_unit: [()],
    sparse.unit: [("mean",)],
    svdf.unit: [(True,)],
    table.unit: [(1, 1), (2, 4)],
    walk.unit: [()],
}
# What makes those that do: units() says with which tiles.
TILED = (
    dot.unit,
    interleaved.unit,
    cell.unit,
    integer_cell.unit,
    winograd.unit,
    strassen.unit,
    prepare.unit,
    peak.tile_unit,
    microscaled.balance_unit,
)


def _tiles(row: isa.Isa) -> dict[str, isa.Tile]:
    kinds = ("dot", "real", "dense", "lean", "crossed", "words")
    return {kind: tile for kind in kinds if (tile := getattr(row, kind)) is not None}


def tiles_of(rows: Sequence[isa.Isa]) -> list[Any]:
    """Every tile of every row, as parameters."""
    return [
        pytest.param(row, kind, id=f"{row.name}-{kind}") for row in rows for kind in _tiles(row)
    ]


def units(row: isa.Isa) -> Iterable[jit.Unit]:
    """Every kind of code, once."""
    tiles = _tiles(row)
    found = [maker(*given) for maker, cases in PLAIN.items() for given in cases]
    found += [dot.unit(tile, False) for tile in tiles.values()]
    found += [dot.unit(row.dot, True), dot.unit(row.real, True)]
    found += [dot.unit(tile, False, residual=True) for tile in tiles.values()]
    found += [dot.unit(tile, False, centred=True) for tile in tiles.values() if tile.centred]
    found += [peak.tile_unit(tile) for tile in tiles.values()]
    states = [tile for kind, tile in tiles.items() if kind in ("dot", "real", "lean")]
    gated = (cell.Variant(4, True, True, True, True, normalized) for normalized in (False, True))
    plain = cell.Variant(1, False, False, False, False, False)
    found += [cell.unit(tile, variant) for variant in (*gated, plain) for tile in states]
    if row.words is not None:
        whole = integer_cell.Variant(4, True, True)
        found.append(integer_cell.unit(row.words, cell.gate_tile(row.words, 4, 1), whole))
    found += [winograd.unit(row.real, form, False) for form in (winograd.REAL2, winograd.REAL4)]
    if row.words is not None:
        found += [winograd.unit(row.words, form, False) for form in (winograd.INT2, winograd.INT4)]
    if (tile := strassen.tile_of(row)) is not None:
        found.append(strassen.unit(tile, False, True))
    coded = [tile for tile in tiles.values() if tile.sum == I32]
    if (tile := row.microscaled) is not None:
        found += [peak.tile_unit(tile), microscaled.balance_unit(tile)]
        coded.append(tile)
    found += [dot.unit(tile, False, centred=True) for tile in coded if tile.centred]
    step = interleaved.step_for(row)
    if step is not None:
        form = interleaved.Form((3, 3), 1, 1, step.pixels)
        found += [interleaved.unit(step, form, ending) for ending in ENDINGS[:1]]
    for dtype, ending in itertools.product(CODES, ENDINGS):
        chosen = quantized.tile_for(dtype, row)
        for tile in (row.dot, row.dense or row.dot) if chosen is None else (chosen,):
            found.append(dot.unit(tile, False, tile.centred, ending=ending))
    found += [prepare.unit(tile, asymmetric) for tile in coded for asymmetric in (True, False)]
    return {unit.key: unit for unit in found}.values()


def test_no_unit_is_forgotten() -> None:
    """Whatever makes a unit stands in one of the lists above."""
    makers = set()
    for module in pkgutil.iter_modules(kernels.__path__, f"{kernels.__name__}."):
        for name, found in vars(importlib.import_module(module.name)).items():
            public = name == "unit" or (name.endswith("_unit") and not name.startswith("_"))
            if public and callable(found) and found.__module__ == module.name:
                makers.add(f"{module.name}.{name}")
    assert makers == {f"{maker.__module__}.{maker.__name__}" for maker in (*PLAIN, *TILED)}


def one_step(tile: isa.Tile) -> jit.Unit:
    """One use of the tile on memory, added to what is there unless the tile starts from its own
    zero."""

    def emit(module: Any, row: isa.Isa) -> None:
        k = Builder(module, "step", (PTR, I64))
        acc, a, b = (k.load(PTR, k.args[0] + 8 * i) for i in range(3))
        total = tile.zero(k) if tile.zero else k.load(vec(tile.sum, tile.lanes), acc)
        rows = [a + tile.depth * tile.code.itemsize * r for r in range(tile.rows)]
        total = tile.emit(k, total, tile.load_a(k, rows, k.const(I64, 0)), tile.load_b(k, b))
        for r, sums in enumerate(tile.split(total)):
            k.store(sums, acc + 4 * tile.lanes * r)
        k.ret()

    return jit.Unit(f"a step of {tile.name} {tile.lanes}", ("step",), emit)


def operands(tile: isa.Tile, random: np.random.Generator) -> tuple[Array, Array, Array]:
    """An accumulator, rows and weights in the tile's order: extremes where they are integers."""
    shapes = (tile.rows, tile.lanes), (tile.rows, tile.depth), tile.order
    if tile.sum != I32:
        acc, a, b = (random.standard_normal(shape, np.float32) for shape in shapes)
        return acc, a, b
    acc = random.integers(-(2**31) + 2**21, 2**31 - 2**21, shapes[0]).astype(np.int32)
    codes = random.choice([-128, -127, -1, 0, 1, 126, 127], shapes[1])
    weights = random.choice([-127, -1, 0, 1, 127], shapes[2])
    if tile.zero is not None:
        acc[...] = 0
    return acc, (codes + tile.offset).astype(tile.code), weights.astype(tile.weight)


@pytest.mark.parametrize(("row", "kind"), tiles_of(RUNNABLE))
def test_tiles_do_what_their_model_says(
    row: isa.Isa, kind: str, alone: Executor, random: np.random.Generator
) -> None:
    tile = _tiles(row)[kind]
    for _ in range(200):
        given = operands(tile, random)
        expected = tile.model(*given)
        buffers = [Guarded(values.shape, values.dtype) for values in given]
        for buffer, values in zip(buffers, given, strict=True):
            buffer.array[...] = values
        call(one_step(tile), row, alone, *buffers)
        found = buffers[0].array
        np.testing.assert_allclose(found, expected, rtol=1e-6 if kind == "real" else 0, atol=1e-6)


def test_the_model_of_tdpbssd_is_that_of_the_manual(random: np.random.Generator) -> None:
    """Intel's description, byte by byte: ``srcdest.row[m].dword[n] += src1.row[m].byte[4k + i] *
    src2.row[k].byte[4n + i]``."""
    tile = isa.by_name("amx").dense
    assert tile is not None
    acc, a, b = operands(tile, random)
    srcdest, src1, src2 = acc.astype(np.int64), a.astype(np.int64), b.reshape(16, 64).astype(int)
    for m, n, k, i in itertools.product(range(16), range(16), range(16), range(4)):
        srcdest[m, n] += src1[m, 4 * k + i] * src2[k, 4 * n + i]
    np.testing.assert_array_equal(tile.model(acc, a, b), srcdest)


@pytest.mark.parametrize(("row", "kind"), tiles_of(isa.ROWS))
@pytest.mark.parametrize("again", [False, True])
def test_panels_times_the_model_are_the_product(
    row: isa.Isa, kind: str, again: bool, random: np.random.Generator
) -> None:
    """What is packed, read step by step as the tile's model does: on any machine."""
    tile = _tiles(row)[kind]
    if again and tile is row.real:
        pytest.skip("float weights are packed once")
    width, height = tile.width, tile.rows
    for channels, depth in itertools.product((1, width - 1, width + 1), around(tile.depth)):
        taps = 2
        a = random.integers(-128, 128, (height, taps, depth))
        w = random.integers(-127, 128, (channels, taps, depth)).astype(tile.weight)
        packed = pack.panels(row.dot if again else tile, w, 1, None, None).data
        if again:
            packed = pack.again(packed, row.dot, tile)
        count, _, steps, vectors = packed.shape[:4]
        codes = np.zeros((height, taps, steps * tile.depth), np.int64)
        codes[..., :depth] = a
        sums = np.zeros((count, vectors, height, tile.lanes), np.int64)
        for panel, tap, step, v in np.ndindex(count, taps, steps, vectors):
            read = codes[:, tap, step * tile.depth : (step + 1) * tile.depth]
            sums[panel, v] = tile.model(sums[panel, v], read, packed[panel, tap, step, v])
        found = sums.transpose(2, 0, 1, 3).reshape(height, -1)
        expected = a.reshape(height, -1) @ w.reshape(channels, -1).astype(np.int64).T
        np.testing.assert_array_equal(found[:, :channels], expected)
        assert not found[:, channels:].any()


@pytest.mark.parametrize("row_", isa.ROWS, ids=lambda row: row.name)
def test_every_row_compiles_anywhere(row_: isa.Isa) -> None:
    for triple in (f"{row_.arch}-unknown-linux-gnu",) if row_.arch else (X86, ARM):
        for unit in units(row_):
            text = jit.assembly(unit, row_, triple)
            assert all(f"{name}:" in text for name in unit.exports)


def test_rows_know_their_target() -> None:
    assert jit.llvm.get_default_triple() == isa.GENERIC.triple
    targets = {row.triple.split("-")[0] for row in isa.ROWS}
    assert {"x86_64", "aarch64"} <= {target.replace("arm64", "aarch64") for target in targets}


@pytest.mark.parametrize(("row_", "kind"), tiles_of(isa.ROWS[1:]))
def test_sums_stay_in_registers(row_: isa.Isa, kind: str) -> None:
    tile = _tiles(row_)[kind]
    text = jit.assembly(dot.unit(tile, False), row_, f"{row_.arch}-unknown-linux-gnu")
    block = f"block{tile.heights[-1]}"
    if tile.mnemonic == "tdpbssd":  # its loop branches where rows are not evenly apart
        assert count(function(text, block).splitlines(), tile.mnemonic) == uses(tile)
        return
    loop = hot_loop(text, block, tile.mnemonic)
    assert count(loop, tile.mnemonic) == uses(tile)
    assert not spilled(loop), "something is spilled in the inner loop"
    register = {("x86_64", 8): "ymm", ("x86_64", 16): "zmm", ("aarch64", 4): "v"}
    assert all(
        register[row_.arch, tile.lanes] in line for line in loop if is_use(line, tile.mnemonic)
    )


def test_tiles_are_configured_and_kept_in_registers() -> None:
    """What moves between tile registers and memory within the loop are operands: four registers
    hold sums, and each is stored once, behind the loop."""
    row_ = isa.by_name("amx")
    tile = row_.dense
    assert tile is not None
    text = function(jit.assembly(dot.unit(tile, False), row_, X86), "block32")
    before, *inside, _ = re.split(r"\n\ttdpbssd\t.*", text)
    assert "ldtilecfg" in before
    assert len(inside) == uses(tile) - 1
    assert not any("tilestored" in part for part in inside)
    assert sum(part.count("tileloadd") for part in inside) <= 4
    sums = set(re.findall(r"\ttdpbssd\t.*(%tmm\d)$", text, re.MULTILINE))
    assert len(sums) == uses(tile)
    assert re.search(r"\n\ttilerelease\n(?!.*tmm)", text, re.DOTALL)


@pytest.mark.parametrize("row_", [r for r in isa.ROWS[1:] if r.words], ids=lambda r: r.name)
def test_winograd_sums_stay_in_registers(row_: isa.Isa) -> None:
    tile = row_.words
    assert tile is not None
    text = jit.assembly(winograd.unit(tile, winograd.INT2, False), row_, X86)
    loop = hot_loop(text, f"block{tile.heights[-1]}", tile.mnemonic)
    assert count(loop, tile.mnemonic) == uses(tile)
    assert not spilled(loop), "something is spilled in the inner loop"


def test_strassens_sums_stay_in_registers() -> None:
    """In each of the seven products, though other sums wait for them meanwhile."""
    row_ = isa.by_name("avx2")
    tile = strassen.tile_of(row_)
    assert tile is not None
    text = jit.assembly(strassen.unit(tile, False, True), row_, X86)
    block = function(text, f"block{tile.heights[-1]}")
    stretches = [s.splitlines() for s in re.split(JUMP, block) if tile.mnemonic in s]
    assert [count(lines, tile.mnemonic) for lines in stretches] == [uses(tile)] * strassen.PLACES
    assert not any(spilled(lines) for lines in stretches)


@pytest.mark.parametrize(
    "row_", [isa.by_name("avx2"), isa.by_name("avx512vnni")], ids=lambda r: r.name
)
def test_few_channels_take_a_narrow_tile(row_: isa.Isa) -> None:
    tile = row_.real
    for channels in (tile.width, 3 * tile.width, 20 * tile.width + 1):
        assert tile.fitting(channels) is tile
    narrow = tile.fitting(tile.lanes)
    assert narrow.width == tile.lanes
    loop = hot_loop(
        jit.assembly(dot.unit(narrow, False), row_, X86), f"block{narrow.heights[-1]}", "vfmadd"
    )
    assert count(loop, "vfmadd") == uses(narrow)
    assert not spilled(loop), "something is spilled in the inner loop"


def test_tiles_of_a_row_fit_together() -> None:
    """Panels of the dot tile are packed again for others, which share its tables; states go a row
    at a time; two rows that are left over take the lowest block."""
    for row in isa.ROWS:
        for kind, tile in _tiles(row).items():
            assert kind == "real" or tile.width == row.dot.width
            assert kind == "dense" or tile.rows == tile.heights[0] == 1
            assert all(height % tile.rows == 0 for height in tile.heights)


def test_the_best_row_that_runs_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OCTOLITE_ISA", raising=False)
    assert isa.current() is [row for row in isa.ROWS if row.runs_here][-1]


def test_a_row_can_be_forced(native: isa.Isa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTOLITE_ISA", native.name)
    assert isa.current() is native


def test_an_unknown_row_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTOLITE_ISA", "avx3")
    with pytest.raises(KernelError, match=r"no instruction set 'avx3'.*avx2"):
        isa.current()


def test_a_row_that_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = dataclasses.replace(isa.GENERIC, name="absent", needs=("a-feature-of-no-cpu",))
    monkeypatch.setattr(isa, "ROWS", (*isa.ROWS, absent))
    monkeypatch.setenv("OCTOLITE_ISA", "absent")
    with pytest.raises(KernelError, match=r"'absent', which needs a-feature-of-no-cpu"):
        isa.current()
