"""Pages of HTML: what they show, that they need nothing else, and that names stay names."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import octolite
from octolite import Recipe, Rule, tflite
from octolite.cli.main import main
from octolite.errors import UsageError
from octolite.evaluation.compare import Comparison, compare
from octolite.evaluation.evaluate import evaluate
from octolite.evaluation.layers import Difference, Layer
from octolite.evaluation.report import (
    Pictures,
    Race,
    charts,
    distributions,
    examine,
    page,
    race,
    render,
)
from octolite.evaluation.report.blocks import told_apart, written
from octolite.evaluation.sensitivity import Sensitivity, sensitivity
from octolite.ir.graph import Value
from octolite.ir.types import FLOAT32
from tests.evaluation.networks import BROKEN, Network, classifier, images
from tests.evaluation.pages import Parsed

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></title></svg>{{ 7 * 7 }}{0}",
)
PER_TENSOR = Recipe("broken", rules=(Rule.of("DEPTHWISE_CONV_2D", granularity="tensor"),))
FIELDS: dict[str, Any] = {"input_fields": ["images"], "label_field": "labels"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Networks that read digits: in float, and with eleven values for each weight, which errs
    more often."""
    folder = tmp_path_factory.mktemp("digits")
    paths = folder / "float.tflite", folder / "quantized.tflite"
    content = octolite.convert(DIGITS / "digits.pb", "none")
    paths[0].write_bytes(content)
    model = tflite.read(content)
    for value in model.main.constants():
        if value.dtype is FLOAT32 and value.data is not None and value.data.size > 1000:
            step = np.abs(value.data).max() / 5.5
            value.data = (np.rint(value.data / step) * step).astype(np.float32)
    paths[1].write_bytes(octolite.convert(tflite.write(model)))
    return paths


def hostile(name: str) -> bytes:
    net = Network()
    x = net.graph.add_input(name, FLOAT32, (1, 12, 12, 3))
    y = net.conv(x, 32, 3, f"{name}/conv")
    y = net.add(
        "MEAN",
        [y, Value.constant("a", np.array([1, 2], np.int32))],
        f"{name}/mean",
    )
    return net.content(net.dense(y, 32, 40, f"{name}/dense"))


# -- what is shown --------------------------------------------------------------------------------


def test_everything_of_two_models_is_on_one_page(digits: tuple[Path, Path]) -> None:
    found = examine(
        *digits, DIGITS / "holdout.npz", recipe="dynamic", samples=4, num_threads=1, **FIELDS
    )
    text = render(*found.findings, subtitle="this & that", pictures=found.pictures)
    seen = Parsed(text)
    assert seen.sections() == [
        "accuracy", "classes", "worst", "layers", "sizes", "sensitivity", "weights"
    ]  # fmt: skip
    assert "this & that" in seen.text
    sizes = [path.stat().st_size for path in digits]
    assert f"{100 * sizes[1] / sizes[0]:.1f} % of {sizes[0] / 1e3:.1f} kB" in seen.text
    assert "Latency" in seen.text
    evaluation = found.findings[0]
    for model in evaluation.models:
        assert str(model.metrics.accuracy) in seen.text
    assert len(seen.of("img")) == min(
        24, sum(row.results[-1][1] > 1 for row in evaluation.rows)
    )  # fmt: skip


def test_classes_that_changed_most_come_first(digits: tuple[Path, Path]) -> None:
    found = evaluate("classification", digits, DIGITS / "holdout.npz", **FIELDS)
    before, after = (
        {c.label: c.recall for c in model.metrics.per_class()}  # type: ignore[attr-defined]
        for model in found.models
    )
    rows = Parsed(render(found)).table("class", "samples", "float", "quantized")
    changes = {label: after[label].value - before[label].value for label in before}
    assert any(changes.values())
    assert sorted(map(abs, changes.values()), reverse=True) == [abs(changes[r[0]]) for r in rows]
    for label, count, first, second, change, _precision in rows:
        assert int(count) == before[label].total
        assert first == f"{100 * before[label].value:.1f} %"
        assert second == f"{100 * after[label].value:.1f} %"
        expected = f"{100 * changes[label]:+.1f}".replace("-", "−") if changes[label] else "±0"
        assert change == expected


def test_worst_samples_are_first_those_that_were_lost(digits: tuple[Path, Path]) -> None:
    found = evaluate("classification", digits, DIGITS / "holdout.npz", **FIELDS)
    pictures = Pictures.of_data(DIGITS / "holdout.npz", ["images"], "labels")
    seen = Parsed(render(found, pictures=pictures))
    shown = [a["alt"] for a in seen.of("img")]
    lost = {r.name for r in found.rows if r.results[0][1] == 1 != r.results[1][1]}
    assert lost
    assert set(shown[: len(lost)]) == lost
    rows = {row.name: row for row in found.rows}
    places = [rows[str(name)].results[1][1] for name in shown]
    assert all(place > 1 for place in places)
    assert places[: len(lost)] == sorted(places[: len(lost)], reverse=True)


def test_a_picture_is_the_sample() -> None:
    with np.load(DIGITS / "holdout.npz") as data:
        image = data["images"][3].reshape(8, 8).astype(float)
    uri = Pictures.of_data(DIGITS / "holdout.npz", ["images"], "labels").of("3")
    kind, _, content = uri.partition(",")
    assert kind == "data:image/png;base64"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("L"), float)
    assert np.abs(shown - 255 * (image - image.min()) / np.ptp(image)).max() <= 1


def test_pictures_of_files_are_small(tmp_path: Path) -> None:
    Image.effect_noise((900, 600), 60).convert("RGB").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    pictures = Pictures.of_data(tmp_path)
    content = base64.b64decode(pictures.of("a.png").partition(",")[2])
    assert Image.open(io.BytesIO(content)).size == (160, 107)
    assert pictures.of("b.png") == pictures.of("no such sample") == Pictures().of("a.png") == ""


def test_the_broken_layer_comes_first_everywhere() -> None:
    plain = classifier(300.0)
    small = octolite.convert(plain, PER_TENSOR)
    x = images(4)
    seen = Parsed(
        render(
            compare(plain, small, x), sensitivity(plain, PER_TENSOR, x), distributions(plain, small)
        )
    )
    name = told_apart([BROKEN])[BROKEN]
    assert seen.table("layer", "operator", "weights in", "weights, dB")[0][0].endswith(name)
    assert seen.table("rank", "layer")[0][1].endswith(name)
    worst = distributions(plain, small).layers[0]
    assert worst.name == BROKEN
    assert worst.format == "int8 per tensor"
    assert f"leaving {BROKEN} in float gains most" in seen.text


def test_layers_are_linked_to_their_rows() -> None:
    plain = classifier()
    found = compare(plain, octolite.convert(plain), images(2))
    seen = Parsed(render(found))
    rows = {a["id"] for a in seen.of("tr") if "id" in a}
    links = [a["href"] for a in seen.of("a") if str(a["href"]).startswith("#layer-")]
    assert len(links) == len(found.layers)
    assert {str(link)[1:] for link in links} == rows


def test_pages_of_tasks_without_classes_show_what_lies_behind_their_figures(tmp_path: Path) -> None:
    net = Network()
    x = net.graph.add_input("x", FLOAT32, (1, 3))
    path = tmp_path / "m.tflite"
    path.write_bytes(net.content(net.dense(x, 3, 1, "y")))
    rng = np.random.default_rng(1)
    np.savez(
        tmp_path / "d.npz", x=rng.normal(size=(20, 3)).astype(np.float32), y=rng.normal(size=20)
    )
    found = evaluate("regression", path, tmp_path / "d.npz", input_fields=["x"], label_field="y")
    seen = Parsed(render(found))
    for name, value in found.metrics.figures().items():
        assert name in seen.text
        assert value in seen.text


def test_a_race_tells_who_is_faster() -> None:
    found = race(classifier(), octolite.convert(classifier()), num_threads=1, runs=3)
    assert 0 < found.before.least <= found.before.median
    assert found.threads == 1
    slow = Race(found.before, type(found.before)(*(4 * v for v in _parts(found.before))), 2)
    seen = Parsed(render(slow))
    assert "0.25× as fast, 2 threads" in seen.text
    assert any("bad" in str(a.get("class")) for a in seen.of("div"))


def _parts(latency: Any) -> list[float]:
    return [latency.median, latency.mean, latency.deviation, latency.least]


# -- nothing else is needed, and names stay names -------------------------------------------------


def test_a_page_needs_nothing_else(digits: tuple[Path, Path]) -> None:
    text = render(evaluate("classification", digits, DIGITS / "holdout.npz", **FIELDS))
    seen = Parsed(text)
    assert not seen.of("link")
    addresses = [
        a[key] for _, a in seen.tags for key in ("src", "href", "action", "srcset") if key in a
    ]
    assert all(str(a).startswith(("#", "data:image/")) for a in addresses)
    assert not re.search(r"url\(|@import|https?://", text)
    (policy,) = [a["content"] for a in seen.of("meta") if "http-equiv" in a]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    for tag in ("script", "style"):
        (own,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def assert_harmless(text: str) -> Parsed:
    """Whatever names there are, the page has its own tags and attributes only."""
    seen = Parsed(text)
    assert len(seen.of("script")) == len(seen.of("style")) == 1
    assert all(str(a["src"]).startswith("data:image/") for a in seen.of("img"))
    assert not [a for _, a in seen.tags if any(key.startswith("on") for key in a)]
    return seen


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_layers_stay_names(name: str) -> None:
    plain = hostile(name)
    small = octolite.convert(plain)
    findings = compare(plain, small), sensitivity(plain), distributions(plain, small)
    seen = assert_harmless(render(*findings, title=name, subtitle=name))
    assert name in seen.text
    titles = [a["title"] for _, a in seen.tags if "title" in a]
    assert any(name in str(title) for title in titles)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_samples_classes_and_models_stay_names(
    name: str, digits: tuple[Path, Path], tmp_path: Path
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{name} {i}\n" for i in range(10)))
    safe = name.replace("/", "∕")
    models = []
    for path in digits:
        models.append(tmp_path / f"{path.stem}{safe}.tflite")
        models[-1].write_bytes(path.read_bytes())
    folder = tmp_path / "data"
    with np.load(DIGITS / "holdout.npz") as data:
        for i in range(40):
            place = folder / f"{safe} {data['labels'][i]}"
            place.mkdir(parents=True, exist_ok=True)
            pixels = (data["images"][i].reshape(8, 8) * 15).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{safe}{i}.png")
    steps = "resize=8x8,channels=gray,mean=0,std=15.9375"
    found = evaluate("classification", models, folder, preprocess=steps)
    seen = assert_harmless(render(found, pictures=Pictures.of_data(folder)))
    assert f"{safe} 3" in seen.text
    assert models[0].stem in seen.text


# -- drawings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (-3, 47, [0, 10, 20, 30, 40]),
        (0, 0.04, [0, 0.01, 0.02, 0.03, 0.04]),
        (5, 5, [5]),
        (0, math.inf, [0]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert charts.ticks(low, high) == pytest.approx(expected)


def numbers(drawing: str, pattern: str) -> list[float]:
    return [float(n) for n in re.findall(pattern, drawing)]


def test_bars_are_as_long_as_their_shares() -> None:
    assert numbers(charts.bar(0.25, of=0.5), r'width="([\d.]+)" height') == [50, 25]
    assert numbers(charts.bar(7.0), r'width="([\d.]+)" height') == [100]
    assert numbers(charts.bar(math.nan), r'width="([\d.]+)" height') == [0]
    worse = charts.diverging(-0.5)
    assert 'class="worse" x="25" width="25"' in worse
    assert 'class="better" x="50" width="50"' in charts.diverging(1.0)


def test_a_histogram_draws_the_roots_of_counts() -> None:
    before = np.repeat([-1.0, 0.0, 1.0], [16, 4, 1]).astype(np.float32)
    drawing = charts.histogram(before, np.zeros(9, np.float32), bins=3)
    tops = [float(y) for y in re.findall(r"[L ][\d.]+,([\d.]+)", drawing.split('class="step"')[0])]
    heights = [68 - y for y in tops[1:-1:2]]
    assert heights == pytest.approx([64, 32, 16])
    assert "−1" in drawing
    steps = numbers(drawing.split('points="')[1].split('"')[0], r",([\d.]+)")
    assert [68 - y for y in steps[::2]] == pytest.approx([0, 48, 0])


def test_a_histogram_of_nothing_finite_is_flat() -> None:
    drawing = charts.histogram(np.array([np.nan, np.inf], np.float32), np.zeros(0, np.float32))
    assert "nan" not in drawing


def test_a_profile_breaks_where_nothing_is_known_and_caps_what_is_exact() -> None:
    points = [
        charts.Point(f"p{i}", f"a{i}", value, value)
        for i, value in enumerate([math.inf, 40.0, None, 20.0, -math.inf, 10.0])
    ]
    drawing = charts.profile(points, "SQNR", "input")
    assert drawing.count("<polyline") == 2
    assert drawing.count("<circle") == 5
    heights = numbers(drawing, r'cy="([\d.]+)"')
    assert heights[0] < heights[1] < heights[2] < heights[4] < heights[3]
    assert not re.search("nan|inf", drawing)


def test_layers_without_figures_are_shown_too() -> None:
    row = Layer(0, "alone", "CUSTOM")
    exact = Layer(1, "b", "ADD", total=Difference(4, math.inf, 0, 0, 0, 1))
    found = Comparison((row, exact), (), ("CUSTOM 'alone'",), ("ADD 'x'",), 100, 60, 1)
    seen = Parsed(render(found))
    assert "Of the quantized model, not found in the float one: CUSTOM 'alone'." in seen.text
    assert "No layer adds an error." in seen.text
    assert [r[1] for r in seen.table("#", "layer")] == ["alone", "b"]
    nothing = Parsed(render(Sensitivity((), "sqnr", "dB", math.inf, math.inf, 1)))
    assert "The recipe quantizes no layer." in nothing.text


def test_names_are_told_apart_by_their_ends() -> None:
    names = ["net/a/conv", "net/a/norm", "Softmax"]
    assert told_apart(names) == {"net/a/conv": "conv", "net/a/norm": "norm", "Softmax": "Softmax"}
    assert told_apart(["x" * 60])["x" * 60] == "…" + "x" * 43
    assert told_apart([]) == {}
    assert [written(v) for v in (-1.5, math.inf, -math.inf)] == ["−1.50", "∞", "−∞"]


# -- commands -------------------------------------------------------------------------------------


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_commands_write_pages(digits: tuple[Path, Path], tmp_path: Path) -> None:
    data = ["--data", DIGITS / "holdout.npz", "--input_field", "images", "--label_field", "labels"]
    models = ["--models", digits[0], "--models", digits[1], "--quiet"]
    commands: dict[str, tuple[list[Any], set[str]]] = {
        "a": (["report", *digits, *data, "--samples", 2], {"accuracy", "sensitivity", "weights"}),
        "b": (["report", *digits, "--recipe", "none"], {"layers", "weights"}),
        "c": (["evaluate", "classification", *models, *data], {"accuracy", "worst"}),
        "d": (["compare", *digits], {"layers", "sizes", "weights"}),
        "e": (["sensitivity", digits[0]], {"sensitivity"}),
        "f": (["compare", digits[0], "--against", "litert", "--runs", 2], {"litert"}),
    }
    for name, (line, expected) in commands.items():
        path = tmp_path / f"{name}.html"
        result = run(*line, "--html", path)
        assert result.exit_code == 0, result.output
        assert expected <= set(Parsed(path.read_text()).sections())


def test_a_page_that_cannot_be_written_is_told_before_anything_runs(
    digits: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("compare", *digits, "--html", tmp_path / "no" / "page.html")
    assert result.exit_code == 2
    assert "there is no such folder" in result.stderr
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    page._template.cache_clear()
    with pytest.raises(UsageError, match=r"pip install 'octolite\[report\]'"):
        page.require()
    assert run("sensitivity", digits[0], "--html", tmp_path / "page.html").exit_code == 2
    assert not list(tmp_path.iterdir())
