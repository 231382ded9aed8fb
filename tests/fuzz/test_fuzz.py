"""2,000 mutants, and those by which defects were found."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from tests.fuzz.attempt import Mutant, attempt
from tests.fuzz.campaign import campaign

FOUND = Path(__file__).parents[1] / "data" / "fuzz"
MUTANTS = 2000


def test_mutants_end_in_a_result_or_an_error(tmp_path: Path) -> None:
    report = campaign(seed=20_000, count=MUTANTS, jobs=2, save=tmp_path)
    assert not report.failures, "\n".join(map(str, report.failures))
    assert report.count == MUTANTS
    # Many get past the reader, and some run.
    assert report.outcomes["ran"] > MUTANTS / 10
    assert report.kinds["graph"] > MUTANTS / 10


@pytest.mark.parametrize("path", sorted(FOUND.glob("*.xz")), ids=lambda p: p.name)
def test_what_was_found_stays_mended(path: Path) -> None:
    """Each ran into a crash, a hang or an error of Python's own once."""
    name, kind = path.name.split(".")[:2]
    content = lzma.decompress(path.read_bytes())
    mutant = Mutant("model" if kind == "tflite" else "graph", name, content, name.replace("_", "/"))
    attempt(mutant)


def test_a_mutant_is_the_same_each_time() -> None:
    for number in range(40):
        assert Mutant.make(7, number) == Mutant.make(7, number)
