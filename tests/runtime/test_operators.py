"""Every operator's cases through the interpreter: compiled where there is a kernel, as the
reference says either way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octolite
from octolite.ops import REGISTRY
from octolite.ops.case import Case
from octolite.tflite import write
from tests.ops.litert import ours
from tests.recorded import relative_error

TOLERANCE = 2e-6
"""Of the largest result: compiled functions sum and round in another order than NumPy."""

CASES = [
    pytest.param(cls, case, id=f"{name}-{number}")
    for name, cls in sorted(REGISTRY.items())
    for number, case in enumerate(cls.cases)
]


@pytest.mark.parametrize(("cls", "case"), CASES)
def test_interpreter_agrees_with_reference(cls: type[Any], case: Case) -> None:
    model, feeds = case.build(cls)
    expected = ours(model, feeds)
    interpreter = octolite.Interpreter(model_content=write(model), hybrid="always")
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], feeds[details["name"]])
    interpreter.invoke()
    for details, reference in zip(interpreter.get_output_details(), expected, strict=True):
        got = interpreter.get_tensor(details["index"])
        assert got.shape == reference.shape
        assert got.dtype == reference.dtype
        if reference.dtype.kind == "f":
            assert relative_error(got, reference) <= TOLERANCE
        else:
            np.testing.assert_array_equal(got, reference)
