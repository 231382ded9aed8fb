"""Small models of what no converted graph holds: sparse constants, strings, state that signatures
share, custom operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from octolite import CustomOperator
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32, INT64, STRING
from octolite.ops import operator_class
from octolite.ops.custom import user_operator
from octolite.tflite import flexbuffer, write
from tests.runtime.test_state import totals, two_signatures
from tests.tflite import test_sparse

SCALE = CustomOperator(
    lambda options, x: x * np.float32(options["by"]), lambda options, shape: [shape]
)
SPLIT = CustomOperator(lambda options, x: (x[: options["at"]], x[options["at"] :]))
PATCHES = CustomOperator(lambda options, x: x[:, :: options["strides"][1]])
CUSTOM = {"Scale": SCALE, "Split": SPLIT, "ExtractImagePatches": PATCHES}
"""What models' custom operators do: one with a shape rule, one without."""


def _put(graph: Graph, name: str, *inputs: Value, **attributes: object) -> Value:
    return graph.add(operator_class(name)(**attributes), list(inputs), name.lower()).output


def rows() -> bytes:
    """A constant in compressed rows."""
    array = test_sparse.sparse_array(6, 9)
    ends = np.concatenate([[0], np.cumsum((array != 0).sum(axis=1))])
    levels = [test_sparse.level(6), test_sparse.level(0, ends, np.nonzero(array)[1])]
    return test_sparse.model(array, levels, array[array != 0], [0, 1])


def blocks() -> bytes:
    """A constant in compressed rows of 2 × 4 blocks."""
    array = test_sparse.sparse_array(8, 12, seed=1)
    levels, values = test_sparse.blocked(array, (2, 4))
    return test_sparse.model(array, levels, values, [0, 1, 2, 3], [0, 1])


def words() -> bytes:
    """n-grams of a sentence, and which number a table has for each of them."""
    main = Graph("main")
    sentence = main.add_input("sentence", STRING, (1,))
    grams = _put(main, "SKIP_GRAM", sentence, ngram_size=2, max_skip_size=1)
    table = _put(main, "HASHTABLE", table_id=3, key_dtype=STRING, value_dtype=INT64)
    keys = Value.constant("keys", np.array([b"text text", b"a b", b""], object))
    values = Value.constant("values", np.array([4, -1, 2**40]))
    main.add(operator_class("HASHTABLE_IMPORT")(), [table, keys, values])
    default = Value.constant("default", np.array([-7]))
    main.outputs = [_put(main, "HASHTABLE_FIND", table, grams, default), grams]
    return write(Model([main]))


def custom() -> bytes:
    """x → Scale → Split → both halves, negated."""
    main = Graph("main")
    x = main.add_input("x", FLOAT32, (5, 3))
    scaled = Value("scaled", FLOAT32, (5, 3))
    raw = flexbuffer.encode({"by": 2.5, "names": ["a", "b"], "sizes": [1, 2, 300]})
    main.add(user_operator("Scale", SCALE)(raw=raw), [x], outputs=[scaled])
    halves = [Value(name, FLOAT32, None) for name in ("first", "rest")]
    raw = flexbuffer.encode({"at": 2})
    main.add(user_operator("Split", SPLIT)(raw=raw), [scaled], outputs=halves)
    main.outputs = [_put(main, "NEG", half) for half in halves]
    return write(Model([main]))


BUILT: dict[str, Callable[[], bytes]] = {
    "sparse_rows": rows,
    "sparse_blocks": blocks,
    "strings": words,
    "variables": totals,
    "signatures": two_signatures,
    "custom": custom,
}
"""Name → what builds the ``.tflite`` file."""
