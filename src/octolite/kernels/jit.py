"""From LLVM IR to callable addresses, by way of objects kept on disk.

An object is shared by all models and processes: its name in the cache is a digest of what it
computes (the unit's key), the instruction set, the compiler and the source of this package. The
cache is a convenience and never trusted: what does not verify is compiled again, what cannot be
written is kept in memory.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite
import platformdirs
from llvmlite import binding as llvm
from llvmlite import ir

from octolite.errors import KernelError
from octolite.kernels.isa import Isa

log = logging.getLogger(__name__)

llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()

_MAGIC = b"octolite object 1\n"


@dataclass(frozen=True)
class Unit:
    """Functions that are compiled together.

    ``key`` says everything that ``emit`` depends on besides the instruction set; ``exports`` are
    the functions whose addresses are wanted.
    """

    key: str
    exports: tuple[str, ...]
    emit: Callable[[Any, Isa], None]


class Library:
    """A unit in memory, ready to be called: ``library["name"]`` is an address."""

    def __init__(self, tracker: Any, exports: tuple[str, ...]) -> None:
        self._tracker = tracker  # the code lives as long as this
        self._at = {name: int(tracker[name]) for name in exports}

    def __getitem__(self, name: str) -> int:
        return self._at[name]


_lock = threading.Lock()
_serial = itertools.count()  # the linker wants every library to have a name of its own
_libraries: dict[tuple[str, str], Library] = {}


def load(unit: Unit, isa: Isa) -> Library:
    """The compiled unit: from memory, from the cache on disk, or compiled now.

    Raises :class:`KernelError` when the code cannot be generated or linked.
    """
    with _lock:
        found = _libraries.get((unit.key, isa.name))
        if found is None:
            found = _libraries[unit.key, isa.name] = _load(unit, isa)
        return found


def _load(unit: Unit, isa: Isa) -> Library:
    path = _path(unit, isa)
    kept = _read(path)
    if kept is not None:
        try:
            return _link(unit, isa, kept)
        except KernelError as error:
            log.info("cached kernel %s is of no use: %s", path, error)
    module, machine = optimized(unit, isa)
    code = bytes(machine.emit_object(module))
    _write(path, code)
    return _link(unit, isa, code)


def optimized(unit: Unit, isa: Isa, triple: str | None = None) -> tuple[Any, Any]:
    """The unit as an optimized LLVM module, and its target machine: ``isa.triple`` unless another
    is given."""
    text = ir.Module(unit.key)
    text.triple = triple or isa.triple
    unit.emit(text, isa)
    try:
        module = llvm.parse_assembly(str(text))
        module.verify()
        machine = _machine(isa, text.triple)
        tuning = llvm.create_pipeline_tuning_options(speed_level=2)
        # The kernels are written as vectors; what LLVM would guess only bloats them.
        tuning.loop_vectorization = tuning.slp_vectorization = tuning.loop_unrolling = False
        passes = llvm.create_pass_builder(machine, tuning)
        passes.getModulePassManager().run(module, passes)
    except RuntimeError as error:
        raise KernelError(f"kernel {unit.key!r} does not compile for {isa.name}: {error}") from None
    return module, machine


def assembly(unit: Unit, isa: Isa, triple: str | None = None) -> str:
    """The unit's machine code as text; works for instruction sets that this CPU lacks."""
    module, machine = optimized(unit, isa, triple)
    return str(machine.emit_assembly(module))


def _machine(isa: Isa, triple: str) -> Any:
    target = llvm.Target.from_triple(triple)
    return target.create_target_machine(
        cpu=isa.cpu, features=isa.features, opt=3, reloc="pic", codemodel="default"
    )


@functools.cache
def _linker() -> Any:
    target = llvm.Target.from_default_triple()
    return llvm.create_lljit_compiler(target.create_target_machine(reloc="pic"))


def _link(unit: Unit, isa: Isa, code: bytes) -> Library:
    builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for name in unit.exports:
        builder.export_symbol(name)
    try:
        tracker = builder.link(_linker(), f"{isa.name} {unit.key} {next(_serial)}")
    except RuntimeError as error:
        raise KernelError(f"kernel {unit.key!r} for {isa.name} cannot be linked: {error}") from None
    return Library(tracker, unit.exports)


# The cache on disk -------------------------------------------------------------------------


def cache_folder() -> Path:
    """Where objects are kept: ``OCTOLITE_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("OCTOLITE_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("octolite") / "kernels"


@functools.cache
def _source_digest() -> str:
    digest = hashlib.sha256()
    folder = os.path.dirname(__file__)
    for name in sorted(n for n in os.listdir(folder) if n.endswith(".py")):
        with open(os.path.join(folder, name), "rb", buffering=0) as file:
            digest.update(file.read())
    return digest.hexdigest()


@functools.cache
def _compiler() -> tuple[str, ...]:
    """What all units are compiled with."""
    return (
        llvm.get_default_triple(),
        llvmlite.__version__,
        str(llvm.llvm_version_info),
        _source_digest(),
    )


def _path(unit: Unit, isa: Isa) -> Path:
    facts = (unit.key, isa.name, isa.cpu, isa.features, *_compiler())
    name = hashlib.sha256("\0".join(facts).encode()).hexdigest()
    return cache_folder() / f"{name}.o"


def _read(path: Path) -> bytes | None:
    """The object at ``path`` when it is whole, else ``None``."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    head = len(_MAGIC) + 32
    code = data[head:]
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : head] != hashlib.sha256(code).digest():
        log.info("cached kernel %s is damaged: compiling it again", path)
        return None
    return code


def _write(path: Path, code: bytes) -> None:
    """Write beside, then rename, so that a reader never sees half an object."""
    beside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(code).digest() + code)
        os.replace(beside, path)
    except OSError as error:
        log.info("kernels cannot be kept in %s: %s", path.parent, error)
        if beside is not None and os.path.exists(beside):
            os.unlink(beside)
