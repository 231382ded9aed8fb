"""Both sides on AVX2, on a machine that can do more: ``python -m benchmarks --avx2``.

LiteRT offers no switch for it. Here, in the memory of the benchmark's process and nowhere else,
its library is kept from seeing the instruction sets that came after AVX2; Octolite is told by
``OCTOLITE_ISA``. Needs Linux on x86-64, a C compiler and ``objdump`` (binutils).
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("hide_cpuid.c")
LIBRARY = "libpywrap_litert_common.so"
_CPUID = re.compile(r"^\s*([0-9a-f]+):\s+cpuid\s*$", re.MULTILINE)


def limit() -> ctypes.CDLL:
    """Limit this process to AVX2; to be called before anything has run.

    Raises :class:`RuntimeError` when LiteRT's library cannot be limited.
    """
    os.environ["OCTOLITE_ISA"] = "avx2"
    import ai_edge_litert.interpreter  # noqa: F401  (maps the library)

    path, base = _mapped()
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", path], check=True, capture_output=True, text=True
    ).stdout
    places = [int(found, 16) for found in _CPUID.findall(listing)]
    handler = _compiled()
    failed = [place for place in places if handler.hide(base + place)]
    if failed or not places:
        raise RuntimeError(f"{len(failed)} of {len(places)} places in {path} cannot be changed")
    return handler


def _mapped() -> tuple[str, int]:
    """The library's path and the address that its own addresses count from."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split()
        if fields[-1].endswith(LIBRARY):
            return fields[-1], int(fields[0].split("-")[0], 16) - int(fields[2], 16)
    raise RuntimeError(f"{LIBRARY} is not loaded: another version of ai-edge-litert?")


def _compiled() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "hide_cpuid.so"
        command = [os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", SOURCE, "-o", library]
        subprocess.run(command, check=True)
        handler = ctypes.CDLL(str(library))
    handler.hide.argtypes = [ctypes.c_void_p]
    return handler
