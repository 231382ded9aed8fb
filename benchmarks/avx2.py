"""All contenders on AVX2, on a machine that can do more: ``python -m benchmarks --avx2``.

Most of them offer no switch for it. Here, in the memory of the benchmark's process and nowhere
else, their libraries are kept from seeing the instruction sets that came after AVX2; Octolite is
told by ``OCTOLITE_ISA``. Needs Linux on x86-64, a C compiler and ``objdump`` (binutils).
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

SOURCE = Path(__file__).with_name("hide_cpuid.c")
FOUND = Path(__file__).parents[1] / "build" / "cpuid"
# The libraries of each package that ask for the CPU's features.
LIBRARIES = {
    "ai_edge_litert": ("libpywrap_litert_common.so",),
    "onnxruntime": ("capi/onnxruntime_pybind11_state*.so",),
    "openvino": ("libs/libopenvino.so.*", "libs/libopenvino_intel_cpu_plugin.so"),
}
_CPUID = re.compile(r"^\s*([0-9a-f]+):\s+cpuid\s*$", re.MULTILINE)


class Limit:
    """Libraries of ``packages``, as far as they are installed, kept to AVX2 in this process."""

    def __init__(self, packages: Iterable[str] = tuple(LIBRARIES)) -> None:
        os.environ["OCTOLITE_ISA"] = "avx2"
        self._handler = _compiled()
        self._places: dict[str, tuple[int, int]] = {}  # library: first place, places
        for path in _installed(sorted(LIBRARIES.keys() & set(packages))):
            self._limit(path)

    def _limit(self, path: Path) -> None:
        """Raises :class:`RuntimeError` when the library cannot be limited."""
        ctypes.CDLL(str(path))  # maps it, before its package has run
        base = _base(path)
        places = _places(path)
        first = self._handler.count()
        failed = [place for place in places if self._handler.hide(base + place)]
        if failed or not places:
            raise RuntimeError(f"{len(failed)} of {len(places)} places in {path} cannot be changed")
        self._places[path.name] = (first, len(places))

    def unasked(self) -> list[str]:
        """Libraries that have not asked since: they had before, or have not run."""
        answers = self._handler.answered
        return [
            name
            for name, (first, count) in self._places.items()
            if not any(answers(i) for i in range(first, first + count))
        ]


def _installed(packages: Iterable[str]) -> Iterator[Path]:
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for pattern in LIBRARIES[package]:
            yield from Path(spec.origin).parent.glob(pattern)


def _places(path: Path) -> list[int]:
    """Where the library has ``cpuid``; kept in a file, as looking takes seconds."""
    stat = path.stat()
    kept = FOUND / f"{path.name}-{stat.st_size}-{stat.st_mtime_ns}.json"
    if kept.exists():
        return list(json.loads(kept.read_text()))
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", path], check=True, capture_output=True, text=True
    ).stdout
    places = [int(found, 16) for found in _CPUID.findall(listing)]
    FOUND.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(places))
    return places


def _base(path: Path) -> int:
    """The address that the addresses in a mapped library count from."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split()
        if fields[-1].endswith(path.name):
            return int(fields[0].split("-")[0], 16) - int(fields[2], 16)
    raise RuntimeError(f"{path} is not loaded")


def _compiled() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "hide_cpuid.so"
        command = [os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", SOURCE, "-o", library]
        subprocess.run(command, check=True)
        handler = ctypes.CDLL(str(library))
    handler.hide.argtypes = [ctypes.c_void_p]
    return handler
