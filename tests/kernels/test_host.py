"""What the processor and the system let run."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from octolite.kernels import host, isa

AMX = isa.by_name("amx")


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Nothing is known of the machine before a test, nor what the test found afterwards."""
    host.has.cache_clear()
    yield
    host.has.cache_clear()


def test_rows_of_other_processors_do_not_run() -> None:
    here = platform.machine().lower().replace("arm64", "aarch64").replace("amd64", "x86_64")
    for row in isa.ROWS:
        if row.arch not in ("", here):
            assert not row.runs_here
    assert isa.GENERIC.runs_here


@pytest.mark.parametrize("permitted", [False, True])
def test_amx_runs_where_the_system_permits_it(
    permitted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = dict.fromkeys(AMX.needs, True)
    monkeypatch.setattr(host.llvm, "get_host_cpu_features", lambda: found)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    asked = []
    monkeypatch.setattr(host, "_tiles_permitted", lambda: bool(asked.append(1)) or permitted)
    assert AMX.runs_here is permitted
    assert AMX.runs_here is permitted
    assert len(asked) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_permission_is_not_asked_for_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dict.fromkeys(AMX.needs, True) | {"amx-int8": False}
    monkeypatch.setattr(host.llvm, "get_host_cpu_features", lambda: found)
    monkeypatch.setattr(host, "_tiles_permitted", lambda: pytest.fail("asked"))
    assert not AMX.runs_here
    assert isa.by_name("avx512vnni").runs_here or platform.machine() != "x86_64"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="asks an x86 kernel")
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_a_processor_without_tile_registers_gets_no_permission() -> None:
    if not host.llvm.get_host_cpu_features().get("amx-tile", False):
        assert not host._tiles_permitted()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({16: 0, 26: 0}, "generic"),
        ({16: 1 << 20, 26: 0}, "neondot"),
        ({16: 1 << 20, 26: 1 << 13}, "neoni8mm"),
        ({16: ~(1 << 20), 26: 1 << 13}, "generic"),
    ],
)
def test_an_arm_processor_on_linux(
    words: dict[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getauxval(entry: ctypes.c_ulong) -> int:
        return words[entry.value]

    system = SimpleNamespace(getauxval=getauxval)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(host.ctypes, "CDLL", lambda _: system)
    monkeypatch.setattr(host.llvm, "get_host_cpu_features", lambda: {"neon": True})
    assert isa._best.__wrapped__().name == expected
