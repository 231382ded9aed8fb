"""Models to draw: one with everything in it, one whose names are hostile, and large ones."""

from __future__ import annotations

import numpy as np

from octolite.ir import Graph, Model, Quant, Signature, Value
from octolite.ir.types import BOOL
from octolite.ops import operator_class
from tests.passes.building import Builder, gaussian

HOSTILE = (
    "</text><script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "quotes \" and ' and `",
    "backslashes \\ \\N \\n \\",
    "lines\nand\ttabs\r\x00\x1b[31m",
    "]]> --> <!-- &amp; &#0; %s {0} $x",
    "turned \u202e round \ud800 \ufffe",
    "漢字 🙂 é",
    "x" * 100_000,
    "a/../b//c;d/e",
    "__proto__",
    "",
    " ",
)
"""Names that mean something to HTML, XML, Graphviz, JavaScript, terminals or encodings."""


def everything() -> Model:
    """Hybrid weights, codes, a constant result, one that several read, graphs, signatures."""
    b = Builder()
    x = b.input(1, 8, 8, 3, name="image")
    condition = b.input(name="condition", dtype=BOOL)
    weights = Value.constant(
        "filters", np.ones((16, 3, 3, 3), np.int8), quant=Quant.of(np.linspace(0.1, 0.2, 16))
    )
    conv = b.op("CONV_2D", x, weights, gaussian(16), name="conv", stride_h=2, stride_w=2)
    shared = b.constant(gaussian(16))
    total = b.op("ADD", b.op("MUL", conv, shared), shared, name="sum")
    left, right = b.ops("SPLIT", np.int32(3), total, name="halves", num_splits=2)
    codes = b.op("QUANTIZE", right, name="codes")
    codes.quant = Quant.of(0.5, 3)
    branches = [_branch("then"), _branch("else")]
    operator = operator_class("IF")(then=branches[0], other=branches[1])
    chosen = b.graph.add(operator, [condition, left], "chosen").output
    graph = b.returns(chosen, codes, shared)
    model = Model([graph, *branches], description="everything")
    model.signatures = [
        Signature("serve", {"picture": x, "condition": condition}, {"y": chosen}, graph),
        Signature("half", {"x": branches[0].inputs[0]}, {}, branches[0]),
    ]
    return model


def _branch(name: str) -> Graph:
    b = Builder()
    b.graph.name = name
    return b.returns(b.op("NEG", b.input(1, 4, 4, 8, name=f"{name}_in"), name=f"{name}_neg"))


def hostile() -> Model:
    """Every hostile name as that of everything that has one."""
    graphs, signatures = [], []
    for name in HOSTILE:
        b = Builder()
        b.graph.name = name
        x = b.input(2, 4, name=name)
        y = b.op("ADD", x, Value.constant(name, gaussian(4)), name=name)
        graphs.append(b.returns(y))
        signatures.append(Signature(name, {name + "?": x}, {name + "?": y}, b.graph))
    return Model(graphs, signatures, description=HOSTILE[0])


def ladder(count: int, *, step: int = 7) -> Model:
    """A chain of ``count`` operators, every ``step``-th of which also reads one far above it."""
    b = Builder()
    values = [b.input(1, 4)]
    for i in range(count):
        other = values[max(0, i - 3 * step)] if i % step == 0 else values[-1]
        values.append(b.op("ADD", values[-1], other))
    return Model([b.returns(values[-1])])


def empty() -> Model:
    """A graph with nothing in it."""
    return Model([Graph("nothing")])
