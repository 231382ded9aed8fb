"""``python -m benchmarks``: our latency and quality beside those of other run times."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import avx2, contenders, measure, report, startup, targets
from benchmarks.models import ROWS, AnyRow, Coded, Frozen, Network


def main() -> None:
    options = _arguments()
    rows = _rows(options)
    limited = avx2.Limit(_packages(rows)) if options.avx2 else None
    found: dict[str, Any] = {"tables": _tables(rows, options), "startup": []}
    if limited is not None and limited.unasked():
        raise SystemExit(f"not known to be kept to AVX2: {', '.join(limited.unasked())}")
    if options.startup or options.check:
        networks = [row for row in rows if isinstance(row, Network | Frozen)]
        found["startup"] = [line for row in networks for line in startup.measure(row, 1, 5)]
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    if options.markdown:
        print(report.markdown(found))
    else:
        report.show(found)
    if options.check:
        raise SystemExit(tell(targets.check(found["tables"], found["startup"])))


def tell(missed: Sequence[str]) -> int:
    """Print what was promised and missed; gives the exit code."""
    print("\n".join(f"missed: {what}" for what in missed) or "All targets are met.")
    return 1 if missed else 0


def _rows(options: argparse.Namespace) -> list[AnyRow]:
    if options.network:
        return [Frozen(path) for path in options.network]
    wanted = set(options.rows or (row.name for row in ROWS))
    if "codes" in wanted:
        wanted |= {row.name for row in ROWS if isinstance(row, Coded)}
    return [row for row in ROWS if row.name in wanted]


def _contenders(row: AnyRow) -> tuple[contenders.Contender, ...]:
    return contenders.CODED if isinstance(row, Coded) else contenders.ALL


def _packages(rows: Sequence[AnyRow]) -> set[str]:
    """What the contenders of ``rows`` are in."""
    return {package for row in rows for each in _contenders(row) for package in each.packages}


def _tables(rows: Sequence[AnyRow], options: argparse.Namespace) -> list[dict[str, Any]]:
    """A table for each number of threads and each set of contenders; a model is made once for all
    of them."""
    tables = []
    for everyone in (contenders.ALL, contenders.CODED):
        present = [c for c in everyone if c.installed]
        those = [row for row in rows if _contenders(row) is everyone]
        found: list[dict[str, Any]] = [
            {**measure.machine(), "threads": threads, "rounds": options.runs, "rows": []}
            for threads in options.threads
            if those
        ]
        for row in those:
            files = row.files()
            for table in found:
                result = measure.measure(row, files, present, table["threads"], options.runs)
                table["rows"].append(result.plain())
        tables += found
    return tables


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="a table for each")
    parser.add_argument("--runs", type=int, default=60, help="rounds; a round is a turn of each")
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=["codes", *(row.name for row in ROWS)],
        help="codes: all that are in codes throughout",
    )
    parser.add_argument(
        "--avx2", action="store_true", help="hide newer instruction sets from all contenders"
    )
    parser.add_argument(
        "--network",
        type=Path,
        action="append",
        default=[],
        metavar="MODEL.pb",
        help="time this frozen graph instead of the built-in rows; may be repeated",
    )
    parser.add_argument("--startup", action="store_true", help="also time loading the networks")
    parser.add_argument(
        "--check", action="store_true", help="fail when a target is missed, of loading as well"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    return parser.parse_args()


if __name__ == "__main__":
    main()
