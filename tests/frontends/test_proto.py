"""The messages against files that TensorFlow wrote."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.unknown_fields import UnknownFieldSet

from octolite import ir
from octolite.frontends import graphdef, proto
from tests.recorded import ALL, GRAPHS, Recording

TEXTS = sorted(GRAPHS.glob("*.pbtxt"))


@pytest.mark.parametrize("recording", ALL, ids=lambda r: r.name)
def test_every_field_of_the_attributes_is_known(recording: Recording) -> None:
    message = proto.GraphDef.FromString(recording.path.read_bytes())
    for node in message.node:
        for attr in node.attr.values():
            assert attr.WhichOneof("value") is not None, node
            assert not list(unknown(attr)), node


def unknown(message: Any) -> Any:
    """Numbers of fields, also of inner messages, that the table does not have."""
    yield from (f.field_number for f in UnknownFieldSet(message))
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE and not field.message_type.GetOptions().map_entry:
            for inner in value if field.is_repeated else [value]:
                yield from unknown(inner)


@pytest.mark.parametrize("recording", ALL[::10], ids=lambda r: r.name)
def test_text_form_round_trips(recording: Recording) -> None:
    message = proto.GraphDef.FromString(recording.path.read_bytes())
    text = text_format.MessageToString(message)
    again = text_format.Parse(text, proto.GraphDef())
    assert text_format.MessageToString(again) == text
    assert [n.name for n in again.node] == [n.name for n in message.node]


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.stem)
def test_text_and_binary_files_give_the_same_model(path: Path) -> None:
    binary = graphdef.load(path.with_suffix(".pb"))
    text = graphdef.load(path)
    assert ir.dump(text.main) == ir.dump(binary.main)


def test_there_are_text_files() -> None:
    assert TEXTS


@pytest.mark.tf
def test_tensorflow_may_live_in_the_same_process() -> None:
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    script = (
        "import tensorflow as tf\n"
        "from octolite.frontends import proto\n"
        "g = tf.Graph()\n"
        "with g.as_default(): tf.constant([1.0, 2.0], name='c')\n"
        "message = proto.GraphDef.FromString(g.as_graph_def().SerializeToString())\n"
        "assert message.node[0].name == 'c'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
