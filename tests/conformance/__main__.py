"""``python -m tests.conformance``: many examples of every operator, and the figures."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Collection

from octolite.ir.types import DType
from octolite.ops import REGISTRY
from octolite.ops.support import TYPES
from tests.conformance.campaign import Tally, campaign
from tests.conformance.faults import FAULTS
from tests.conformance.judge import Judge
from tests.conformance.tolerance import EXACT, ROWS
from tests.conformance.verdict import WRONG, Outcome
from tests.fuzz.guard import guarded


def figures(tallies: list[Tally]) -> list[str]:
    """What came of the examples, as a Markdown table: plain numbers, codes, and all."""
    groups = {
        "numbers and hybrid": [t for t in tallies if not t.name.endswith(" codes")],
        "codes": [t for t in tallies if t.name.endswith(" codes")],
        "all": tallies,
    }
    sums = {
        name: sum((t.outcomes for t in group), Counter[Outcome]()) for name, group in groups.items()
    }
    lines = [f"| | {' | '.join(groups)} |", "|---" * (len(groups) + 1) + "|"]
    rows = {"operators, or operator and type": [len(g) for g in groups.values()]}
    rows["examples"] = [s.total() for s in sums.values()]
    rows |= {outcome.value: [s[outcome] for s in sums.values()] for outcome in Outcome}
    return lines + [f"| {k} | {' | '.join(f'{n:,}' for n in v)} |" for k, v in rows.items()]


def tolerances() -> list[str]:
    """What float results are held to, as rows of Markdown."""
    said = [f"| {tolerance} | {' '.join(names.split())} |" for tolerance, names in ROWS]
    return [f"| {EXACT} | every operator that is not named below |", *said]


def faults() -> list[str]:
    """What LiteRT does not mean, as rows of Markdown."""
    return [f"| {' '.join(f.operators)} | {_listed(f.types)} | {f.reason} |" for f in FAULTS]


def _listed(types: Collection[DType]) -> str:
    missing = [t for t in TYPES if t not in types]
    if not missing:
        return "all"
    if len(missing) < len(types):
        return f"all but {' '.join(map(str, missing))}"
    return " ".join(map(str, types))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("operators", nargs="*", help="names (default: all)")
    parser.add_argument("--draws", type=int, default=500, help="examples of each operator")
    options = parser.parse_args()
    judge, tallies, start = Judge(), [], time.perf_counter()
    with guarded():
        for name in options.operators or sorted(REGISTRY):
            for tally in campaign(REGISTRY[name], options.draws, judge):
                tallies.append(tally)
                print(tally, flush=True)
    judge.close()
    print(f"\n{time.perf_counter() - start:.0f} s\n")
    print("\n".join([*figures(tallies), "", *tolerances(), "", *faults()]))
    return int(any(t.outcomes[o] for t in tallies for o in WRONG))


if __name__ == "__main__":
    sys.exit(main())
