"""Which operator takes which type, and what runs it: asked of the run time, case by case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from octolite.errors import OctoliteError
from octolite.ir.graph import Graph, Node
from octolite.ir.types import INT4, INT8, INT16, UINT8, DType
from octolite.ops.base import Operator
from octolite.ops.support import TYPES, nodes_in_codes, nodes_in_type, nodes_with_weights
from octolite.runtime.prepare import prepare

SHORT = {"float": "f", "bfloat": "bf", "int": "i", "uint": "u", "complex": "c"}

LEGEND = (
    "`C`: a kernel compiled for this CPU runs it; `N`: NumPy does. *Codes* have scales and zero "
    "points, and results the bits of LiteRT's reference kernels, unless a small letter says that "
    "they go through real numbers. *Weights* are constants of 8, 4 or 2 bits beside float "
    "activations. How that is compared: [conformance](conformance.md)."
)


def short(dtype: DType) -> str:
    """``float32`` as ``f32``."""
    word = dtype.name.rstrip("0123456789")
    return SHORT.get(word, word) + dtype.name[len(word) :]


COLUMNS: dict[str, Callable[[type[Operator]], Sequence[Node]]] = {
    **{short(t): partial(nodes_in_type, dtype=t) for t in TYPES},
    **{f"{short(t)} codes": partial(nodes_in_codes, dtype=t) for t in (INT8, UINT8, INT16)},
    **{f"{short(t)} weights": partial(nodes_with_weights, dtype=t) for t in (INT8, INT4)},
}
"""Column → the nodes of an operator that show it."""


def runs(node: Node) -> str:
    """``C`` or ``N``, small where codes are made real numbers; empty where nothing runs it."""
    graph = Graph()
    graph.inputs = [v for v in node.inputs if v is not None and v.data is None]
    graph.nodes, graph.outputs = [node], list(node.outputs)
    try:
        units = prepare(graph, "always").units
    except OctoliteError:
        return ""
    letter = "C" if any(unit.kernel is not None for unit in units) else "N"
    op = node.op
    assert isinstance(op, Operator)
    whole = op.is_hybrid(node.inputs) or op.is_integer(node.inputs, node.outputs)
    whole = whole or op.takes_arrays_as_they_are(node.inputs, node.outputs)
    whole = whole or not any(v.quant for v in node.outputs)
    return letter if whole else letter.lower()


def cell(nodes: Sequence[Node]) -> str:
    """The best of what runs ``nodes``."""
    return min((letter for letter in map(runs, nodes) if letter), key="CNcn".index, default="")


def support(operator: type[Operator]) -> dict[str, str]:
    """Column → what runs the operator there."""
    return {column: cell(nodes(operator)) for column, nodes in COLUMNS.items()}


def markdown_lines(operators: Sequence[type[Operator]]) -> Iterator[str]:
    """The table as Markdown, in two parts: numbers, and codes."""
    yield LEGEND
    for columns in (list(COLUMNS)[: len(TYPES)], list(COLUMNS)[len(TYPES) :]):
        yield ""
        yield f"| operator | {' | '.join(columns)} |"
        yield "|---" * (len(columns) + 1) + "|"
        for operator in operators:
            cells = support(operator)
            if any(cells[c] for c in columns):
                yield f"| {operator.name} | {' | '.join(cells[c] for c in columns)} |"
