"""``python -m tests.fuzz``: a campaign of mutants."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz.campaign import Report, campaign


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="another series of mutants")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--save", type=Path, default=Path("build/fuzz"), help="for what fails")
    options = parser.parse_args()
    start = time.monotonic()

    def tell(report: Report) -> None:
        spent = time.monotonic() - start
        print(
            f"{report.count:,} mutants, {len(report.failures)} failed, {spent:,.0f} s", flush=True
        )

    report = campaign(options.seed, options.mutants, options.jobs, options.save, tell)
    for outcome, count in report.outcomes.most_common():
        print(f"{count:8,}  {outcome}")
    print(f"slowest: {report.slowest:.1f} s; most memory: {report.largest >> 20} MiB; "
          f"of models {report.kinds['model']:,}, of graphs {report.kinds['graph']:,}")  # fmt: skip
    for origin, ran, refused in report.by_origin():
        print(f"{ran:8,} ran, {refused:8,} refused: {origin}")
    for number, outcome, detail in report.failures[:20]:
        print(f"\nmutant {options.seed}/{number}: {outcome}\n{detail[-1500:]}")
    return bool(report.failures)


if __name__ == "__main__":
    sys.exit(main())
