"""A few drawn examples of every operator, and a grid of its declared cases, held against LiteRT.

``make conformance`` draws many more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from octolite.ir.types import DType
from octolite.ops import REGISTRY, operator_class
from octolite.ops.case import Case
from octolite.ops.support import in_type
from tests.conformance.__main__ import faults, tolerances
from tests.conformance.campaign import drawn, drawn_codes
from tests.conformance.judge import Judge
from tests.conformance.registry import unscaled
from tests.conformance.tolerance import TOLERANCES
from tests.conformance.verdict import WRONG, Form, Outcome, described, examine
from tests.ops.quantized import STRATEGIES
from tests.ops.test_integer import TYPES

DRAWS = int(os.environ.get("OCTOLITE_CONFORMANCE", "12"))
"""Examples of each operator in an ordinary run."""

few = settings(
    max_examples=DRAWS,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    judge = Judge()
    yield judge
    judge.close()


def check(name: str, example: Case, form: Form, judge: Judge) -> Outcome:
    verdict = examine(operator_class(name), example, judge, form)
    assert verdict.outcome not in WRONG, f"{name}{described(example, form)}\n{verdict.detail}"
    return verdict.outcome


@pytest.mark.parametrize("name", sorted(REGISTRY))
@few
@given(data=st.data())
def test_drawn_examples_agree_with_litert(name: str, judge: Judge, data: st.DataObject) -> None:
    check(name, *data.draw(drawn(operator_class(name))), judge)


@pytest.mark.parametrize(("name", "dtype"), [pytest.param(n, d, id=f"{n}-{d}") for n, d in TYPES])
@few
@given(data=st.data())
def test_drawn_codes_agree_with_litert(
    name: str, dtype: DType, judge: Judge, data: st.DataObject
) -> None:
    if name in STRATEGIES:
        check(name, *data.draw(drawn_codes(name, dtype)), judge)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_declared_cases_agree_however_they_are_written(name: str, judge: Judge) -> None:
    for example in (c for c in REGISTRY[name].cases if c.litert and c.seen is None):
        for form in (Form.FED, Form.OPEN):
            check(name, example, form, judge)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_types_that_litert_takes_are_taken(name: str, judge: Judge) -> None:
    operator = REGISTRY[name]
    for dtype in unscaled(operator):
        for example in [c for c in in_type(operator, dtype) if c.litert][:3]:
            check(name, example, Form.PLAIN, judge)


def test_tolerances_are_those_of_operators() -> None:
    assert set(TOLERANCES) <= set(REGISTRY)


def test_the_documented_tolerances_and_faults_are_these() -> None:
    text = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()
    for rows in (tolerances(), faults()):
        assert "\n".join(rows) in text
