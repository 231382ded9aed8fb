"""One example, run by the reference, the compiled kernels and LiteRT, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np

import octolite
from octolite.errors import OctoliteError
from octolite.ir.graph import Model
from octolite.ir.types import Array, TensorType
from octolite.ops import Operator
from octolite.ops.base import Parameter
from octolite.ops.case import Case, Tensor, given
from octolite.tflite import write
from tests.conformance.faults import fault
from tests.conformance.judge import Died, Judge, Refused, run
from tests.conformance.tolerance import tolerance_of
from tests.ops.litert import GOOD_SQNR, HYBRID_SQNR, exact, ours, sqnr


class Outcome(Enum):
    """What came of an example."""

    AGREES = "agrees"
    ALONE = "runs here, LiteRT refuses"
    BOTH_REFUSE = "both refuse"
    LITERT_DIED = "LiteRT died"
    UNDEFINED = "LiteRT's result has no meaning"
    DIFFERS = "differs"
    REFUSED = "refused here, LiteRT runs"


WRONG = (Outcome.DIFFERS, Outcome.REFUSED)
"""Outcomes that must not be."""


@dataclass(frozen=True)
class Verdict:
    """The outcome, in words where it is no agreement, and the largest error in units."""

    outcome: Outcome
    detail: str = ""
    distance: float = 0.0


class Form(Enum):
    """How the model of an example is written."""

    PLAIN = "as drawn"
    FED = "integer constants become inputs"
    OPEN = "the extents of inputs are left open"


def formed(example: Case, form: Form) -> Case:
    """The example with what ``form`` changes of its tensors."""
    if form is not Form.FED:
        return example
    rng = np.random.default_rng(0)

    def fed(t: Tensor | None) -> Tensor | None:
        whole = t is not None and t.constant and not t.hybrid and t.dtype.is_integer
        return given(t.array(rng), t.dtype) if whole and t is not None and not t.quant else t

    return replace(example, tensors=[fed(t) for t in example.tensors])


def examine(
    operator: type[Operator], example: Case, judge: Judge, form: Form = Form.PLAIN
) -> Verdict:
    """Run ``example`` everywhere and compare."""
    example = formed(example, form)
    refusal, mine = None, []
    try:
        model, feeds = example.build(operator, form is Form.OPEN)
        mine = [ours(model, feeds), compiled(model, feeds)]
    except OctoliteError as error:
        refusal = error
        model, feeds = unchecked(operator, example, form)
    try:
        content = write(model)
    except OctoliteError as error:
        return Verdict(Outcome.BOTH_REFUSE, f"not writable: {error}")
    reason = fault(operator.name, example)
    if reason:
        return Verdict(Outcome.UNDEFINED, reason)
    theirs = judge.ask(content, feeds, operator.name)
    if isinstance(theirs, Died):
        return Verdict(Outcome.LITERT_DIED, theirs.reason)
    if isinstance(theirs, Refused):
        outcome = Outcome.ALONE if refusal is None else Outcome.BOTH_REFUSE
        return Verdict(outcome, theirs.reason)
    if refusal is not None:
        return Verdict(Outcome.REFUSED, f"{type(refusal).__name__}: {refusal}")
    return compare(operator, example, model, feeds, mine, theirs)


def compiled(model: Model, feeds: dict[str, Array]) -> list[Array]:
    """What the interpreter says, with every kernel that it has."""
    return run(octolite.Interpreter(model_content=write(model), hybrid="always"), feeds)


def unchecked(
    operator: type[Operator], example: Case, form: Form
) -> tuple[Model, dict[str, Array]]:
    """The model of an example that our shape rule refuses, for LiteRT to say what it makes of it.

    Results have the type of the data input, and no shape.
    """

    class Lenient:
        name = operator.name

        def __new__(cls, **attributes: Any) -> Any:
            made = operator(**attributes)
            object.__setattr__(made, "infer", guess)
            return made

    def guess(*inputs: Any) -> Sequence[TensorType]:
        data = inputs[operator.data_input] if len(inputs) > operator.data_input else None
        dtype = example.attributes.get("out_data_type", None if data is None else data.dtype)
        results = Parameter.parse(operator.outputs)
        count = len(results)
        if any(p.variadic for p in results):
            named = ("num_splits", "num")
            count = next((example.attributes[n] for n in named if n in example.attributes), 1)
        return [TensorType(dtype, None)] * count

    return example.build(Lenient, form is Form.OPEN)


def compare(
    operator: type[Operator],
    example: Case,
    model: Model,
    feeds: dict[str, Array],
    mine: Sequence[Sequence[Array]],
    theirs: Sequence[Array],
) -> Verdict:
    """Whether both of ours are as near to LiteRT as is stated."""
    tolerance, worst = tolerance_of(operator.name), 0.0
    for kind, results in zip(("reference", "compiled"), mine, strict=True):
        if len(results) != len(theirs):
            return Verdict(Outcome.DIFFERS, f"{kind}: {len(results)} results, not {len(theirs)}")
        for number, (found, expected) in enumerate(zip(results, theirs, strict=True)):
            what = f"{kind}, result {number}"
            if (found.dtype, found.shape) != (expected.dtype, expected.shape):
                said = f"{found.dtype}{found.shape}, LiteRT {expected.dtype}{expected.shape}"
                return Verdict(Outcome.DIFFERS, f"{what}: {said}")
            if example.is_hybrid and expected.dtype.kind == "f" and not exact_form(operator):
                best = exact(model, feeds)[number]
                if expected.any() and not as_good(best, found, expected):
                    noise = sqnr(found, expected)
                    return Verdict(Outcome.DIFFERS, f"{what}: {noise:.1f} dB apart")
                continue
            distance = tolerance.distance(found, expected)
            worst = max(worst, distance)
            if distance > tolerance.units:
                return Verdict(Outcome.DIFFERS, told(what, found, expected, distance), distance)
    return Verdict(Outcome.AGREES, distance=worst)


def as_good(best: Array, found: Array, expected: Array) -> bool:
    """Whether two quantizations of the same activations are near, or ours no noisier."""
    if sqnr(found, expected) >= HYBRID_SQNR:
        return True
    return sqnr(best, found) >= min(sqnr(best, expected) - 0.5, GOOD_SQNR)


def exact_form(operator: type[Operator]) -> bool:
    """Whether codes beside floats are only dequantized: nothing is rounded again."""
    return operator.name in ("DEQUANTIZE", "EMBEDDING_LOOKUP", "GATHER")


def told(what: str, found: Array, expected: Array, distance: float) -> str:
    if found.dtype.kind == "O":
        return f"{what}: {found.reshape(-1)[:5]} is not {expected.reshape(-1)[:5]}"
    with np.errstate(all="ignore"):
        wrong = np.argwhere(~((found == expected) | ((found != found) & (expected != expected))))
    at = tuple(int(i) for i in wrong[0]) if len(wrong) else ()
    return (
        f"{what}: {found[at]!r} is not {expected[at]!r} at {at}, {len(wrong)} of {found.size} "
        f"differ, by {distance:.3g} ulp"
    )


def described(example: Case, form: Form) -> str:
    """An example in a line."""
    rng = np.random.default_rng(0)

    def word(t: Tensor | None) -> str:
        if t is None:
            return "none"
        kind = f"{t.stored} weights" if t.hybrid else str(t.dtype)
        text = f"{kind}{list(t.shape)}" + (f" {t.quant}" if t.quant else "")
        small = t.dtype.is_integer and np.prod(t.shape) <= 12 and not t.quant
        return f"{'const ' if t.constant else ''}{text}" + (
            f" {t.array(rng).tolist()}" if small else ""
        )

    tensors = "; ".join(map(word, example.tensors))
    attributes = ", ".join(f"{k}={v!r}" for k, v in example.attributes.items())
    return f"({tensors}) {attributes} [{form.name.lower()}]" + (
        f" -> {list(example.results)}" if example.results else ""
    )
