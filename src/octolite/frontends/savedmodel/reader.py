"""A MetaGraph with its variables → a model: a graph for each signature."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from octolite.errors import OctoliteError, UnsupportedError, UsageError, did_you_mean
from octolite.frontends import graphdef
from octolite.frontends.graphdef.arrays import Arrays, Dims
from octolite.frontends.graphdef.engine import Progress
from octolite.frontends.graphdef.nodes import Ref
from octolite.frontends.graphdef.source import Source, State
from octolite.frontends.savedmodel import effects, initial
from octolite.frontends.savedmodel.alike import alias, likeness
from octolite.frontends.savedmodel.files import Files
from octolite.frontends.savedmodel.startup import Startup
from octolite.ir.graph import Model, Signature, Value, callees_first

_INIT = "__saved_model_init_op"
_DEFAULT = "serving_default"
_INITIALIZERS = ("saved_model_main_op", "legacy_init_op", "table_initializer")
"""Collections that name what runs after variables are restored; the first of them counts."""
_OPTIMIZES = re.compile(r"(Resource)?(Sparse)?Apply[A-Z]")


@dataclass
class Entry:
    """A signature under way: its arguments and results, and the nodes that change variables."""

    key: str
    arrays: Arrays
    changes: Sequence[Ref] = ()
    source: Source = field(init=False)

    def shapes(self, given: Mapping[str, Dims]) -> dict[str, Dims]:
        """The shapes that are meant for its arguments, by TensorFlow's names."""
        refs = {name: self.arrays.inputs.get(name, Ref.parse(name)) for name in given}
        return {str(r): given[n] for n, r in refs.items() if r in self.arrays.inputs.values()}


class Reader:
    """One model under way: its MetaGraph and what its variables hold."""

    def __init__(
        self, files: Files, on_progress: Progress | None, allow_custom_ops: bool = False
    ) -> None:
        self.files = files
        self.meta_graph = files.meta_graph
        self.on_progress = on_progress
        self.allow_custom_ops = allow_custom_ops

    def model(
        self,
        signature: str | None,
        input_arrays: Sequence[str] | None,
        output_arrays: Sequence[str] | None,
        input_shapes: Mapping[str, Dims] | None,
    ) -> Model:
        """The signatures, or that one; see :func:`octolite.frontends.savedmodel.load`."""
        chosen = self._chosen(signature)
        shapes = dict(input_shapes or {})
        if input_arrays is not None or output_arrays is not None or not chosen:
            entry, shapes = self._part(chosen, input_arrays, output_arrays, shapes)
            found = self._import([entry], shapes)
        else:
            entries = [
                Entry(k, Arrays(dict(i), dict(o), named=True)) for k, (i, o) in chosen.items()
            ]
            found = self._import(entries, shapes)
        initial.prepend([s.graph for s in found], self.state)
        graphs = list({id(s.graph): s.graph for s in found}.values())
        called = [g for g in callees_first(graphs)[::-1] if g not in graphs]
        return Model([*graphs, *called], found)

    # -- signatures ------------------------------------------------------------------------------

    @cached_property
    def signatures(self) -> dict[str, tuple[dict[str, Ref], dict[str, Ref]]]:
        """The arguments and results of each signature, the default one first."""
        found = {}
        for key in sorted(self.meta_graph.signature_def, key=lambda k: (k != _DEFAULT, k)):
            definition = self.meta_graph.signature_def[key]
            if not key.startswith("__saved_model") and definition.outputs:
                found[key] = _refs(definition.inputs), _refs(definition.outputs)
        return found

    def _chosen(self, key: str | None) -> dict[str, tuple[dict[str, Ref], dict[str, Ref]]]:
        if key is None:
            return self.signatures
        if key not in self.signatures:
            hint = did_you_mean(key, self.signatures) or "It has no signatures."
            raise UsageError(f"the model has no signature {key!r}. {hint}")
        return {key: self.signatures[key]}

    def _part(
        self,
        chosen: Mapping[str, tuple[dict[str, Ref], dict[str, Ref]]],
        input_arrays: Sequence[str] | None,
        output_arrays: Sequence[str] | None,
        shapes: Mapping[str, Dims],
    ) -> tuple[Entry, dict[str, Dims]]:
        """An entry between results that are named; names of signatures stand for what they mean."""
        if not chosen and output_arrays is None and self.meta_graph.HasField("object_graph_def"):
            raise UsageError(
                "the model was saved without signatures, so that its functions cannot be called: "
                "give them to tf.saved_model.save(model, path, signatures=...)"
            )
        if not chosen and output_arrays is None and self._trains():
            raise UsageError(
                "the graph also holds what trains it, so that its outputs cannot be told: name them"
            )
        inputs = {n: str(r) for given, _ in chosen.values() for n, r in given.items()}
        outputs = {n: str(r) for _, given in chosen.values() for n, r in given.items()}
        if len(chosen) == 1:  # what is not named is as in the signature
            input_arrays = list(inputs) if input_arrays is None else input_arrays
            output_arrays = list(outputs) if output_arrays is None else output_arrays
        arrays = Arrays.choose(
            self._source(),
            None if input_arrays is None else [inputs.get(n, n) for n in input_arrays],
            None if output_arrays is None else [outputs.get(n, n) for n in output_arrays],
        )
        return Entry(_DEFAULT, arrays), {inputs.get(n, n): d for n, d in shapes.items()}

    def _trains(self) -> bool:
        """Whether the graph has operators that an optimizer makes."""
        return any(_OPTIMIZES.match(node.op) for node in self.meta_graph.graph_def.node)

    # -- importing -------------------------------------------------------------------------------

    @cached_property
    def startup(self) -> Startup:
        """What happens when the model is loaded."""
        source = Source(self.meta_graph.graph_def)
        return Startup(source, self.files.bundle(), self.files.asset)

    @cached_property
    def state(self) -> State:
        """What variables and tables hold when the model has been loaded."""
        restore = Ref.parse(self.meta_graph.saver_def.restore_op_name).name
        return self.startup.state([r for r in (restore, *self._initializers()) if r])

    def _initializers(self) -> list[str]:
        """The nodes that run after variables are restored."""
        signatures, collections = self.meta_graph.signature_def, self.meta_graph.collection_def
        if _INIT in signatures:
            return [Ref.parse(i.name).name for i in signatures[_INIT].outputs.values()]
        named = [collections[c].node_list.value for c in _INITIALIZERS if c in collections]
        return [Ref.parse(name).name for name in (named[0] if named else ())]

    def _source(self) -> Source:
        """The graph, with variables that never change."""
        return Source(self.meta_graph.graph_def, self.state)

    def _import(self, entries: Sequence[Entry], shapes: Mapping[str, Dims]) -> list[Signature]:
        """A graph for each entry, and what it does to variables, if it does anything."""
        known = {n: r for e in entries for n, r in e.arrays.inputs.items()}
        for name in shapes:
            if name not in known and Ref.parse(name) not in known.values():
                hint = did_you_mean(name, known)
                raise UsageError(f"a shape is given for {name!r}, which is no input. {hint}")
        is_live = bool(self._changed(entries))
        found: list[Signature] = []
        known_as: dict[Hashable, Signature] = {}
        for entry in entries:
            its_shapes = entry.shapes(shapes)
            kind = likeness(self.meta_graph.graph_def, entry.arrays), str(its_shapes)
            if kind in known_as:
                found.append(alias(entry.key, entry.arrays, known_as[kind]))
                continue
            if not is_live:  # each variable is a constant then
                entry.source = self._source()
                entry.source.feeds = set(entry.arrays.inputs.values())
            made = graphdef.translate(
                entry.key, entry.source, entry.arrays, its_shapes, self._probe, self.on_progress,
                entry.changes, self.allow_custom_ops,
            )  # fmt: skip
            known_as[kind] = made
            found.append(made)
        return found

    def _changed(self, entries: Sequence[Entry]) -> set[str]:
        """The variables that ``entries`` change, which are told what does that."""
        live: set[str] = set()
        state = self.state  # which runs what happens at first
        if effects.possible(self.meta_graph.graph_def, self.startup.ran):
            for entry in entries:
                entry.source = Source(self.meta_graph.graph_def, state, live)
                entry.source.feeds = set(entry.arrays.inputs.values())
                entry.changes = effects.find(entry.source, entry.arrays.outputs.values())
                live |= {effects.changed(entry.source, ref) for ref in entry.changes}
        return live

    def _probe(self, ref: Ref) -> Value | None:
        """What ``ref`` is in the whole graph, or ``None`` where that cannot be imported so far."""
        source = self._source()
        try:
            arrays = Arrays.choose(source, None, [str(ref)])
            return graphdef.translate("", source, arrays, {}, lambda _: None).graph.outputs[0]
        except OctoliteError:
            return None


def _refs(infos: Any) -> dict[str, Ref]:
    """Where a signature's arguments or results are. Raises :class:`UnsupportedError`."""
    for name in sorted(infos):
        if not infos[name].name:
            raise UnsupportedError(f"{name!r} of the signature is a sparse or composite tensor")
    return {name: Ref.parse(infos[name].name) for name in sorted(infos)}
