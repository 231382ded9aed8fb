"""What was found of a quantized model, as one page of HTML that can be sent to others.

:func:`render` takes whatever there is: an evaluation, a comparison, a ranking by sensitivity, the
distributions of weights, latencies. Each kind has a module that says what it adds to the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from octolite.evaluation.compare import Comparison
from octolite.evaluation.evaluate import Evaluation
from octolite.evaluation.litert import Against
from octolite.evaluation.report import compared, judged, latency, raced, ranked, weights
from octolite.evaluation.report.blocks import Page
from octolite.evaluation.report.examine import Examination, examine
from octolite.evaluation.report.latency import Race, race
from octolite.evaluation.report.page import html_of, require
from octolite.evaluation.report.pictures import Pictures
from octolite.evaluation.report.weights import Distributions, distributions
from octolite.evaluation.sensitivity import Sensitivity

Contribution = Callable[[Any, Page], None]

KINDS: Mapping[type, Contribution] = {
    Evaluation: judged.contribute,
    Comparison: compared.contribute,
    Sensitivity: ranked.contribute,
    Distributions: weights.contribute,
    Race: latency.contribute,
    Against: raced.contribute,
}
"""What each kind of finding adds to a page."""

__all__ = [
    "KINDS",
    "Distributions",
    "Examination",
    "Pictures",
    "Race",
    "distributions",
    "examine",
    "race",
    "render",
    "require",
]


def render(
    *findings: Any,
    title: str = "What quantization cost",
    subtitle: str = "",
    pictures: Pictures | None = None,
) -> str:
    """A self-contained page of HTML, for light and dark screens.

    Args:
        findings: of the types in :data:`KINDS`, in the order in which they are to be read.
        title: of the page.
        subtitle: which models it is about.
        pictures: of the samples of an evaluation.

    Raises:
        UsageError: jinja2 is not installed (``pip install 'octolite[report]'``).
    """
    page = Page(title, subtitle, picture=(pictures or Pictures()).of)
    for finding in findings:
        KINDS[type(finding)](finding, page)
    return html_of(page)
