"""Which results of the TensorFlow graph are the model's inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from octolite.errors import InvalidGraphError, UsageError, did_you_mean
from octolite.frontends.extents import refined
from octolite.frontends.graphdef.engine import Importer
from octolite.frontends.graphdef.nodes import Ref, TfNode
from octolite.frontends.graphdef.source import Source
from octolite.ir.graph import Value
from octolite.ir.types import DType, Shape

Dims = Sequence[int | None]

_PLACEHOLDERS = ("Placeholder", "PlaceholderWithDefault")
_DTYPE_ATTRIBUTES = ("dtype", "DstT", "out_type", "output_type", "T", "type")
OLD_PRODUCER = 24
"""Graphs of versions before this one wrote an unknown shape as that of a scalar."""


@dataclass
class Arrays:
    """The model's arguments and results: the name that the caller gives it → where it is."""

    inputs: dict[str, Ref]
    outputs: dict[str, Ref]
    named: bool

    @classmethod
    def choose(
        cls, source: Source, inputs: Sequence[str] | None, outputs: Sequence[str] | None
    ) -> Arrays:
        """Those that are named, or the defaults. Raises :class:`UsageError` for a wrong name."""
        if inputs is None:
            feeds = {str(r): r for r in source.placeholders()}
        else:
            feeds = _named(source, inputs, "input")
        source.feeds = set(feeds.values())
        if outputs is None:
            results = {str(r): r for r in source.sinks()}
        else:
            results = _named(source, outputs, "output")
        if not results:
            raise UsageError(
                "every node of the graph is consumed by another, so its outputs must be named"
            )
        return cls(feeds, results, named=inputs is not None)

    def settle(self, order: Sequence[TfNode]) -> None:
        """Leave out default inputs that the nodes in ``order`` do not need.

        Raises :class:`UsageError` where they need an input that is not given.
        """
        if self.named:
            _check_fed(order, self.inputs)
            return
        used = {r for n in order for r in n.inputs} | set(self.outputs.values())
        self.inputs = {name: ref for name, ref in self.inputs.items() if ref in used}

    def add_inputs(
        self, importer: Importer, shapes: Mapping[str, Dims], probe: Callable[[Ref], Value | None]
    ) -> dict[str, Value]:
        """The graph's inputs, by the caller's names.

        ``probe`` tells what a result in the middle of the graph is. Raises :class:`UsageError`.
        """
        wanted = {str(Ref.parse(name)): dims for name, dims in shapes.items()}
        for name in set(wanted) - {str(r) for r in self.inputs.values()}:
            hint = did_you_mean(name, self.inputs)
            raise UsageError(f"a shape is given for {name!r}, which is no input array. {hint}")
        result = {}
        for name, ref in self.inputs.items():
            node = importer.source.nodes[ref.name]
            if node.op_type in _PLACEHOLDERS:
                dtype, known = node.dtype("dtype"), _declared(node, importer.source.producer)
            else:
                found = probe(ref)
                dtype, known = (found.dtype, found.shape) if found else (_dtype(node), None)
            shape = _shape(ref, known, wanted.get(str(ref)))
            value = importer.graph.add_input(str(ref), dtype, shape)
            importer.values[ref] = result[name] = value
        importer.names.update(v.name for v in result.values())
        return result

    def find_outputs(self, importer: Importer) -> dict[str, Value]:
        """The graph's outputs, by the caller's names, each called as TensorFlow does."""
        result: dict[str, Value] = {}
        for name, ref in self.outputs.items():
            found = importer.values.get(importer.source.resolve(ref))
            if found is None:
                raise InvalidGraphError(f"the output {str(ref)!r} is a result that its node lacks")
            fresh = found.producer is not None and not any(found is v for v in result.values())
            if fresh and not any(str(r) == found.name for r in self.outputs.values()):
                found.name = str(ref)
            result[name] = found
        importer.graph.outputs = list(result.values())
        return result


def _named(source: Source, names: Sequence[str], what: str) -> dict[str, Ref]:
    if isinstance(names, str):
        raise UsageError(f"{what} arrays are a list of names, not the text {names!r}")
    found: dict[str, Ref] = {}
    for name in names:
        ref = Ref.parse(name)
        if ref.name not in source.nodes:
            hint = did_you_mean(ref.name, source.nodes)
            raise UsageError(f"the graph has no node {name!r} to be an {what} array. {hint}")
        if ref in found.values():
            raise UsageError(f"{name!r} is named twice among the {what} arrays")
        found[str(ref)] = ref
    if not found and what == "output":
        raise UsageError("the list of output arrays is empty")
    return found


def _check_fed(needed: Sequence[TfNode], feeds: Mapping[str, Ref]) -> None:
    missing = [n.name for n in needed if n.op_type == "Placeholder"]
    if missing:
        given = ", ".join(map(repr, feeds)) or "none"
        raise UsageError(
            f"the outputs need the placeholder {missing[0]!r}, which is not among the input "
            f"arrays ({given}): add it, or name outputs that do not need it"
        )


def _dtype(node: TfNode) -> DType:
    """The dtype of a result, as far as attributes tell."""
    for name in _DTYPE_ATTRIBUTES:
        if node.has(name):
            return node.dtype(name)
    raise UsageError(f"{node!r} does not say the dtype of its result, so it cannot be an input")


def _declared(node: TfNode, producer: int) -> Shape | None:
    """The shape that a placeholder declares."""
    shape = node.shape("shape")
    return None if shape == () and 0 < producer < OLD_PRODUCER else shape


def _shape(ref: Ref, known: Shape | None, given: Dims | None) -> Shape:
    """The input's extents: what the graph says, made more precise by what the caller says."""
    if given is None:
        if known is None:
            raise UsageError(f"the shape of input {str(ref)!r} is unknown: give its input shape")
        return known
    return refined(str(ref), known, given)
