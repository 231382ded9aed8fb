"""``octolite bench``: the summary, the profile, the trace. Times are never judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import octolite
from octolite.cli import bench, profile
from octolite.cli.main import main as octolite_command
from octolite.cli.profile import Line
from octolite.ir.graph import Graph, Model
from octolite.ir.types import FLOAT32
from octolite.kernels.peak import Peak
from octolite.ops import operator_class
from octolite.tflite import write
from tests.cli.test_commands import LENET, call

PEAK = Peak("avx2", 1, 100.0, 50.0, 20.0, {"pmaddwd": 100.0, "fma": 50.0})


@pytest.fixture
def quantized(tmp_path: Path) -> Path:
    path = tmp_path / "lenet.tflite"
    path.write_bytes(octolite.convert(LENET.path))
    return path


def line(**given: Any) -> Line:
    facts = {
        "node": "a/b",
        "operator": "CONV_2D",
        "kernel": "dot",
        "isa": "avx2",
        "why": "float",
        "shape": (1, 2),
        "runs": (2.0, 1.0, 4.0),
        "macs": 0,
        "bytes": 0,
        "peak": 50.0,
    }
    return Line(**facts | given)  # type: ignore[arg-type]


def test_without_options_there_is_one_line(quantized: Path) -> None:
    output = call(octolite_command, "bench", quantized, "--runs", 2, "--threads", 1).output
    assert len(output.splitlines()) == 1
    assert "median" in output
    assert "1 thread" in output


def test_bench_says_for_which_sizes(tmp_path: Path) -> None:
    """A batch left open is one; what else is left open is said."""
    graph = Graph("main")
    x = graph.add_input("sound", FLOAT32, (None, None))
    graph.outputs = [graph.add(operator_class("ABS")(), [x], "y").output]
    path = tmp_path / "open.tflite"
    path.write_bytes(write(Model([graph], [])))
    first, second = call(octolite_command, "bench", path, "--runs", 2).output.splitlines()
    assert first == "input sound is 1×1; for other sizes --input sound=FILE.npy"
    assert "median" in second


@pytest.mark.parametrize(("ms", "shown"), [(0.0021, "2.1 µs"), (1.23456, "1.235 ms")])
def test_times_are_said_in_a_unit_that_fits(ms: float, shown: str, capsys) -> None:
    facts = dict.fromkeys(("min_ms", "p25_ms", "median_ms", "p75_ms", "max_ms"), ms)
    bench._show({"model": "m", "threads": 1, "runs": 5, **facts})
    assert f"median {shown}," in capsys.readouterr().out


def test_json_has_everything(quantized: Path) -> None:
    result = call(octolite_command, "bench", quantized, "--runs", 3, "--threads", 1, "--json")
    report = json.loads(result.output)
    assert report["runs"] == 3
    assert report["min_ms"] <= report["median_ms"] <= report["max_ms"]
    operators, peak = report["operators"], report["peak"]
    assert {r["operator"] for r in operators} >= {"CONV_2D", "FULLY_CONNECTED"}
    assert sum(r["share"] for r in operators) == pytest.approx(1, abs=0.01)
    assert sum(t["count"] for t in report["types"]) == len(operators)
    for row in operators:
        if row["macs"]:
            limit = peak["int8" if row["why"].startswith("hybrid") else "float32"]
            assert row["of_peak"] == pytest.approx(row["gmac_per_s"] / limit, abs=0.01)
            assert row["isa"] == peak["isa"]
            assert not row["kernel"].endswith(row["isa"])
        else:
            assert row["bytes"] > 0
            assert row["gb_per_s"] > 0


def test_the_profile_has_a_line_for_each_operator(quantized: Path) -> None:
    arguments = ("bench", quantized, "--runs", 2, "--threads", 1)
    count = len(json.loads(call(octolite_command, *arguments, "--json").output)["operators"])
    text = call(octolite_command, *arguments, "--profile").output
    table = text.split("slowest first")[1].split("By type")[0]
    assert len([row for row in table.splitlines() if "%" in row]) == count
    assert max(len(row.rstrip()) for row in table.splitlines()) <= profile.WIDTH
    assert "GMAC/s in int8" in text


@pytest.mark.parametrize("threads", [1, 2])
def test_the_trace_is_one_that_viewers_read(tmp_path: Path, quantized: Path, threads: int) -> None:
    path = tmp_path / "trace.json"
    arguments = ("bench", quantized, "--runs", 3, "--threads", threads, "--trace", path, "--json")
    operators = json.loads(call(octolite_command, *arguments).output)["operators"]
    trace = json.loads(path.read_text())
    complete = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    named = {e["tid"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    assert {e["ph"] for e in trace["traceEvents"]} == {"X", "M"}
    assert {e["tid"] for e in complete} == named <= set(range(threads))
    seen = {(e["args"]["run"], e["args"]["node"]) for e in complete}
    assert seen == {(run, o["node"]) for run in range(3) for o in operators}
    ends = dict.fromkeys(named, 0.0)
    for event in sorted(complete, key=lambda e: e["ts"]):
        assert {"name", "ts", "dur", "pid", "tid", "args"} <= event.keys()
        assert {"kernel", "shape", "step"} <= event["args"].keys()
        assert event["ts"] >= ends[event["tid"]] - 1e-6  # a thread does one thing at a time
        assert event["dur"] >= 0
        ends[event["tid"]] = event["ts"] + event["dur"]


def test_a_trace_that_cannot_be_written_is_an_error(tmp_path: Path, quantized: Path) -> None:
    path = tmp_path / "absent" / "trace.json"
    result = call(octolite_command, "bench", quantized, "--runs", 1, "--trace", path)
    assert result.exit_code == 2
    assert "cannot write" in result.output


def test_rates_are_of_the_median() -> None:
    found = line(macs=40_000, bytes=10).facts(total=8.0)
    assert (found["median_us"], found["share"]) == (2.0, 0.25)
    assert (found["gmac_per_s"], found["of_peak"], found["gb_per_s"]) == (20.0, 0.4, None)
    moving = line(bytes=4_000).facts(total=2.0)
    assert (moving["gmac_per_s"], moving["of_peak"], moving["gb_per_s"]) == (None, None, 2.0)


def test_totals_weigh_the_peaks_by_the_products() -> None:
    slow = line(macs=50_000, runs=(2.0,))  # half of 50 GMAC/s
    fast = line(macs=100_000, runs=(2.0,), peak=100.0)  # half of 100
    (total,) = profile.totals([slow, fast])
    assert (total["count"], total["median_us"], total["share"]) == (2, 4.0, 1.0)
    assert (total["gmac_per_s"], total["of_peak"]) == (37.5, 0.5)


def test_reasons_that_differ_in_numbers_are_told_together() -> None:
    lines = [line(why=f"hybrid: {n} cycles in int8, 9 in float") for n in (7, 3, 5)]
    (first, group), (second, _) = profile.reasons([*lines, line(why="float")])
    assert first == "hybrid: 3–7 cycles in int8, 9 in float"
    assert (group, second) == (lines, "float")


def test_names_are_shortened_where_they_say_least() -> None:
    names = ["net/block_1_expand/Relu6", "net/fc", "out"]
    assert profile.shorten(names, 20) == ["block_1_expand/Relu6", "fc", "out"]
    short = profile.shorten(names, 12)
    assert short == ["block_1_…lu6", "fc", "out"]
    assert max(map(len, short)) == 12
