"""``python -m benchmarks``: our float and hybrid latency beside LiteRT's."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import avx2
from benchmarks.measure import CONTENDERS, Result, machine, measure
from benchmarks.models import ROWS, Network


def main() -> None:
    options = _arguments()
    limited = avx2.limit() if options.avx2 else None
    about = {**machine(), "threads": options.threads, "runs": options.runs}
    layers = [row for row in ROWS if not options.rows or row.name in options.rows]
    chosen = [Network(path) for path in options.network] or layers
    results = [measure(row, options.threads, options.runs) for row in chosen]
    if options.json:
        data = {**about, "rows": [_plain(r) for r in results]}
        options.json.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    if limited is not None and not limited.answered():
        raise SystemExit("LiteRT asked for the CPU's features before they could be hidden")
    print_ = _markdown if options.markdown else _table
    print_(results, about)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=60, help="rounds; a round is a turn of each")
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS])
    parser.add_argument(
        "--avx2", action="store_true", help="hide newer instruction sets from both sides"
    )
    parser.add_argument(
        "--network",
        type=Path,
        action="append",
        default=[],
        metavar="MODEL.pb",
        help="time this frozen graph instead of the layers; may be repeated",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    return parser.parse_args()


def _plain(result: Result) -> dict[str, object]:
    return {
        "name": result.row.name,
        "title": result.row.title,
        "milliseconds": {n: dataclasses.asdict(t) for n, t in result.timings.items()},
        "speedup_over_litert_float": {n: result.speedup(n) for n in result.timings},
        "float_error": result.float_error,
        "hybrid_sqnr_db": result.hybrid_sqnr,
    }


def _cells(result: Result) -> list[str]:
    cells = [result.row.title]
    for name in CONTENDERS:
        timing = result.timings[name]
        spread = 50 * (timing.high - timing.low) / timing.median
        times = "" if name == "LiteRT float" else f" ({result.speedup(name):.2f}×)"
        cells.append(f"{timing.median:.3f} ±{spread:.0f}%{times}")
    return [*cells, f"{result.hybrid_sqnr:.1f}"]


_HEADINGS = ("milliseconds, median ± half the interquartile range", *CONTENDERS, "SQNR, dB")


def _caption(about: dict[str, object]) -> str:
    threads = about["threads"]
    return (
        f"{about['cpu']}, {threads} thread{'s' if threads != 1 else ''}; Octolite uses "
        f"{about['isa']}. In brackets: times as fast as LiteRT float."
    )


def _table(results: list[Result], about: dict[str, object]) -> None:
    table = Table(*_HEADINGS, caption=_caption(about))
    for result in results:
        table.add_row(*_cells(result))
    Console(width=140).print(table)


def _markdown(results: list[Result], about: dict[str, object]) -> None:
    print(_caption(about) + "\n")
    print("| " + " | ".join(_HEADINGS) + " |")
    print("|---" * len(_HEADINGS) + "|")
    for result in results:
        print("| " + " | ".join(_cells(result)) + " |")


if __name__ == "__main__":
    main()
