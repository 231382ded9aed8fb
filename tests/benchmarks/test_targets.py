"""What is promised, checked against figures that are made up."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from benchmarks import report
from benchmarks.__main__ import tell
from benchmarks.models import ROWS
from benchmarks.targets import TARGETS, check


def timing(median: float) -> dict[str, float]:
    return {"median": median, "low": median, "high": median, "least": median}


def row(name: str = "fc64", **medians: float) -> dict[str, Any]:
    """A row that keeps every promise; ``medians`` replaces some contenders' milliseconds."""
    times = {
        "LiteRT float": 10.0,
        "LiteRT hybrid": 9.0,
        "ONNX Runtime int8": 5.0,
        "OpenVINO float": 9.0,
        "Octolite float": 8.0,
        "Octolite hybrid": 2.0,
    } | {key.replace("_", " "): value for key, value in medians.items()}
    return {
        "name": name,
        "title": name,
        "threads": 1,
        "base": "LiteRT float",
        "timings": {n: timing(t) for n, t in times.items()},
        "speedup": {n: times["LiteRT float"] / t for n, t in times.items()},
        "sqnr": {"LiteRT hybrid": 40.0, "ONNX Runtime int8": 38.0, "Octolite hybrid": 39.6},
        "kernels": {"float": ["float dot fma"], "hybrid": ["hybrid dot"]},
    }


def table(*rows: dict[str, Any], isa: str = "avx2") -> dict[str, Any]:
    return {"cpu": "a CPU", "isa": isa, "threads": 1, "rounds": 3, "rows": list(rows)}


STARTUP = {
    "name": "resnet50",
    "title": "ResNet-50",
    "file": "hybrid",
    "threads": 1,
    "cold_seconds": 1.9,
    "warm_seconds": 0.14,
    "litert_seconds": 0.1,
    "memory_mb": 129.0,
    "litert_memory_mb": 100.0,
}


def test_every_target_is_of_a_row() -> None:
    assert TARGETS.keys() <= {r.name for r in ROWS}
    for target in TARGETS.values():
        assert target.hybrid < target.stretch
        assert target.winograd is None or target.winograd > target.plain


def test_kept_promises_leave_nothing_to_say() -> None:
    assert check([table(*(row(name) for name in TARGETS))], [STARTUP]) == []


@pytest.mark.parametrize("name", TARGETS)
def test_each_row_has_its_own_ratios(name: str) -> None:
    target = TARGETS[name]
    slow = row(name, Octolite_hybrid=10.1 / target.hybrid, Octolite_float=10.1 / target.plain)
    slow["timings"]["ONNX Runtime int8"] = timing(100.0)
    first, second = check([table(slow)])
    assert f"{target.hybrid:.1f}× promised" in first
    assert f"{target.plain:.1f}× promised" in second
    assert check([table(slow, isa="avx512vnni")]) == []


def test_winograd_has_more_to_keep() -> None:
    quick = row("conv3x3", Octolite_float=7.0)
    assert check([table(quick)]) == []
    quick["kernels"]["float"] = ["float winograd avx2"]
    (missed,) = check([table(quick)])
    assert "1.8× promised" in missed


def test_speed_is_not_bought_with_quality() -> None:
    bad = row("lstm")
    bad["sqnr"]["Octolite hybrid"] = 39.4
    (missed,) = check([table(bad, isa="avx512vnni")])
    assert "SQNR is 39.4 dB" in missed


@pytest.mark.parametrize("rival", ["ONNX Runtime int8", "OpenVINO float"])
def test_rivals_are_to_be_beaten_where_they_are(rival: str) -> None:
    beaten = row("rnn")
    beaten["timings"][rival] = timing(1.0)
    (missed,) = check([table(beaten)])
    assert rival in missed
    del beaten["timings"][rival]
    assert check([table(beaten)]) == []


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"warm_seconds": 0.16}, "1.60×"),
        ({"cold_seconds": 2.1}, "without a cache"),
        ({"memory_mb": 131.0}, "31 MB above"),
    ],
)
def test_starting_costs_no_more_than_promised(figures: dict[str, float], words: str) -> None:
    (missed,) = check([], [STARTUP | figures])
    assert words in missed
    assert missed.startswith("ResNet-50, hybrid: ")


def test_the_exit_code_tells(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell([]) == 0
    assert tell(["this", "that"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == ["missed: this", "missed: that"]


def test_tables_have_what_was_measured() -> None:
    absent = copy.deepcopy(row("lstm"))
    del absent["timings"]["OpenVINO float"]
    text = report.markdown({"tables": [table(row(), absent)], "startup": [STARTUP]})
    lines = text.splitlines()
    first, rule, second, third = lines[2:6]
    assert {line.count("|") for line in (first, rule, second, third)} == {1 + 1 + 6 + 3}
    assert "| OpenVINO float |" in first
    assert "2.000 ±0% (5.00×)" in second
    assert "| – |" in third
    assert "1.40×" in lines[-1]


def test_tables_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    report.show({"tables": [table(row())], "startup": [STARTUP]})
    shown = capsys.readouterr().out
    assert "1 thread; Octolite uses avx2" in " ".join(shown.split())
    assert "ResNet-50" in shown


@pytest.mark.parametrize(("ours", "missed"), [(0.9, 0), (1.1, 1)])
def test_codes_are_not_slower_than_the_reference_kernels(ours: float, missed: int) -> None:
    coded = row("int8_fc64") | {"base": "LiteRT"}
    coded["timings"] = {"LiteRT reference": timing(1.0), "Octolite": timing(ours)}
    assert len(check([table(coded)])) == missed
