"""The object cache is never trusted and never in the way."""

from __future__ import annotations

import ctypes
import hashlib
from pathlib import Path
from typing import Any

import pytest

from octolite.errors import KernelError
from octolite.kernels import isa, jit
from octolite.kernels.simd import I64, Builder


def adder(amount: int) -> jit.Unit:
    def emit(module: Any, row: isa.Isa) -> None:
        k = Builder(module, "add", (I64,), I64)
        k.ret(k.args[0] + amount)

    return jit.Unit(f"add {amount}", ("add",), emit)


def call(unit: jit.Unit) -> int:
    address = jit.load(unit, isa.current())["add"]
    return int(ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(40))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "kernels"
    monkeypatch.setenv("OCTOLITE_CACHE", str(folder))
    return forget(folder, monkeypatch)


def forget(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As a new process would start."""
    monkeypatch.setattr(jit, "_libraries", {})
    return folder


def objects(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_objects_are_kept_and_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(adder(2)) == 42
    (kept,) = objects(cache)
    forget(cache, monkeypatch)
    monkeypatch.setattr(jit, "optimized", lambda *_: pytest.fail("compiled again"))
    assert call(adder(2)) == 42
    assert objects(cache) == [kept]


def test_units_and_rows_do_not_share_objects(
    cache: Path, native: isa.Isa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCTOLITE_ISA", native.name)
    assert call(adder(2)) == 42
    assert call(adder(3)) == 43
    assert len(objects(cache)) == 2
    monkeypatch.setenv("OCTOLITE_ISA", "generic")
    forget(cache, monkeypatch)
    assert call(adder(2)) == 42
    assert len(objects(cache)) == (2 if native.name == "generic" else 3)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "foreign"])
def test_damaged_objects_are_replaced(
    cache: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(adder(2))
    (kept,) = objects(cache)
    whole = kept.read_bytes()
    foreign = b"\x7fELF of another machine"
    kept.write_bytes(
        {
            "cut": whole[:-7],
            "changed": whole[:-7] + b"\0" + whole[-6:],
            "empty": b"",
            "foreign": jit._MAGIC + hashlib.sha256(foreign).digest() + foreign,
        }[damage]
    )
    forget(cache, monkeypatch)
    assert call(adder(2)) == 42
    assert kept.read_bytes() == whole
    assert objects(cache) == [kept]


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("OCTOLITE_CACHE", str(blocked / "kernels"))
    forget(tmp_path, monkeypatch)
    assert call(adder(2)) == 42
    assert objects(tmp_path) == [blocked]


def test_a_write_that_fails_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("read-only file system")

    monkeypatch.setattr(jit.os, "replace", refuse)
    assert call(adder(2)) == 42
    assert objects(cache) == []


def test_code_that_is_not_valid_is_an_error(cache: Path) -> None:
    def emit(module: Any, row: isa.Isa) -> None:
        k = Builder(module, "add", (I64,), I64)
        k.ret()

    with pytest.raises(KernelError, match="'broken' does not compile"):
        jit.load(jit.Unit("broken", ("add",), emit), isa.current())
    assert not cache.exists()


def test_a_missing_function_is_an_error(cache: Path) -> None:
    unit = jit.Unit("nothing to find", ("subtract",), adder(1).emit)
    with pytest.raises(KernelError, match="cannot be linked"):
        jit.load(unit, isa.current())
