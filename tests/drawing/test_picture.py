"""What is told of a model; every kind of drawing tells all of it, whatever names are in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from octolite import drawing
from octolite.drawing.families import FAMILIES, OTHER, family_of
from octolite.drawing.picture import Picture, describe
from octolite.drawing.text import attribute_text, plain, size_text
from octolite.ir import Model, Node
from octolite.ops.base import REGISTRY
from tests.drawing.models import HOSTILE, empty, everything, hostile, ladder
from tests.passes.building import Builder

KINDS: list[Callable[[Model], str]] = [
    drawing.dot,
    drawing.svg,
    drawing.html,
    drawing.model_explorer,
]
MODELS: list[Callable[[], Model]] = [everything, hostile, empty, lambda: ladder(300)]
SVG = "{http://www.w3.org/2000/svg}"


def arrows_of(picture: Picture) -> Counter[tuple[str, str]]:
    return Counter((a.source, a.target) for sheet in picture.sheets for a in sheet.arrows)


def keys_of(picture: Picture) -> list[str]:
    return [box.key for sheet in picture.sheets for box in sheet.boxes]


# -- what is told ----------------------------------------------------------------------------------


def test_each_input_node_and_output_is_a_box_and_each_tensor_between_them_an_arrow() -> None:
    model = everything()
    picture = describe(model)
    assert [sheet.name for sheet in picture.sheets] == ["main", "then", "else"]
    main = picture.sheets[0]
    assert [box.title for box in main.boxes] == [
        "input", "input", "CONV_2D", "MUL", "ADD", "SPLIT", "QUANTIZE", "IF",
        "output", "output", "output",
    ]  # fmt: skip
    titles = {box.key: box.title for box in main.boxes}
    assert Counter((titles[a.source], titles[a.target]) for a in main.arrows) == Counter(
        {
            ("input", "CONV_2D"): 1,
            ("input", "IF"): 1,
            ("CONV_2D", "MUL"): 1,
            ("MUL", "ADD"): 1,
            ("ADD", "SPLIT"): 1,
            ("SPLIT", "QUANTIZE"): 1,
            ("SPLIT", "IF"): 1,
            ("QUANTIZE", "output"): 1,
            ("IF", "output"): 1,
        }
    )
    assert len(set(keys_of(picture))) == len(keys_of(picture))


def test_boxes_tell_constants_arithmetic_settings_scales_and_calls() -> None:
    main, then, other = describe(everything()).sheets
    boxes = {box.title: box for box in main.boxes}
    conv = boxes["CONV_2D"]
    assert conv.mark == "hybrid int8"
    assert conv.settings == ("stride 2×2",)
    assert [(t.role, t.stored) for t in conv.inputs if t.stored] == [
        ("weights", "16×3×3×3 int8 per channel, 432 B"),
        ("bias", "16 float32, 64 B"),
    ]
    assert conv.nbytes == 432 + 64
    assert "16 scales along axis 0" in conv.inputs[1].quant
    assert [t.type for t in conv.outputs] == ["float32 1×4×4×16"]
    assert boxes["QUANTIZE"].mark == "quantized int8"
    assert boxes["QUANTIZE"].outputs[0].quant == "scale 0.5, zero point 3"
    assert boxes["IF"].calls == (then.key, other.key)
    assert boxes["SPLIT"].inputs[0].stored == "3 int32"
    assert main.boxes[-1].inputs[0].stored == "16 float32, 64 B"  # a constant that is an output
    assert main.signatures == ["serve"]
    assert main.boxes[0].settings == ("serve: picture",)
    assert then.signatures == ["half"]


def test_bytes_of_a_constant_that_several_read_count_once() -> None:
    model = everything()
    stored = {id(v): v.nbytes for graph in model.graphs for v in graph.constants()}
    assert describe(model).nbytes == sum(stored.values())


def test_operators_of_a_module_without_a_family_are_among_the_others() -> None:
    class Stranger:
        name = "STRANGER"

    assert family_of(Stranger()) is OTHER  # type: ignore[arg-type]
    families = {family_of(cls) for cls in map(object.__new__, REGISTRY.values())}
    assert families <= set(FAMILIES)
    assert family_of(object.__new__(REGISTRY["CONV_2D"])).key == "products"


def test_graphs_that_run_each_other_in_a_circle_are_drawn_once() -> None:
    model = everything()
    choice = next(n for n in model.main.nodes if n.op.name == "IF")
    then = model.graphs[1]
    then.nodes.append(Node(choice.op, choice.inputs, (), "again"))
    picture = describe(Model(model.graphs[:1]))
    assert [sheet.name for sheet in picture.sheets] == ["main", "then", "else"]
    for kind in KINDS:
        assert kind(model)


def test_words_are_fit_to_print() -> None:
    assert plain("a\x00b\u202ec\ud800") == "a\ufffdb\ufffdc\ufffd"
    assert plain("a\nb") == "a b"
    assert len(plain("x" * 1000 + "end", 40)) == 40
    assert plain("x" * 1000 + "end", 40).endswith("xend")
    assert size_text(999) == "999 B"
    assert size_text(2_500_000) == "2.5 MB"
    assert attribute_text(True) == "yes"
    assert attribute_text(b"abc") == "3 bytes"


# -- every kind of drawing -------------------------------------------------------------------------


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_model_gives_the_same_text_that_can_be_encoded(
    kind: Callable[[Model], str], make: Callable[[], Model]
) -> None:
    text = kind(make())
    assert text == kind(make())
    assert text.encode("utf-8").decode("utf-8") == text
    assert not any(c in text for c in "\x00\x1b\r\u202e")


@pytest.mark.parametrize("make", MODELS)
def test_graphviz_text_has_each_box_and_each_arrow_once(make: Callable[[], Model]) -> None:
    model = make()
    picture = describe(model)
    text = drawing.dot(model)
    assert re.findall(r"^    (\w+) \[label=<", text, re.M) == keys_of(picture)
    found = re.findall(r"^    (\w+) -> (\w+) \[label=", text, re.M)
    assert Counter(found) == arrows_of(picture)
    assert text.count("subgraph cluster_") == len(picture.sheets)
    for label in re.findall(r"label=<(.*)>(?:, tooltip|;)", text):
        ElementTree.fromstring(f"<label>{label}</label>")
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    bare = re.sub(r"label=<.*?>(?=, tooltip|;$)", "label=x", bare, flags=re.M)
    assert not re.search(r"alert|onerror|backslash", bare)


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize("make", MODELS[:3])
def test_graphviz_draws_it(make: Callable[[], Model]) -> None:
    done = subprocess.run(
        ["dot", "-Tsvg"], input=drawing.dot(make()).encode(), capture_output=True, check=False
    )
    assert done.returncode == 0
    drawn = ElementTree.fromstring(done.stdout)
    groups = [g.get("class") for g in drawn.iter(f"{SVG}g")]
    picture = describe(make())
    boxes = len(keys_of(picture)) + sum(not sheet.boxes for sheet in picture.sheets)
    assert groups.count("node") == boxes


@pytest.mark.parametrize("make", MODELS)
def test_svg_has_each_box_and_each_arrow_once(make: Callable[[], Model]) -> None:
    picture = describe(make())
    drawn = ElementTree.fromstring(drawing.svg(make()))
    assert [g.get("id") for g in drawn.iter(f"{SVG}g") if g.get("id")] == keys_of(picture)
    paths = [p for p in drawn.iter(f"{SVG}path") if p.get("data-s")]
    assert Counter((p.get("data-s"), p.get("data-t")) for p in paths) == arrows_of(picture)
    assert not list(drawn.iter(f"{SVG}script"))
    assert {key for e in drawn.iter() for key in e.attrib if key.startswith("on")} == set()


def test_svg_suits_light_and_dark_surroundings_and_loads_nothing() -> None:
    text = drawing.svg(everything())
    assert "prefers-color-scheme: dark" in text
    assert re.findall(r"https?://[^\"' ]+", text) == ["http://www.w3.org/2000/svg"]


class Page(HTMLParser):
    """The tags of a page, and what its scripts hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []
        self.ids: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id" and value]
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data


@pytest.mark.parametrize("make", MODELS)
def test_the_page_knows_each_box_and_runs_no_script_but_its_own(
    make: Callable[[], Model],
) -> None:
    picture = describe(make())
    page = Page(drawing.html(make()))
    assert page.tags["script"] == 2
    assert page.tags["img"] == page.tags["link"] == page.tags["iframe"] == 0
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "src"]
    known = json.loads(page.scripts[0])
    assert list(known["boxes"]) == keys_of(picture)
    assert list(known["sheets"]) == [sheet.key for sheet in picture.sheets]
    assert set(keys_of(picture)) <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    policy = dict(page.attributes)["content"]
    content = [value for name, value in page.attributes if name == "content" and value]
    assert any(v.startswith("default-src 'none'") and "sha256-" in v for v in content), policy


def test_the_page_tells_attributes_types_bytes_and_where_tensors_go() -> None:
    page = Page(drawing.html(everything()))
    boxes = json.loads(page.scripts[0])["boxes"]
    conv = next(b for b in boxes.values() if b["title"] == "CONV_2D")
    assert ["stride_h", "2"] in conv["attributes"]
    assert conv["bytes"] == "496 B (496 bytes)"
    source, weights, _ = conv["inputs"]
    assert boxes[source["boxes"][0]]["name"] == "image"
    assert weights["stored"] == "16×3×3×3 int8 per channel, 432 B"
    assert [boxes[key]["title"] for key in conv["outputs"][0]["boxes"]] == ["MUL"]


@pytest.mark.parametrize("make", MODELS)
def test_model_explorer_finds_graphs_whose_edges_lead_to_nodes(make: Callable[[], Model]) -> None:
    picture = describe(make())
    collection = json.loads(drawing.model_explorer(make(), "name"))
    assert collection["label"] == "name"
    graphs = collection["graphs"]
    assert len({graph["id"] for graph in graphs}) == len(graphs) == len(picture.sheets)
    edges: Counter[tuple[str, str]] = Counter()
    for graph, sheet in zip(graphs, picture.sheets, strict=True):
        ids = [node["id"] for node in graph["nodes"]]
        assert ids == [box.key for box in sheet.boxes]
        for node in graph["nodes"]:
            assert set(node.get("subgraphIds", ())) <= {g["id"] for g in graphs}
            for pair in node["attrs"]:
                assert isinstance(pair["key"], str)
                assert isinstance(pair["value"], str)
            for edge in node["incomingEdges"]:
                assert edge["sourceNodeId"] in ids
                assert all(isinstance(value, str) for value in edge.values())
                edges[edge["sourceNodeId"], node["id"]] += 1
    assert edges == arrows_of(picture)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_told_wherever_it_can_be(name: str) -> None:
    b = Builder()
    x = b.input(2, name="x")
    model = Model([b.returns(b.op("NEG", x, name=name or "NEG"))])
    told = plain(name or "NEG")
    boxes = json.loads(Page(drawing.html(model)).scripts[0])["boxes"]
    assert told in {box["name"] for box in boxes.values()}
    drawn = ElementTree.fromstring(drawing.svg(model))
    assert told in {title.text for title in drawn.iter(f"{SVG}title")}
