"""``hybrid``: what is asked for happens, for every operator that has a hybrid form, and is told."""

from __future__ import annotations

import pytest

import octolite
from octolite.ops.base import REGISTRY, Operator
from octolite.ops.case import Case
from octolite.runtime.prepare import HYBRID_MODES, Hybrid
from octolite.tflite import write

CASES = [
    pytest.param(cls, case, id=f"{name}-{index}")
    for name, cls in sorted(REGISTRY.items())
    for index, case in enumerate(cls.cases)
    if case.is_hybrid and cls.quant.hybrid
]
TOLD = {"always": "hybrid: asked for", "never": "float: asked for"}


@pytest.mark.parametrize("hybrid", HYBRID_MODES)
@pytest.mark.parametrize(("cls", "case"), CASES)
def test_what_is_asked_for_happens(cls: type[Operator], case: Case, hybrid: Hybrid) -> None:
    model, feeds = case.build(cls)
    interpreter = octolite.Interpreter(model_content=write(model), hybrid=hybrid)
    runner = interpreter.get_signature_runner()
    runner(**feeds)
    (timing,) = interpreter.profile(1)
    unit = timing.unit
    word, reason = unit.choice.split(": ", 1)
    assert unit.choice.startswith(TOLD.get(hybrid, f"{word}: "))
    assert word in ("hybrid", "float")
    assert reason
    in_codes = unit.op.is_hybrid([unit.node.inputs[i] for i in range(len(unit.node.inputs))])
    assert in_codes == (word == "hybrid")
    if unit.kernel is None:
        assert "no compiled kernel" in reason
    else:
        request = unit.kernel.request  # type: ignore[attr-defined]
        assert (request.hybrid or getattr(request, "scaled", False)) == in_codes
        assert timing.label == unit.kernel.label
        assert timing.label.startswith(("hybrid", "scaled")) == in_codes


def test_there_are_such_operators() -> None:
    assert len({case.values[0] for case in CASES}) >= 8
