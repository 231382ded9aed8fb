"""Many examples of an operator, and a count of what came of them."""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from octolite.ir.types import INT8, INT16, UINT8, DType, Quant
from octolite.ops import Operator
from octolite.ops.case import Case
from tests.conformance import elementwise, layers, lookups, recurrent  # noqa: F401  generators register
from tests.conformance.drawing import coded
from tests.conformance.judge import Judge
from tests.conformance.registry import examples, types
from tests.conformance.verdict import WRONG, Form, Outcome, Verdict, described, examine
from tests.ops.quantized import STRATEGIES
from tests.ops.test_integer import TYPES


@dataclass
class Tally:
    """What came of the examples of one operator."""

    name: str
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    distance: float = 0.0
    found: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {o.value}" for o, n in self.outcomes.items())
        worst = f"; at most {self.distance:.3g} ulp" if self.distance else ""
        return "\n    ".join([f"{self.name}: {counts}{worst}", *self.found.values()])

    def add(self, verdict: Verdict, text: str) -> None:
        self.outcomes[verdict.outcome] += 1
        self.distance = max(self.distance, verdict.distance)
        if verdict.outcome in WRONG:
            self.found.setdefault(verdict.detail[:60], f"{text}\n      {verdict.detail}")


@st.composite
def drawn(draw: st.DrawFn, operator: type[Operator]) -> tuple[Case, Form]:
    """An example of any type, and how its model is written."""
    dtype = draw(types(operator))
    example = draw(examples(operator, dtype))
    if operator.quant.same_scale and dtype in (INT8, UINT8, INT16) and draw(st.booleans()):
        zero = 0 if dtype is INT16 else draw(st.sampled_from([0, 3, 100]))
        example = coded(example, Quant.of(0.05, zero), dtype)
    return example, draw(st.sampled_from([Form.PLAIN, Form.PLAIN, Form.FED, Form.OPEN]))


@st.composite
def drawn_codes(draw: st.DrawFn, name: str, dtype: DType) -> tuple[Case, Form]:
    """A fully quantized example."""
    return draw(STRATEGIES[name](dtype)), Form.PLAIN


def campaign(operator: type[Operator], draws: int, judge: Judge) -> list[Tally]:
    """Examine ``draws`` examples of ``operator``, and as many of each of its integer forms."""
    forms = [survey(operator.name, operator, drawn(operator), draws, judge)]
    for name, dtype in TYPES:
        if name == operator.name and name in STRATEGIES:
            strategy = drawn_codes(name, dtype)
            forms.append(survey(f"{name} of {dtype} codes", operator, strategy, draws, judge))
    return forms


def survey(
    title: str,
    operator: type[Operator],
    strategy: st.SearchStrategy[tuple[Case, Form]],
    draws: int,
    judge: Judge,
) -> Tally:
    """Examine so many examples and count."""
    tally = Tally(title)

    @seed(1)
    @settings(
        max_examples=draws,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(pair: tuple[Case, Form]) -> None:
        example, form = pair
        try:
            verdict = examine(operator, example, judge, form)
        except Exception:
            verdict = Verdict(Outcome.DIFFERS, "escaped: " + traceback.format_exc(limit=-4))
        tally.add(verdict, described(example, form))

    each()
    return tally
