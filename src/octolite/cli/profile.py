"""Where a model's time goes: a line for each operator, totals by type, reasons, a trace."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from octolite.cli import console

if TYPE_CHECKING:
    from octolite.ir.graph import Value
    from octolite.kernels.peak import Peak
    from octolite.runtime.context import Span, Timing
    from octolite.runtime.interpreter import Interpreter

WIDTH = 120
_GAP = 3
_NODE_WIDTHS = (12, 60)


@dataclass(frozen=True)
class Line:
    """What is known of one operator's runs.

    ``runs``: microseconds, run by run. ``macs``: products of a run. ``bytes``: of the tensors
    that are read and written while the model runs. ``peak``: 10⁹ products a second that the
    machine can do in this arithmetic. ``spans``: what threads did, run by run.
    """

    node: str
    operator: str
    kernel: str
    isa: str
    why: str
    shape: tuple[int, ...]
    runs: tuple[float, ...]
    macs: int
    bytes: int
    peak: float
    spans: tuple[list[Span], ...] = ()

    @property
    def microseconds(self) -> float:
        """The median of the runs."""
        return float(np.median(self.runs))

    @property
    def gmac_per_s(self) -> float | None:
        return _rate(self.macs, self.microseconds)

    @property
    def gb_per_s(self) -> float | None:
        """Of operators without products."""
        return None if self.macs else _rate(self.bytes, self.microseconds)

    @property
    def of_peak(self) -> float | None:
        """Part of the machine's peak; over 1 where a kernel gets by with fewer products."""
        return None if self.gmac_per_s is None else self.gmac_per_s / self.peak

    def facts(self, total: float) -> dict[str, Any]:
        """For machines; ``total``: microseconds of all operators."""
        return {
            "node": self.node,
            "operator": self.operator,
            "kernel": self.kernel,
            "isa": self.isa,
            "why": self.why,
            "shape": list(self.shape),
            "median_us": round(self.microseconds, 2),
            "share": _rounded(self.microseconds / total if total else 0.0, 4),
            "macs": self.macs,
            "bytes": self.bytes,
            "gmac_per_s": _rounded(self.gmac_per_s, 2),
            "of_peak": _rounded(self.of_peak, 4),
            "gb_per_s": _rounded(self.gb_per_s, 2),
        }


def take(interpreter: Interpreter, runs: int, peak: Peak) -> list[Line]:
    """Run the model ``runs`` times and gather what each operator took, in the order they ran."""
    details = interpreter.get_tensor_details()

    def shape(value: Value) -> tuple[int, ...]:
        return tuple(int(d) for d in details[interpreter.index_of(value)]["shape"])

    return [_line(timing, shape, peak) for timing in interpreter.profile(runs)]


def _line(timing: Timing, shape: Callable[[Value], tuple[int, ...]], peak: Peak) -> Line:
    unit = timing.unit
    results = unit.node.outputs
    moving = [v for v in (*unit.read_inputs, *results) if v.data is None]
    isa = "" if unit.kernel is None else peak.isa
    return Line(
        node=unit.node.name,
        operator=unit.op.name,
        kernel=timing.label.removesuffix(f" {isa}") if isa else timing.label,
        isa=isa,
        why=unit.choice,
        shape=shape(results[0]) if results else (),
        runs=tuple(spent / 1e3 for spent in timing.nanoseconds),
        macs=timing.macs,
        bytes=sum(math.prod(shape(v)) * v.dtype.numpy.itemsize for v in moving),
        spans=tuple(timing.spans),
        peak=peak.int8 if unit.choice.startswith("hybrid") else peak.float32,
    )


def totals(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """Operators by type, the slowest first."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.operator, []).append(line)
    whole = sum(line.microseconds for group in groups.values() for line in group) or 1.0
    found = []
    for operator, group in groups.items():
        spent, macs = sum(g.microseconds for g in group), sum(g.macs for g in group)
        least = sum(g.macs / g.peak / 1e3 for g in group)  # microseconds at the peak
        moved = 0 if macs else sum(g.bytes for g in group)
        found.append(
            {
                "operator": operator,
                "count": len(group),
                "median_us": round(spent, 2),
                "share": round(spent / whole, 4),
                "gmac_per_s": _rounded(_rate(macs, spent), 2),
                "of_peak": round(least / spent, 4) if macs and spent else None,
                "gb_per_s": _rounded(_rate(moved, spent), 2),
            }
        )
    return sorted(found, key=lambda t: -t["median_us"])


def reasons(lines: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    """Lines by why they run as they do; reasons that differ only in numbers are one, which then
    has the range of each number."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(_NUMBER.sub("#", line.why), []).append(line)
    return [(_range([g.why for g in group]), group) for group in groups.values()]


_NUMBER = re.compile(r"(?<![\w.])\d+\b")


def _range(texts: list[str]) -> str:
    """One text for several that differ in numbers: ``3–17 of 20``."""
    columns = zip(*([int(n) for n in _NUMBER.findall(t)] for t in texts), strict=True)
    ranges = iter([(min(c), max(c)) for c in columns])

    def told(_: re.Match[str]) -> str:
        low, high = next(ranges)
        return f"{low}" if low == high else f"{low}–{high}"

    return _NUMBER.sub(told, texts[0])


def report(lines: list[Line], peak: Peak) -> dict[str, Any]:
    """Everything, for machines."""
    whole = sum(line.microseconds for line in lines)
    return {
        "peak": asdict(peak),
        "operators": [line.facts(whole) for line in lines],
        "types": totals(lines),
    }


# For people --------------------------------------------------------------------------------------


def show(lines: list[Line], peak: Peak) -> None:
    """Print the operators, the totals by type and the reasons, in 120 columns."""
    groups = reasons(lines)
    letters = {id(line): _letter(i) for i, (_, group) in enumerate(groups) for line in group}
    whole = sum(line.microseconds for line in lines) or 1.0
    rows = []
    for line in sorted(lines, key=lambda line: -line.microseconds):
        facts = line.facts(whole)
        rows.append([line.operator, line.node, *_figures(facts), line.kernel, line.isa or "–"])
        rows[-1].append(letters[id(line)])
    others = sum(
        max(map(len, column)) for i, column in enumerate(zip(*rows, strict=True)) if i != 1
    )
    room = WIDTH - others - _GAP * (len(_COLUMNS) - 1)
    low, high = _NODE_WIDTHS
    names = [row[1] for row in rows]
    for row, name in zip(rows, shorten(names, min(max(room, low), high)), strict=True):
        row[1] = name
    _print("By operator, slowest first", _COLUMNS, rows)
    kinds = [[t["operator"], str(t["count"]), *_figures(t)] for t in totals(lines)]
    _print("By type", ("operator", ">count", *_FIGURES), kinds)
    why = [
        [_letter(i), text, str(len(group)), f"{sum(g.microseconds for g in group) / whole:.1%}"]
        for i, (text, group) in enumerate(groups)
    ]
    _print("Why", ("", "reason", ">operators", ">share"), why)
    tiles = ", ".join(f"{name} {rate:.0f}" for name, rate in peak.tiles.items())
    click.echo(
        f"Peak of {peak.threads} thread{'s' if peak.threads != 1 else ''} on {peak.isa}, measured: "
        f"{peak.int8:.0f} GMAC/s in int8, {peak.float32:.0f} in float ({tiles}); "
        f"{peak.memory:.0f} GB/s from and to memory."
    )


_FIGURES = (">µs", ">share", ">rate", ">of peak")
_COLUMNS = ("operator", "node", *_FIGURES, "kernel", "ISA", "why")


def _figures(facts: dict[str, Any]) -> list[str]:
    rate = ""
    if facts["gmac_per_s"] is not None:
        rate = f"{facts['gmac_per_s']:.1f} GMAC/s"
    elif facts["gb_per_s"] is not None:
        rate = f"{facts['gb_per_s']:.1f} GB/s  "
    part = "" if facts["of_peak"] is None else f"{facts['of_peak']:.0%}"
    return [f"{facts['median_us']:.1f}", f"{facts['share']:.1%}", rate, part]


def _print(title: str, columns: tuple[str, ...], rows: list[list[str]]) -> None:
    table = console.table(title, *columns)
    table.collapse_padding, table.pad_edge = True, False
    for row in rows:
        table.add_row(*row)
    console.show(table)


def _letter(index: int) -> str:
    """a, b, … z, aa, ab, …"""
    first, last = divmod(index, 26)
    return (_letter(first - 1) if first else "") + chr(ord("a") + last)


def shorten(names: list[str], room: int) -> list[str]:
    """Names in ``room`` characters: without the scope that most share, then without a part behind
    the middle."""
    first = Counter(name.split("/", 1)[0] + "/" for name in names if "/" in name)
    scope, count = first.most_common(1)[0] if first else ("", 0)
    short = [n.removeprefix(scope) for n in names] if 2 * count > len(names) else names
    tail = (room - 1) // 3
    head = room - 1 - tail
    return [n if len(n) <= room else f"{n[:head]}…{n[len(n) - tail :]}" for n in short]


# For a trace viewer ------------------------------------------------------------------------------


def trace(model: str, lines: list[Line]) -> dict[str, Any]:
    """What each thread did, in the Trace Event format: for Perfetto, chrome://tracing."""
    spans = [
        (line, run, span) for line in lines for run, of in enumerate(line.spans) for span in of
    ]
    zero = min((span.start for _, _, span in spans), default=0)
    named = {"": f"octolite {model}"} | {s.thread: f"thread {s.thread}" for _, _, s in spans}
    events = [_name(thread, text) for thread, text in named.items()]
    events += [_event(line, run, span, zero) for line, run, span in spans]
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _name(thread: int | str, text: str) -> dict[str, Any]:
    """Metadata: what a thread is called, or ("") the process."""
    kind = "process_name" if thread == "" else "thread_name"
    return {"ph": "M", "pid": 1, "tid": thread or 0, "name": kind, "args": {"name": text}}


def _event(line: Line, run: int, span: Span, zero: int) -> dict[str, Any]:
    """``GMAC/s`` and ``GB/s`` are of all threads, over the operator's whole time in this run."""
    spent = line.runs[run]
    arguments = {
        "node": line.node,
        "step": span.step,
        "run": run,
        "kernel": line.kernel,
        "isa": line.isa,
        "shape": list(line.shape),
        "GMAC/s": _rounded(_rate(line.macs, spent), 2),
        "GB/s": None if line.macs else _rounded(_rate(line.bytes, spent), 2),
        "why": line.why,
    }
    return {
        "ph": "X",
        "pid": 1,
        "tid": span.thread,
        "cat": "operator",
        "name": line.operator,
        "ts": (span.start - zero) / 1e3,
        "dur": (span.end - span.start) / 1e3,
        "args": {name: value for name, value in arguments.items() if value not in (None, "")},
    }


# Small things ------------------------------------------------------------------------------------


def _rate(amount: float, microseconds: float) -> float | None:
    """10⁹ a second."""
    return amount / microseconds / 1e3 if amount and microseconds else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
