"""Keeping a library from seeing what came after AVX2, in a process of its own."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys

import pytest

from octolite.kernels.x86 import AVX2

PROGRAM = """
from benchmarks import avx2
limit = avx2.Limit(["ai_edge_litert"])
before = limit.unasked()
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from benchmarks.models import Row
from octolite.kernels import isa
from octolite.ops.fully_connected import FullyConnected
row = Row("fc", "", FullyConnected, (3, 40), (30, 40))
interpreter = Interpreter(model_content=row.files().plain)
interpreter.allocate_tensors()
print(len(before), len(limit.unasked()), isa.current().name)
"""


@pytest.mark.skipif(
    sys.platform != "linux"
    or platform.machine() != "x86_64"
    or not AVX2.runs_here
    or not shutil.which("objdump")
    or not shutil.which("cc"),
    reason="needs Linux, AVX2, binutils and a C compiler",
)
def test_libraries_are_asked_and_answered_instead_of_the_processor() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "0", "avx2"]
