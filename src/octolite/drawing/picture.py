"""What there is to draw of a model, in words: the one source of every kind of picture.

A :class:`Picture` has a :class:`Sheet` for each graph, with a :class:`Box` for each input, node and
output and an :class:`Arrow` for each tensor that one box gives to another. Constants and variables
have no boxes; they are told of in the boxes that read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from octolite.drawing.families import ENDS, FAMILIES, Family, family_of
from octolite.drawing.text import attribute_text, plain, quant_text, shape_text, size_text
from octolite.ir.graph import Graph, Model, Node, Signature, Value, called_by
from octolite.ops.base import Operator


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or a result of a box.

    ``role`` is the parameter's name; ``source`` and ``targets`` are keys of boxes; ``stored`` tells
    of a constant or a variable, which is ``nbytes`` large (0: nothing is stored).
    """

    role: str
    name: str
    dtype: str
    shape: str
    quant: str = ""
    stored: str = ""
    nbytes: int = 0
    source: str = ""
    targets: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        return f"{self.dtype} {self.shape}"


@dataclass(frozen=True, slots=True)
class Box:
    """An input, a node or an output. ``key`` is unique in the picture, and a plain word.

    ``mark`` tells the arithmetic where that is not float; ``settings`` are the attributes that are
    not as they are by default, in short; ``calls`` are the keys of the sheets that it runs.
    """

    key: str
    title: str
    name: str
    family: Family
    mark: str = ""
    settings: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    calls: tuple[str, ...] = ()

    @property
    def end(self) -> str:
        """``input`` or ``output`` for those of the graph, nothing for a node."""
        return self.title if self.family is ENDS else ""

    @property
    def nbytes(self) -> int:
        """Bytes of the constants that it reads."""
        return sum(t.nbytes for t in self.inputs)


@dataclass(frozen=True, slots=True)
class Arrow:
    """A tensor on its way: result number ``output`` of a box is input number ``input``."""

    source: str
    target: str
    tensor: Tensor
    output: int
    input: int

    @property
    def quantized(self) -> bool:
        return bool(self.tensor.quant)


@dataclass(slots=True)
class Sheet:
    """A graph; ``signatures`` are its named entry points."""

    key: str
    name: str
    boxes: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Its name and what is in it, in a line."""
        operators = sum(not b.end for b in self.boxes)
        noun = "operator" if operators == 1 else "operators"
        entries = f" · signature {', '.join(self.signatures)}" if self.signatures else ""
        return f"{self.name} · {operators} {noun}{entries}"


@dataclass(frozen=True, slots=True)
class Picture:
    """A model; the first sheet is its main graph."""

    sheets: tuple[Sheet, ...]
    description: str = ""
    nbytes: int = 0

    @property
    def families(self) -> list[Family]:
        """The families that occur, in the order of a legend."""
        found = {box.family.key for sheet in self.sheets for box in sheet.boxes}
        return [family for family in FAMILIES if family.key in found]


def describe(model: Model) -> Picture:
    """What there is to draw of ``model``, which may be unfinished, as it is between passes."""
    graphs = list(_reached(model.graphs))
    keys = {id(graph): f"g{i}" for i, graph in enumerate(graphs)}
    entries = {key: [s for s in model.signatures if id(s.graph) == key] for key in keys}
    sheets = tuple(_Drafting(g, keys, entries[id(g)]).sheet for g in graphs)
    stored = {id(v): v.nbytes for graph in graphs for v in graph.constants()}
    return Picture(sheets, plain(model.description), sum(stored.values()))


def arithmetic(node: Node) -> str:
    """In which numbers a node computes: hybrid, codes or a plain type. Without results, as
    ASSIGN_VARIABLE and CALL_ONCE are, those of its last input, if it has any."""
    assert isinstance(node.op, Operator)
    if node.op.is_hybrid(node.inputs):
        return "hybrid int8"
    values = list(node.outputs) or [v for v in node.inputs if v is not None][-1:]
    if not values:
        return "–"
    quantized = [v for v in values if v.quant is not None]
    return f"quantized {quantized[0].dtype}" if quantized else str(values[0].dtype)


def stored_as(value: Value) -> str:
    """How a constant's elements are stored: ``int8 per channel``."""
    if value.quant is None:
        return value.dtype.name
    return f"{value.dtype.name} per {'channel' if value.quant.per_channel else 'tensor'}"


def _reached(graphs: Sequence[Graph]) -> Iterator[Graph]:
    """``graphs`` and whatever they run, each once, even where they run each other in a circle."""
    seen: set[int] = set()
    queue = list(graphs)
    for graph in queue:
        if id(graph) not in seen:
            seen.add(id(graph))
            yield graph
            queue += [callee for node in graph.nodes for callee in called_by(node)]


class _Drafting:
    """A sheet in the making."""

    def __init__(self, graph: Graph, sheets: dict[int, str], entries: list[Signature]) -> None:
        self.graph = graph
        self.sheets = sheets
        key = sheets[id(graph)]
        self.sheet = Sheet(key, plain(graph.name), signatures=[plain(s.key) for s in entries])
        self.arguments = {end: _arguments(entries, end) for end in ("inputs", "outputs")}
        self.givers: dict[int, tuple[str, int]] = {}  # a value's box, and which result it is
        self.readers: dict[int, list[tuple[str, int]]] = {}
        for i, value in enumerate(graph.inputs):
            self.givers.setdefault(id(value), (f"{key}i{i}", 0))
        for i, node in enumerate(graph.nodes):
            for k, value in enumerate(node.outputs):
                self.givers.setdefault(id(value), (f"{key}n{i}", k))
            for k, operand in enumerate(node.inputs):
                if operand is not None:
                    self.readers.setdefault(id(operand), []).append((f"{key}n{i}", k))
        for i, value in enumerate(graph.outputs):
            self.readers.setdefault(id(value), []).append((f"{key}o{i}", 0))
        self._draw(key)

    def _draw(self, key: str) -> None:
        boxes = self.sheet.boxes
        for i, value in enumerate(self.graph.inputs):
            result = self._result("", value)
            called = self.arguments["inputs"].get(id(value), ())
            boxes.append(
                Box(f"{key}i{i}", "input", result.name, ENDS, settings=called, outputs=(result,))
            )
        boxes += [self._node(f"{key}n{i}", node) for i, node in enumerate(self.graph.nodes)]
        for i, value in enumerate(self.graph.outputs):
            operand = self._operand("", value)
            called = self.arguments["outputs"].get(id(value), ())
            boxes.append(
                Box(f"{key}o{i}", "output", operand.name, ENDS, settings=called, inputs=(operand,))
            )
        for value in self.graph.values():
            source, output = self.givers.get(id(value), ("", 0))
            if source:
                tensor = self._operand("", value)
                for target, number in self.readers.get(id(value), ()):
                    self.sheet.arrows.append(Arrow(source, target, tensor, output, number))

    def _node(self, key: str, node: Node) -> Box:
        op = node.op
        mark = arithmetic(node) if isinstance(op, Operator) else ""
        return Box(
            key,
            plain(op.name),
            plain(node.name),
            family_of(op),
            mark if mark.startswith(("hybrid", "quantized")) else "",
            tuple(_settings(node)),
            tuple((name, attribute_text(v)) for name, v in op.attributes().items()),
            tuple(
                self._operand(role, value)
                for role, value in zip(_roles(node), node.inputs, strict=True)
                if value is not None
            ),
            tuple(self._result(f"result {i}", v) for i, v in enumerate(node.outputs)),
            tuple(self.sheets[id(g)] for g in called_by(node)),
        )

    def _operand(self, role: str, value: Value) -> Tensor:
        source, _ = self.givers.get(id(value), ("", 0))
        return _tensor(role, value, source=source)

    def _result(self, role: str, value: Value) -> Tensor:
        readers = dict.fromkeys(key for key, _ in self.readers.get(id(value), ()))
        return _tensor(role, value, targets=tuple(readers))


def _arguments(signatures: Sequence[Signature], end: str) -> dict[int, tuple[str, ...]]:
    """What signatures call a value among their ``inputs`` or ``outputs``, unless by its name."""
    found: dict[int, tuple[str, ...]] = {}
    for signature in signatures:
        for name, value in getattr(signature, end).items():
            if name != value.name:
                found[id(value)] = (*found.get(id(value), ()), plain(f"{signature.key}: {name}"))
    return found


def _tensor(role: str, value: Value, source: str = "", targets: tuple[str, ...] = ()) -> Tensor:
    stored = ""
    if value.is_constant:
        stored = f"{shape_text(value.shape)} {stored_as(value)}, {size_text(value.nbytes)}"
        if value.dtype.kind in "iub" and value.data is not None and value.data.size <= 8:
            stored = f"{value.data.tolist()} {value.dtype.name}"
    elif value.is_variable:
        stored = f"state {shape_text(value.shape)} {value.dtype.name}"
    elif not source and not targets and value.producer is None:
        stored = "given by nothing"
    return Tensor(
        role,
        plain(value.name),
        value.dtype.name,
        shape_text(value.shape),
        "" if value.quant is None else quant_text(value.quant),
        stored,
        value.nbytes,
        source,
        targets,
    )


def _roles(node: Node) -> list[str]:
    """What each input is for: the parameters' names, the variadic one as often as it occurs."""
    count = len(node.inputs)
    if not isinstance(node.op, Operator):
        return [f"input {i}" for i in range(count)]
    parameters = node.op.input_parameters()
    more = count - len(parameters)
    names: list[str] = []
    for parameter in parameters:
        names += [parameter.name] * (1 + max(more, -1) if parameter.variadic else 1)
    names += [f"input {i}" for i in range(len(names), count)]
    return names[:count]


_HEIGHT = re.compile("_h(eight)?(?=_|$)")


def _settings(node: Node) -> Iterator[str]:
    """Attributes that are not as they are by default; ``stride 2×2`` for a height and a width."""
    values, defaults = dict(node.op.attributes()), {}
    if isinstance(node.op, Operator):
        defaults = {a.name: a.default for a in node.op.attribute_list()}
        values = {name: value for name, value in values.items() if name in defaults}
    heights = {n: _HEIGHT.sub(lambda m: "_width" if m[1] else "_w", n) for n in values}
    widths = {n: w for n, w in heights.items() if n != w and w in values}
    changed = {n for n, v in values.items() if not _same(v, defaults.get(n))}
    for name, value in values.items():
        if name in widths:
            if changed & {name, widths[name]}:
                yield f"{_word(_HEIGHT.sub('', name))} {value}×{values[widths[name]]}"
        elif name in changed and name not in widths.values():
            yield _setting(name, value)


def _setting(name: str, value: object) -> str:
    if isinstance(value, bool):
        return _word(name) if value else f"no {_word(name)}"
    text = attribute_text(value, 40)
    return text if name in ("activation", "padding") else f"{_word(name)} {text}"


def _word(name: str) -> str:
    return name.removesuffix("_factor").replace("_", " ")


def _same(a: object, b: object) -> bool:
    """Whether two attributes are equal, also where they are arrays."""
    try:
        return bool(a == b)
    except ValueError:
        return False
