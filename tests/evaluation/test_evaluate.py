"""Evaluations as a whole: figures, tables, what is skipped, and what is refused."""

from __future__ import annotations

import csv
import fcntl
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sk

import octolite
from octolite.errors import DataError, UsageError
from octolite.evaluation.classification import Agreement, ClassificationMetrics
from octolite.evaluation.engine import Progress
from octolite.evaluation.metrics import Proportion
from octolite.ir.types import INT8, Array, Quant
from tests.evaluation.echoes import echo, metadata, scaled

RNG = np.random.default_rng(21)
CLASSES = 5
SCORES = RNG.normal(size=(60, CLASSES)).astype(np.float32)
LABELS = np.where(RNG.random(60) < 0.6, SCORES.argmax(1), RNG.integers(0, CLASSES, 60))
FACTORS = (1, 2, 1, 0.5, 1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "data.npz", images=SCORES, labels=LABELS)
    return tmp_path / "data.npz"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return echo(tmp_path / "plain.tflite", (1, CLASSES), [1, CLASSES])


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file, skipinitialspace=True))


def lines(path: Path, items: Sequence[object]) -> Path:
    path.write_text("".join(f"{item}\n" for item in items))
    return path


# -- figures ---------------------------------------------------------------------------------------


def test_figures_are_scikit_learns(model: Path, data: Path) -> None:
    found = octolite.evaluate("classification", model, data, num_ranks=4)
    metrics = found.metrics
    assert isinstance(metrics, ClassificationMetrics)
    for k, share in enumerate(metrics.top, 1):
        expected = sk.top_k_accuracy_score(LABELS, SCORES, k=k, labels=range(CLASSES))
        assert share.value == pytest.approx(expected)
    told = SCORES.argmax(1)
    np.testing.assert_array_equal(metrics.confusion, sk.confusion_matrix(LABELS, told))
    recall = sk.recall_score(LABELS, told, average=None)
    precision = sk.precision_score(LABELS, told, average=None)
    for c, r, p in zip(metrics.per_class(), recall, precision, strict=True):
        assert (c.recall.value, c.precision.value) == pytest.approx((r, p))
    assert found.preprocessing == "none (arrays are fed as they are)"


def test_two_models_in_one_pass(tmp_path: Path, model: Path, data: Path) -> None:
    other = scaled(tmp_path / "other.tflite", CLASSES, FACTORS)
    found = octolite.evaluate("classification", [model, other], data)
    told = [SCORES.argmax(1), (SCORES * np.float32(FACTORS)).argmax(1)]
    assert [m.metrics.accuracy.successes for m in found.models] == [
        int((t == LABELS).sum()) for t in told
    ]
    (compared,) = found.comparisons
    agreement = compared.comparison
    assert isinstance(agreement, Agreement)
    right = [t == LABELS for t in told]
    assert agreement.same == Proportion(int((told[0] == told[1]).sum()), 60)
    assert agreement.first_only == (right[0] & ~right[1]).sum() > 0
    assert agreement.second_only == (~right[0] & right[1]).sum()
    value, low, high = agreement.difference()
    assert value == pytest.approx(right[1].mean() - right[0].mean())
    assert low < value < high


def test_the_interval_of_a_difference_by_hand() -> None:
    """Agresti and Min, b = 10.5 and c = 4.5 of 102: (4.5 - 10.5) / 102 ± 1.96 · 3.8275 / 102."""
    value, low, high = Agreement(Proportion(86, 100), 10, 4).difference()
    assert value == pytest.approx(-0.06)
    spread = 1.959964 * (15 - 36 / 102) ** 0.5 / 102
    assert (low, high) == pytest.approx((-6 / 102 - spread, -6 / 102 + spread))


def test_results_for_machines_are_json(model: Path, data: Path) -> None:
    found = json.loads(json.dumps(octolite.evaluate("classification", [model] * 2, data).to_json()))
    assert found["samples"] == 60
    assert found["models"][0]["top"][0]["total"] == 60
    assert sum(c["count"] for c in found["models"][0]["confusion"]) == 60
    assert found["comparisons"][0]["mcnemar_p"] == 1.0


# -- the table -------------------------------------------------------------------------------------


def test_the_table_is_that_of_tensorflow_lites_tool(
    tmp_path: Path, model: Path, data: Path
) -> None:
    """Its columns come first, its numbers with three digits: percentages so far, image by image."""
    output = tmp_path / "out.csv"
    octolite.evaluate("classification", model, data, output=output, num_ranks=3)
    header, *rows = output.read_text().splitlines()
    assert header == "Top 1, Top 2, Top 3, Sample, Skipped, Truth, Predicted, Rank"
    order = np.argsort(-SCORES, axis=1, kind="stable")
    places = (order == LABELS[:, None]).argmax(1)
    for count, row in enumerate(rows, 1):
        shares = [100 * (places[:count] < k).mean() for k in (1, 2, 3)]
        assert row.startswith("".join(f"{s:.3f}, " for s in shares))
    assert len(rows) == 60


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_are_in_order_on_any_number_of_threads(
    tmp_path: Path, model: Path, data: Path, threads: int
) -> None:
    output = tmp_path / "out.csv"
    octolite.evaluate("classification", model, data, output=output, num_threads=threads)
    assert [row[10] for row in rows_of(output)[1:]] == [str(i) for i in range(60)]


def test_an_interrupted_run_goes_on(tmp_path: Path, model: Path, data: Path) -> None:
    """From any torn end, the file becomes what it would have been."""
    output = tmp_path / "out.csv"
    whole = octolite.evaluate("classification", model, data, output=output)
    content = output.read_bytes()
    for end in (0, 5, content.index(b"\n") + 1, len(content) // 2, len(content) - 1, len(content)):
        output.write_bytes(content[:end])
        seen: list[Progress] = []
        again = octolite.evaluate(
            "classification", model, data, output=output, on_progress=seen.append
        )
        assert output.read_bytes() == content
        assert again.to_json() == whole.to_json()
        kept = max(content[:end].count(b"\n") - 1, 0)
        assert len(seen) == 60 - kept
        assert not seen or seen[-1].done == seen[-1].total == 60


def test_more_samples_go_on_from_fewer(tmp_path: Path, model: Path, data: Path) -> None:
    output = tmp_path / "out.csv"
    few = octolite.evaluate("classification", model, data, output=output, num_samples=7)
    assert few.samples == 7
    octolite.evaluate("classification", model, data, output=output)
    direct = tmp_path / "direct.csv"
    octolite.evaluate("classification", model, data, output=direct)
    assert output.read_bytes() == direct.read_bytes()
    fewer = octolite.evaluate("classification", model, data, output=output, num_samples=7)
    assert fewer.to_json() == few.to_json()


def test_other_settings_do_not_mix(tmp_path: Path, model: Path, data: Path) -> None:
    output = tmp_path / "out.csv"
    octolite.evaluate("classification", model, data, output=output)
    before = output.read_bytes()
    other = scaled(tmp_path / "other.tflite", CLASSES, FACTORS)
    with pytest.raises(UsageError, match=r"is of another evaluation: models was .*--restart"):
        octolite.evaluate("classification", other, data, output=output)
    with pytest.raises(UsageError, match="num_ranks was 10 and is 3"):
        octolite.evaluate("classification", model, data, output=output, num_ranks=3)
    assert output.read_bytes() == before
    octolite.evaluate("classification", other, data, output=output, restart=True)
    assert output.read_bytes() != before


@pytest.mark.parametrize("wrong", [b"x", b"7", b"\xff", b"9999", b'"'])
@pytest.mark.parametrize("column", [0, 9, 14])  # Top 1, Top 10, Rank
def test_a_table_that_was_changed_is_noticed(
    tmp_path: Path, model: Path, data: Path, column: int, wrong: bytes
) -> None:
    output = tmp_path / "out.csv"
    octolite.evaluate("classification", model, data, output=output)
    changed = output.read_bytes().split(b"\n")
    cells = changed[5].split(b", ")
    cells[column] = wrong
    changed[5] = b", ".join(cells)
    output.write_bytes(b"\n".join(changed))
    with pytest.raises(UsageError, match=r"line 6 of .* was not written by an evaluation"):
        octolite.evaluate("classification", model, data, output=output)


def test_a_class_that_does_not_exist_is_noticed(tmp_path: Path, model: Path, data: Path) -> None:
    output = tmp_path / "out.csv"
    octolite.evaluate("classification", model, data, output=output, num_samples=1)
    *rest, predicted, place = output.read_text().split(", ")
    output.write_text(", ".join([*rest, f"{predicted}999", place]))
    with pytest.raises(UsageError, match="holds values that no evaluation wrote"):
        octolite.evaluate("classification", model, data, output=output)


def test_a_file_of_someone_elses_is_left_alone(tmp_path: Path, model: Path, data: Path) -> None:
    output = lines(tmp_path / "out.csv", ["precious"])
    with pytest.raises(UsageError, match=r"exists and out\.csv\.settings\.json"):
        octolite.evaluate("classification", model, data, output=output)
    assert output.read_text() == "precious\n"


def test_two_processes_do_not_write_one_table(tmp_path: Path, model: Path, data: Path) -> None:
    output = tmp_path / "out.csv"
    octolite.evaluate("classification", model, data, output=output)
    before = output.read_bytes()
    with output.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match=r"another process is writing .*out\.csv"):
            octolite.evaluate("classification", model, data, output=output, restart=True)
    assert output.read_bytes() == before


def test_a_table_that_cannot_be_written(tmp_path: Path, model: Path, data: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*none/out\.csv: No such file"):
        octolite.evaluate("classification", model, data, output=tmp_path / "none" / "out.csv")


def test_nothing_is_written_when_all_is_wrong(tmp_path: Path, model: Path, data: Path) -> None:
    output = tmp_path / "out.csv"
    names = lines(tmp_path / "labels.txt", "abcde")
    with pytest.raises(UsageError):
        octolite.evaluate(
            "classification", model, data, lines(tmp_path / "t.txt", "z" * 60),
            output=output, model_output_labels=str(names),
        )  # fmt: skip
    assert not output.exists()


def test_numbers_on_the_denylist_are_left_out(tmp_path: Path, model: Path, data: Path) -> None:
    denied = lines(tmp_path / "deny.txt", [1, 3, 60])
    found = octolite.evaluate("classification", model, data, denylist=denied, num_samples=58)
    assert found.samples == 57
    assert [row.name for row in found.rows[:2]] == ["1", "3"]
    with pytest.raises(UsageError, match="a sample's number in each line"):
        octolite.evaluate(
            "classification", model, data, denylist=lines(tmp_path / "bad.txt", ["one"])
        )


def test_samples_that_cannot_be_read_are_skipped_and_counted(tmp_path: Path, model: Path) -> None:
    table = ["a,b,c,d,e,label", "9,0,0,0,0,0", "1,2,x,0,0,1", "0,9,0,0,0,1", "1,2"]
    output = tmp_path / "out.csv"
    found = octolite.evaluate(
        "classification", model, lines(tmp_path / "t.csv", table), output=output, num_ranks=1
    )
    assert found.samples == 2
    assert [name for name, _ in found.skipped] == ["2", "4"]
    assert found.metrics.accuracy == Proportion(2, 2)
    assert [row[:3] for row in rows_of(output)[1:]] == [
        ["100.000", "1", ""],
        ["100.000", "2", "'x' is no number"],
        ["100.000", "3", ""],
        ["100.000", "4", "row 4 has 2 fields, expected 6"],
    ]
    with pytest.raises(DataError, match=r"none of the 1 samples .* the first, 1: 'x' is no number"):
        octolite.evaluate("classification", model, lines(tmp_path / "t.csv", [table[0], table[2]]))


# -- labels ----------------------------------------------------------------------------------------


def classify(tmp_path: Path, classes: int, truths: Sequence[object], **options: object) -> object:
    """Samples whose output ``i % classes`` is the highest, judged by ``truths``."""
    model = echo(tmp_path / f"{classes}.tflite", (1, classes), [1, classes])
    np.save(tmp_path / "x.npy", np.eye(classes, dtype=np.float32))
    labels = lines(tmp_path / "labels.txt", truths)
    return octolite.evaluate("classification", model, tmp_path / "x.npy", labels, **options)  # type: ignore[arg-type]


def test_names_of_classes(tmp_path: Path) -> None:
    names = lines(tmp_path / "names.txt", ["ant", "bee", "cat"])
    found = classify(tmp_path, 3, ["ant", "bee", "bee"], model_output_labels=str(names))
    assert isinstance(found, octolite.Evaluation)
    assert found.metrics.confused() == (("bee", "cat", 1),)
    with pytest.raises(UsageError, match=r"label 'bat' is not in .*names.txt. Did you mean 'cat'"):
        classify(tmp_path, 3, ["bat"] * 3, model_output_labels=str(names))
    with pytest.raises(UsageError, match="label 'bat' is a name, and nothing says"):
        classify(tmp_path, 3, ["bat"] * 3)


def test_a_background_class_is_noticed(tmp_path: Path) -> None:
    """1001 outputs and 1000 names, or the other way round: said, and mended by an offset."""
    names = lines(tmp_path / "names.txt", [f"c{i}" for i in range(1000)])
    truths = ["c0", *(f"c{i}" for i in range(1000))]
    with pytest.raises(UsageError, match=r"1001 outputs and .* names 1000: one fewer.*background"):
        classify(tmp_path, 1001, truths, model_output_labels=str(names))
    found = classify(tmp_path, 1001, truths, model_output_labels=str(names), label_offset=1)
    assert isinstance(found, octolite.Evaluation)
    assert found.metrics.accuracy == Proportion(1000, 1001)
    assert "labels are shifted by 1" in found.notes
    with pytest.raises(UsageError, match=r"999 outputs and .* names 1000: one more.*background"):
        classify(tmp_path, 999, truths[:999], model_output_labels=str(names))


def test_labels_that_are_off_by_one_are_noticed(tmp_path: Path) -> None:
    found = classify(tmp_path, 40, [max(i - 1, 0) for i in range(40)])
    assert isinstance(found, octolite.Evaluation)
    (note,) = found.notes
    assert (
        "labels look off by one: with every label +1, 97.50 % of 40 samples would be right" in note
    )
    assert "in place of 2.50 %" in note
    right = classify(tmp_path, 40, range(40))
    assert isinstance(right, octolite.Evaluation)
    assert right.notes == ()


def test_labels_beyond_the_outputs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="label 3 would be output 3, and the model has 0…2"):
        classify(tmp_path, 3, [1, 2, 3])
    found = classify(tmp_path, 3, [1, 2, 3], label_offset=-1)
    assert isinstance(found, octolite.Evaluation)
    assert found.metrics.accuracy.value == 1.0


def test_classes_of_one_name_are_one(tmp_path: Path) -> None:
    """As in TensorFlow Lite's tool, where either crane of ImageNet is right."""
    names = lines(tmp_path / "names.txt", ["crane", "bee", "crane"])
    truths = ["crane", "bee", "crane"]
    found = classify(tmp_path, 3, truths, model_output_labels=str(names))
    assert isinstance(found, octolite.Evaluation)
    assert found.metrics.accuracy.value == 1.0
    assert any("share a name" in note for note in found.notes)


# -- models ----------------------------------------------------------------------------------------


def test_quantized_inputs_and_outputs(tmp_path: Path, data: Path) -> None:
    """Scores of 8 bits rank as those they were made from do, but for steps of 1/32."""
    quant = Quant.of(np.float32(1 / 32), -3)
    path = echo(tmp_path / "q.tflite", (1, CLASSES), [1, CLASSES], INT8, quant)
    found = octolite.evaluate("classification", path, data)
    steps: Array = np.rint(SCORES * 32)
    expected = [int(s.argmax()) for s in steps]
    assert [row.results[0][0] for row in found.rows] == expected


def test_what_the_model_says_of_itself(tmp_path: Path) -> None:
    """Normalization and names of outputs from metadata: nothing has to be given."""
    raw = metadata([10.0], [2.0], 2, "names.txt")
    model = echo(tmp_path / "m.tflite", (1, 1, 3, 1), [1, 3], metadata=raw)
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr("names.txt", "left\nmiddle\nright\n")
    (tmp_path / "images").mkdir()
    for number, row in enumerate([[9, 2, 3], [7, 8, 200], [1, 0, 0]]):
        pixels = np.array([row], np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    labels = lines(tmp_path / "labels.txt", ["left", "right", "middle"])
    found = octolite.evaluate("classification", model, tmp_path / "images", labels)
    assert found.metrics.accuracy == Proportion(2, 3)
    assert found.metrics.confused() == (("middle", "left", 1),)
    assert found.preprocessing == (
        "resize 1×3, bilinear filter, gray, (x − 10) / 2, as float32 (from the model's metadata)"
    )


def test_open_batches_and_missing_labels(tmp_path: Path, data: Path) -> None:
    path = echo(tmp_path / "open.tflite", (None, CLASSES), [-1, CLASSES])
    assert octolite.evaluate("classification", path, data).samples == 60
    np.save(tmp_path / "x.npy", SCORES)
    with pytest.raises(UsageError, match="nothing says what is expected"):
        octolite.evaluate("classification", path, tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "clasification"}, "Did you mean 'classification'"),
        ({"num_rank": 3}, "Did you mean 'num_ranks'"),
        ({"num_ranks": 0}, "at least 1"),
        ({"num_threads": 0}, "num_threads is 0"),
        ({"models": []}, "at least one model"),
        ({"models": "none.tflite"}, "there is no model at none.tflite"),
        ({"output_tensor": "z"}, "has no output 'z'"),
        ({"input_fields": ["z=images"]}, "has no input 'z'"),
    ],
)
def test_arguments_that_cannot_be_meant(
    model: Path, data: Path, arguments: dict[str, object], message: str
) -> None:
    given = {"task": "classification", "models": model, "data": data} | arguments
    with pytest.raises(UsageError, match=message):
        octolite.evaluate(**given)  # type: ignore[arg-type]


def test_models_that_do_not_belong_together(tmp_path: Path, model: Path, data: Path) -> None:
    other = echo(tmp_path / "six.tflite", (1, 6), [1, 6])
    with pytest.raises(UsageError, match="plain has 5, six has 6"):
        octolite.evaluate("classification", [model, other], data)


def test_progress_has_a_rate_and_what_is_left() -> None:
    assert Progress(10, 30, 0, 5.0).eta == 4.0
    assert Progress(0, 30, 0, 0.0).eta == float("inf")
    assert Progress(30, 30, 0, 0.0).eta == 0.0
