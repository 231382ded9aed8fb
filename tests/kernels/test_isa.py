"""The rows of the instruction sets: what their tiles mean, and the code that comes of them."""

from __future__ import annotations

import ctypes
import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from octolite.errors import KernelError
from octolite.kernels import (
    cell,
    copy,
    depthwise,
    dot,
    isa,
    jit,
    lookup,
    maps,
    normalize,
    pool,
    prepare,
    reduce,
    resize,
    softmax,
    spec,
    svdf,
    walk,
    winograd,
)
from octolite.kernels.simd import PTR, Builder, vec
from tests.kernels.conftest import RUNNABLE

X86 = "x86_64-unknown-linux-gnu"
ARM = "aarch64-unknown-linux-gnu"
UNITS = [
    *(depthwise.unit(hybrid, False, 3, 2, 1) for hybrid in (False, True)),
    prepare.float_unit(),
    maps.unary_unit("tanh"),
    maps.unary_unit("log"),
    maps.binary_unit("add", False),
    pool.unit("max", False),
    softmax.unit(False),
    softmax.unit(True),
    normalize.unit(False),
    reduce.unit("mean", 3),
    reduce.unit("max", 0),
    resize.unit("bilinear"),
    resize.unit("nearest"),
    *(copy.unit(size) for size in (1, 2, 4, 8)),
    lookup.unit(spec.Lookup(4, 8)),
    lookup.unit(spec.Lookup(1, 4, scaled=True)),
    svdf.unit(True),
    walk.unit(),
]


def _tiles(row: isa.Isa) -> dict[str, isa.Tile]:
    kinds = ("dot", "real", "dense", "lean", "crossed")
    return {kind: tile for kind in kinds if (tile := getattr(row, kind)) is not None}


def tiles_of(rows: Sequence[isa.Isa]) -> list[Any]:
    """Every tile of every row, as parameters."""
    return [
        pytest.param(row, kind, id=f"{row.name}-{kind}") for row in rows for kind in _tiles(row)
    ]


def units(row: isa.Isa) -> list[jit.Unit]:
    dots = [dot.unit(tile, curved) for tile in _tiles(row).values() for curved in (False, True)]
    states = [tile for kind, tile in _tiles(row).items() if kind != "dense"]
    gated = (cell.Variant(4, True, True, True, True, normalized) for normalized in (False, True))
    plain = cell.Variant(1, False, False, False, False, False)
    dots += [cell.unit(tile, variant) for variant in (*gated, plain) for tile in states]
    if row.dense is not None:
        dots.append(winograd.unit(row.dense, winograd.EXACT, False))
    coded = [tile for tile in (row.dot, row.crossed) if tile is not None]
    quantized = [prepare.unit(tile, asymmetric) for tile in coded for asymmetric in (True, False)]
    return [*UNITS, *dots, *quantized]


def one_step(tile: isa.Tile) -> jit.Unit:
    """``step(acc, a, b)``: one use of the tile on memory."""

    def emit(module: Any, row: isa.Isa) -> None:
        k = Builder(module, "step", (PTR, PTR, PTR))
        acc, a, b = k.args
        total = k.load(vec(tile.sum, tile.lanes), acc)
        k.store(tile.emit(k, total, tile.load_a(k, a), tile.load_b(k, b)), acc)
        k.ret()

    return jit.Unit(f"one step {tile.name} {tile.lanes}", ("step",), emit)


@pytest.mark.parametrize(("row", "kind"), tiles_of(RUNNABLE))
def test_tiles_do_what_their_model_says(
    row: isa.Isa, kind: str, random: np.random.Generator
) -> None:
    tile = _tiles(row)[kind]
    step = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3)(jit.load(one_step(tile), row)["step"])
    for _ in range(200):
        if kind == "real":
            a = random.standard_normal(tile.depth, np.float32)
            b = random.standard_normal((tile.lanes, tile.depth), np.float32)
            acc = random.standard_normal(tile.lanes, np.float32)
        else:
            codes = random.choice([-128, -127, -1, 0, 1, 126, 127], tile.depth)
            a = (codes + tile.offset).astype(tile.code)
            b = random.choice([-127, -1, 0, 1, 127], (tile.lanes, tile.depth)).astype(tile.weight)
            acc = random.integers(-(2**31) + 2**18, 2**31 - 2**18, tile.lanes).astype(np.int32)
        expected = tile.model(acc, a, b)
        step(acc.ctypes.data, a.ctypes.data, b.ctypes.data)
        np.testing.assert_allclose(acc, expected, rtol=1e-6 if kind == "real" else 0, atol=1e-6)


@pytest.mark.parametrize("row_", isa.ROWS, ids=lambda row: row.name)
def test_every_row_compiles_anywhere(row_: isa.Isa) -> None:
    for unit in units(row_):
        text = jit.assembly(unit, row_, X86)
        assert all(f"{name}:" in text for name in unit.exports)


def test_the_generic_row_is_portable() -> None:
    for unit in units(isa.GENERIC):
        text = jit.assembly(unit, isa.GENERIC, ARM)
        assert all(f"{name}:" in text for name in unit.exports)


def hot_loop(text: str, block: str, mnemonic: str) -> list[str]:
    """The longest stretch between labels or jumps that uses ``mnemonic``."""
    body = text.split(f"\n{block}:", 1)[1].split(".Lfunc_end", 1)[0]
    stretches = re.split(r"\n\.L\w+:.*|\n\tj\w+\t.*", body)
    return max((s.splitlines() for s in stretches), key=lambda lines: _count(lines, mnemonic))


def _count(lines: list[str], mnemonic: str) -> int:
    return sum(_is(line, mnemonic) for line in lines)


def _is(line: str, mnemonic: str) -> bool:
    return line.strip().removeprefix("{vex}").strip().startswith(mnemonic)


@pytest.mark.parametrize(("row_", "kind"), tiles_of(isa.ROWS[1:]))
def test_sums_stay_in_registers(row_: isa.Isa, kind: str) -> None:
    tile = _tiles(row_)[kind]
    text = jit.assembly(dot.unit(tile, False), row_, X86)
    height = tile.heights[-1]
    loop = hot_loop(text, f"block{height}", tile.mnemonic)
    assert _count(loop, tile.mnemonic) == height * tile.vectors
    assert not [line for line in loop if "rsp" in line], "something is spilled in the inner loop"
    register = {8: "ymm", 16: "zmm"}[tile.lanes]
    assert all(register in line for line in loop if _is(line, tile.mnemonic))


@pytest.mark.parametrize("row_", [row for row in isa.ROWS[1:] if row.dense], ids=lambda r: r.name)
def test_winograd_sums_stay_in_registers(row_: isa.Isa) -> None:
    tile = row_.dense
    assert tile is not None
    height = tile.heights[-1]
    text = jit.assembly(winograd.unit(tile, winograd.EXACT, False), row_, X86)
    loop = hot_loop(text, f"block{height}", tile.mnemonic)
    assert _count(loop, tile.mnemonic) == height * tile.vectors
    assert not [line for line in loop if "rsp" in line], "something is spilled in the inner loop"


def test_dense_tiles_pack_as_the_others_do() -> None:
    for row in isa.ROWS:
        if row.dense is not None:
            for field in ("lanes", "depth", "vectors", "code", "offset"):
                assert getattr(row.dense, field) == getattr(row.dot, field)


def test_the_best_row_that_runs_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OCTOLITE_ISA", raising=False)
    assert isa.current() is [row for row in isa.ROWS if row.runs_here][-1]


def test_a_row_can_be_forced(row: isa.Isa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTOLITE_ISA", row.name)
    assert isa.current() is row


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
