"""Lookups in a vocabulary: what Keras documents of them, in LiteRT and here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

import octolite
from octolite.errors import UnsupportedError
from octolite.frontends.keras import load
from tests.frontends.keras.test_files import archive, layer

WORDS = ["red", "green", "blue"]


def look_up(make: Any, feed: np.ndarray, dtype: str, class_name: str, **config: Any) -> np.ndarray:
    given = layer("InputLayer", "x", batch_shape=list(feed.shape), dtype=dtype)
    model = layer("Sequential", "s", layers=[given, layer(class_name, "look", **config)])
    interpreter = make(model_content=octolite.convert(archive(model, lambda file: None)))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], feed)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


both = pytest.mark.parametrize("make", [LiteRT, octolite.Interpreter])


@both
def test_words(make: Any) -> None:
    feed = np.array([[b"blue", b"pink"], [b"red", b"green"]], np.object_)
    found = look_up(make, feed, "string", "StringLookup", vocabulary=WORDS)
    np.testing.assert_array_equal(found, [[3, 0], [1, 2]])
    masked = look_up(make, feed, "string", "StringLookup", vocabulary=WORDS, mask_token="")
    np.testing.assert_array_equal(masked, [[4, 1], [2, 3]])
    hot = look_up(make, feed, "string", "StringLookup", vocabulary=WORDS, output_mode="multi_hot")
    np.testing.assert_array_equal(hot, [[1, 0, 0, 1], [0, 1, 1, 0]])


@both
def test_numbers(make: Any) -> None:
    feed = np.array([[12, 7], [-3, 12]], np.int32)
    found = look_up(make, feed, "int32", "IntegerLookup", vocabulary=[12, -3])
    np.testing.assert_array_equal(found, [[1, 0], [2, 1]])
    inverse = look_up(
        make, np.array([[1, 2], [0, 1]], np.int32), "int32", "IntegerLookup",
        vocabulary=[12, -3], invert=True, oov_token=-1,
    )  # fmt: skip
    np.testing.assert_array_equal(inverse, [[12, -3], [-1, 12]])


@pytest.mark.parametrize("config", [{}, {"vocabulary": WORDS, "num_oov_indices": 2}])
def test_what_cannot_be_looked_up(config: dict[str, Any]) -> None:
    given = layer("InputLayer", "x", batch_shape=[2], dtype="string")
    model = layer("Sequential", "s", layers=[given, layer("StringLookup", "look", **config)])
    with pytest.raises(UnsupportedError, match="'look'"):
        load(archive(model, lambda file: None))
