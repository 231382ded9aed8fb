"""``octolite inspect --graph``, for files of every kind, and what readers of our files ask for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import octolite
from octolite import drawing
from octolite.cli.main import main
from octolite.tflite import read, write
from tests.drawing.models import everything, hostile
from tests.recorded import GRAPHS

SAVED = GRAPHS.parent / "saved_models"


def inspect(model: Path, graph: Path) -> Result:
    return CliRunner().invoke(main, ["inspect", str(model), "--graph", str(graph)])


@pytest.mark.parametrize(
    ("ending", "kind"),
    [(".svg", drawing.svg), (".html", drawing.html), (".dot", drawing.dot)],
)
def test_the_ending_says_what_is_drawn(tmp_path: Path, ending: str, kind: object) -> None:
    model, graph = tmp_path / "lenet.tflite", tmp_path / f"graph{ending}"
    model.write_bytes(octolite.convert(GRAPHS / "lenet.pb"))
    result = inspect(model, graph)
    assert (result.exit_code, result.output) == (0, "")
    assert callable(kind)
    assert graph.read_text("utf-8") == kind(read(model))


def test_json_is_a_collection_that_is_called_like_the_file(tmp_path: Path) -> None:
    graph = tmp_path / "graph.JSON"
    result = inspect(GRAPHS / "lenet.pb", graph)
    assert (result.exit_code, result.output) == (0, "")
    collection = json.loads(graph.read_text())
    assert collection["label"] == "lenet.pb"
    labels = [node["label"] for node in collection["graphs"][0]["nodes"]]
    assert labels.count("CONV_2D") == 2


def test_a_folder_is_a_saved_model(tmp_path: Path) -> None:
    folder = sorted(p.parent for p in SAVED.rglob("saved_model.pb"))[0]
    graph = tmp_path / "graph.svg"
    result = inspect(folder, graph)
    assert (result.exit_code, result.output) == (0, "")
    assert graph.read_text().startswith("<svg")
    listed = CliRunner().invoke(main, ["inspect", str(folder), "--json"])
    assert json.loads(listed.output)["bytes"] > 0


def test_an_ending_that_means_nothing_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    graph = tmp_path / "graph.png"
    result = inspect(GRAPHS / "lenet.pb", graph)
    assert result.exit_code == 2
    assert ".svg, .html, .dot, .json" in result.output
    assert not graph.exists()


@pytest.mark.parametrize("make", [everything, hostile])
def test_what_has_been_written_is_drawn_when_it_has_been_read(tmp_path: Path, make: object) -> None:
    assert callable(make)
    model = make()
    if make is hostile:  # no file holds a name that cannot be encoded
        model.graphs = [g for g in model.graphs if "\ud800" not in g.name]
        model.signatures = [s for s in model.signatures if "\ud800" not in s.key]
    path = tmp_path / "model.tflite"
    path.write_bytes(write(model))
    for ending in (".svg", ".html", ".dot", ".json"):
        result = inspect(path, tmp_path / f"graph{ending}")
        assert (result.exit_code, result.output) == (0, "")
