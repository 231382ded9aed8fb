"""Kernels of 64-bit ARM on any machine: compiled here, run by QEMU's user mode.

A driver (``emulated.c``) runs under QEMU and does what it is told: maps memory, fills it, calls
functions, sends memory back. :class:`Machine` places code and data in its address space.
``jit.load`` gives the addresses that code has there, and ``Executor.run`` has steps that consist
of such functions run there: tests need not know where a kernel runs. Buffers lie between forbidden
pages there as they do here; touching one ends the driver.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from octolite.ir.types import Array
from octolite.kernels import isa, jit
from octolite.kernels.launch import Place, Stage, Step
from octolite.runtime.executor import Executor, Program
from tests.kernels.guarded import PAGE, Guarded

EMULATOR = ("qemu-aarch64-static", "qemu-aarch64")
TOOLS = "aarch64-linux-gnu-"

GENERIC = dataclasses.replace(isa.GENERIC, name="generic-arm", arch="aarch64")
ROWS = [GENERIC, *(row for row in isa.ROWS if row.arch == "aarch64")]

_CODE, _CODE_STEP, _DATA, _END = 1 << 36, 1 << 24, 1 << 37, 1 << 38
_MAP, _FILL, _CALL, _START, _JOIN, _SEND, _UNMAP = range(7)

_SCRIPT = """
SECTIONS {
  . = %d;
  .all : { *(.text .text.* .ltext*) *(.rodata* .lrodata*) *(.data* .got* .bss* COMMON) }
  /DISCARD/ : { *(*) }
}
"""

# What a compiler may call without being asked to.
_SUPPORT = """
typedef unsigned long size;
void *memcpy(void *to, const void *from, size n)
{ char *t = to; const char *f = from; while (n--) *t++ = *f++; return to; }
void *memmove(void *to, const void *from, size n)
{ char *t = to; const char *f = from;
  if (t < f) while (n--) *t++ = *f++; else while (n--) t[n] = f[n]; return to; }
void *memset(void *to, int c, size n)
{ char *t = to; while (n--) *t++ = (char)c; return to; }
"""


def missing() -> str:
    """Why nothing can be emulated here; empty where it can."""
    if not any(map(shutil.which, EMULATOR)):
        return "QEMU's user mode for aarch64 is not installed (Debian: qemu-user-static)"
    if not all(shutil.which(TOOLS + name) for name in ("gcc", "ld", "objcopy", "nm")):
        return "no cross compiler for aarch64 is installed (Debian: gcc-aarch64-linux-gnu)"
    return ""


class Driver:
    """The emulated process."""

    def __init__(self, program: Path) -> None:
        emulator = next(filter(None, map(shutil.which, EMULATOR)))
        command = [emulator, "-cpu", "max", str(program)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout

    def write(self, data: bytes) -> None:
        self._in.write(data)

    def read(self, size: int) -> bytes:
        """Fewer bytes when the process has ended."""
        with contextlib.suppress(BrokenPipeError):
            self._in.flush()
        return self._out.read(size)

    def close(self) -> int:
        """End it; gives its exit status."""
        with contextlib.suppress(BrokenPipeError):
            self._in.close()
        self._out.close()
        return self._process.wait()


class Machine:
    """Code of another processor and what runs it, which is started again when a kernel ends it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._code: dict[str, tuple[int, bytes]] = {}  # by row and unit: where, and what
        self._symbols: dict[str, dict[str, int]] = {}
        self._driver: Driver | None = None
        self._program, self._support = folder / "driver", folder / "support.o"
        source = Path(__file__).with_name("emulated.c")
        self._tool("gcc", "-O1", "-static", "-no-pie", "-o", self._program, source, "-lpthread")
        (folder / "support.c").write_text(_SUPPORT)
        flags = ("-O1", "-ffreestanding", "-fno-tree-loop-distribute-patterns", "-c")
        self._tool("gcc", *flags, "-o", self._support, folder / "support.c")

    def close(self) -> None:
        if self._driver is not None:
            self._driver.close()

    def _tool(self, name: str, *arguments: Any) -> str:
        command = [TOOLS + name, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    # Code ----------------------------------------------------------------------------------

    def load(self, unit: jit.Unit, row: isa.Isa) -> dict[str, int]:
        """The addresses of the unit's functions; what ``jit.load`` is for this machine."""
        key = f"{row.name} {unit.key}"
        if key not in self._symbols:
            module, machine = jit.optimized(unit, row)
            base = _CODE + len(self._code) * _CODE_STEP
            names = [self._folder / f"unit.{kind}" for kind in ("o", "ld", "elf", "bin")]
            object_, script, linked, flat = names
            object_.write_bytes(machine.emit_object(module))
            script.write_text(_SCRIPT % base)
            given = ("-static", "-e", "0", "-T", script, "-o", linked, object_, self._support)
            self._tool("ld", *given)
            self._tool("objcopy", "-O", "binary", linked, flat)
            self._symbols[key] = self.symbols(linked)
            self._code[key] = base, flat.read_bytes()
            if self._driver is not None:
                self._place_code(base, self._code[key][1])
        return self._symbols[key]

    def symbols(self, linked: Path | None = None) -> dict[str, int]:
        """Addresses in a linked file, or in the driver."""
        lines = (line.split() for line in self._tool("nm", linked or self._program).splitlines())
        return {line[2]: int(line[0], 16) for line in lines if len(line) == 3}

    def _place_code(self, base: int, code: bytes) -> None:
        self.map(base, -(-len(code) // PAGE) * PAGE, code=True)
        self.fill(base, code)

    # Requests ------------------------------------------------------------------------------

    def _request(self, kind: int, address: int = 0, size: int = 0, more: int = 0) -> None:
        if self._driver is None:
            self._driver = Driver(self._program)
            for base, code in self._code.values():
                self._place_code(base, code)
        self._write(struct.pack("<4q", kind, address, size, more))

    def _write(self, data: bytes) -> None:
        assert self._driver is not None
        try:
            self._driver.write(data)
        except BrokenPipeError:
            self._fail()

    def _fail(self) -> None:
        assert self._driver is not None
        driver, self._driver = self._driver, None
        pytest.fail(f"an emulated kernel ended its process ({driver.close()})")

    def map(self, address: int, size: int, code: bool = False) -> None:
        self._request(_MAP, address, size, code)

    def unmap(self, address: int, size: int) -> None:
        self._request(_UNMAP, address, size)

    def fill(self, address: int, data: bytes) -> None:
        self._request(_FILL, address, len(data))
        self._write(data)

    def call(self, function: int, args: int, tiles: int) -> None:
        """``function(args, 0)`` … ``function(args, tiles - 1)``."""
        self._request(_CALL, function, args, tiles)

    def start(self, function: int, first: int, second: int) -> None:
        """Call a function in a thread of its own."""
        self._request(_START, function, first, second)

    def join(self) -> None:
        """Wait for these threads."""
        self._request(_JOIN)

    def read(self, address: int, size: int) -> bytes:
        self._request(_SEND, address, size)
        assert self._driver is not None
        data = self._driver.read(size)
        if len(data) != size:
            self._fail()
        return data


# Steps -------------------------------------------------------------------------------------


class Image:
    """The memory of a run: where in the machine each buffer of this process lies."""

    def __init__(self, machine: Machine, buffers: Sequence[Array]) -> None:
        self._machine = machine
        self._buffers = buffers
        self._end = _DATA
        self._rooms: list[tuple[Array, int]] = []  # contents, and where they are in the machine
        self._arrays: dict[int, int] = {}

    def _take(self, size: int) -> tuple[int, int]:
        """Whole pages and where they end; the pages next to them are nobody's."""
        start = self._end + PAGE
        self._end = start + -(-max(size, 1) // PAGE) * PAGE
        self._machine.map(start, self._end - start)
        return start, self._end

    def constant(self, data: bytes) -> int:
        """A copy that ends where its page does."""
        _, end = self._take(len(data) + 64)
        start = (end - len(data)) // 64 * 64
        self._machine.fill(start, data)
        return start

    def array(self, values: Array) -> int:
        """The same, once for each array."""
        if id(values) not in self._arrays:
            self._arrays[id(values)] = self.constant(values.tobytes())
        return self._arrays[id(values)]

    def there(self, here: int) -> int:
        """The address of a byte of a buffer, or of the one behind its last."""
        for contents, start in self._rooms:
            if 0 <= here - contents.ctypes.data <= contents.nbytes:
                return int(start + here - contents.ctypes.data)
        for contents in self._buffers:
            if 0 <= here - contents.ctypes.data <= contents.nbytes:
                start, _ = self._take(contents.nbytes)
                self._machine.fill(start, contents.tobytes())
                self._rooms.append((contents, start))
                return self.there(here)
        raise AssertionError(f"{here:#x} is in no buffer that the emulation knows")

    def fetch(self) -> None:
        """Bring back what steps have written, and give the memory back."""
        for contents, start in self._rooms:
            data = self._machine.read(start, contents.nbytes)
            contents[...] = np.frombuffer(data, contents.dtype).reshape(contents.shape)
        self._machine.unmap(_DATA, self._end - _DATA)


def run(machine: Machine, steps: Sequence[Step]) -> None:
    """Run the steps of launches, whose buffers are :class:`Guarded`, in ``machine``."""
    faults = {id(step.keep[1]): step.keep[1] for step in steps}
    image = Image(machine, [*(buffer.room for buffer in Guarded.alive), *faults.values()])
    for step in steps:
        args = image.constant(_moved(image, step.keep[0], bytes(step.args)))
        machine.call(step.fn, args, step.tiles)
    image.fetch()


def _moved(image: Image, stage: Stage, packed: bytes) -> bytes:
    """The arguments of a step with the addresses that they have in the machine."""
    out = bytearray(packed)
    for index, operands in enumerate((stage.operands, *stage.more)):
        for name, value in operands.items():
            at = index * stage.record.size + stage.record.offset(name)
            (here,) = struct.unpack_from("<q", packed, at)
            if isinstance(value, Place):
                struct.pack_into("<q", out, at, image.there(here))
            elif not isinstance(value, int | float):
                struct.pack_into("<q", out, at, image.array(value))
    return bytes(out)


def install(patch: pytest.MonkeyPatch, machine: Machine) -> None:
    """Have everything for ARM rows run in ``machine``."""
    native_load, native_run = jit.load, Executor.run

    def load(unit: jit.Unit, row: isa.Isa) -> Any:
        return machine.load(unit, row) if row.arch == "aarch64" else native_load(unit, row)

    def run_steps(self: Executor, program: Program | Sequence[Step], *rest: Any) -> None:
        steps = program.steps if isinstance(program, Program) else program
        if any(_CODE <= step.fn < _END for step in steps):
            run(machine, steps)
        else:
            native_run(self, program, *rest)

    patch.setattr(jit, "load", load)
    patch.setattr(Executor, "run", run_steps)
