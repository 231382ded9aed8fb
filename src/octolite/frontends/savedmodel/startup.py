"""What a model's variables and tables hold before it runs.

TensorFlow runs a part of the graph when it loads a model: the restore operator, which assigns what
a checkpoint holds to variables, then the initializer, which fills tables. Here that part is read:
an assignment of a ``RestoreV2`` result says which tensor of the checkpoint a variable holds, any
other assigned value is computed by the converter itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from octolite.errors import InvalidGraphError, UnsupportedError
from octolite.frontends.graphdef.engine import Importer
from octolite.frontends.graphdef.nodes import Ref, TfNode
from octolite.frontends.graphdef.source import VARIABLES, Content, Source, State, resource_name
from octolite.frontends.savedmodel.bundle import Bundle
from octolite.frontends.savedmodel.vocabulary import Vocabulary
from octolite.ir.types import Array

CHANGES = re.compile(
    r"Assign|ResourceScatter|ResourceApply|ResourceStridedSliceAssign|Apply[A-Z]"
    r"|Scatter(Nd)?(Add|Sub|Mul|Div|Min|Max|Update)$"
)
"""Operators that change a variable."""

_FILLS = ("LookupTableImportV2", "InitializeTableV2", "InitializeTable", "LookupTableImport")
_FILLS_FROM_FILE = ("InitializeTableFromTextFileV2", "InitializeTableFromTextFile")
_TABLES = ("HashTableV2", "HashTable", "MutableHashTableV2", "MutableHashTable")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase", "While", "StatelessWhile")


@dataclass
class Startup:
    """The part of the graph that runs when the model is loaded.

    ``asset`` gives a file's contents by the node that is its name.
    """

    source: Source
    bundle: Bundle | None
    asset: Callable[[str], bytes]
    ran: set[str] = field(default_factory=set)
    """The nodes that have run, by name, and the functions that they call."""
    _assigned: dict[str, Ref] = field(default_factory=dict)
    _lists: dict[Ref, list[str]] = field(default_factory=dict)

    def state(self, roots: Iterable[str]) -> State:
        """What variables and tables hold once the nodes ``roots`` have run, in this order."""
        state = State()
        for root in roots:
            for node in performed(self.source, [Ref(root)]):
                self.ran |= {node.name, node.function("f") if node.has("f") else node.op_type}
                if node.op_type in ("Assign", "AssignVariableOp") and len(node.inputs) == 2:
                    name = self._name(node, VARIABLES)
                    self._assigned[name] = node.inputs[1]
                    state.variables[name] = self._content(node.inputs[1], f"variable {name!r}")
                elif node.op_type in _FILLS and len(node.inputs) == 3:
                    name = self._name(node, _TABLES)
                    keys, values = (self._content(r, f"table {name!r}") for r in node.inputs[1:])
                    state.tables[name] = keys, values
                elif node.op_type in _FILLS_FROM_FILE and len(node.inputs) == 2:
                    state.tables[self._name(node, _TABLES)] = self._from_file(node)
        return state

    def _name(self, node: TfNode, kinds: tuple[str, ...]) -> str:
        """What ``node`` fills or assigns to."""
        target = owner(self.source, node.inputs[0])
        if target is None or target.op_type not in kinds:
            raise InvalidGraphError(f"{node!r} does not lead to {' or '.join(kinds)}")
        return resource_name(target)

    def _content(self, ref: Ref, what: str) -> Content:
        """A reader of ``ref``: a checkpoint's tensor, or a value computed from constants."""
        origin = self.source.behind(self.source.resolve(ref))
        node = self.source.nodes.get(origin.name)
        if node is None or node.op_type != "RestoreV2":
            return lambda: self._evaluated(ref, what)
        names, parts = (self._texts(node, i) for i in (1, 2))
        if origin.output >= min(len(names), len(parts)):
            raise InvalidGraphError(f"{node!r} restores {len(names)} tensors, {what} is another")
        bundle = self.bundle
        if bundle is None:
            raise InvalidGraphError(f"{what} is restored from a checkpoint, and there is none")
        return lambda: bundle.tensor(names[origin.output], parts[origin.output])

    def _texts(self, node: TfNode, index: int) -> list[str]:
        """The strings of a constant among the inputs of ``node``."""
        if index >= len(node.inputs):
            raise InvalidGraphError(f"{node!r} has {len(node.inputs)} inputs, expected 3")
        given = node.inputs[index]
        if given not in self._lists:
            origin = self.source.origin(self.source.resolve(given))
            if origin is None or origin.op_type != "Const":
                raise UnsupportedError(f"{node!r} reads names of tensors that are not constant")
            texts = origin.array_attribute("value").reshape(-1)
            self._lists[given] = [t.decode(errors="replace") for t in texts]
        return self._lists[given]

    def _evaluated(self, ref: Ref, what: str) -> Array:
        """The value of ``ref``, which must depend on constants alone."""
        try:
            order = self.source.order([ref])
            importer = Importer(self.source)
            found = self.source.resolve(ref)
            importer.run(order, [found])
            data = importer.values[found].data
        except (UnsupportedError, KeyError) as error:
            raise UnsupportedError(f"{what} begins with what cannot be computed: {error}") from None
        if data is None:
            raise UnsupportedError(f"{what} begins with what is not constant")
        return np.asarray(data)

    def _from_file(self, node: TfNode) -> tuple[Content, Content]:
        """Readers of the keys and the values in a table's text file."""
        owned = owner(self.source, node.inputs[0])
        assert owned is not None  # its name has been found
        text = Vocabulary.of(node, owned, lambda: self.asset(self._named_by(node.inputs[1])))
        return text.keys, text.values

    def _named_by(self, ref: Ref) -> str:
        """The node that is the name of a file, which a variable may hold."""
        node = owner(self.source, ref)
        if node is not None and node.op_type in VARIABLES:
            ref = self._assigned.get(resource_name(node), ref)
        return self.source.behind(self.source.resolve(ref)).name


def owner(source: Source, ref: Ref) -> TfNode | None:
    """The node that makes the variable or table behind ``ref``."""
    return source.nodes.get(source.behind(source.resolve(ref)).name)


def performed(source: Source, roots: Iterable[Ref]) -> Iterator[TfNode]:
    """The nodes that computing ``roots`` runs, in no order: what they read or wait for.

    Calls are entered, for all in them that may have an effect. Loops and undecided conditionals
    are given as they are.
    """
    seen: set[str] = set()
    stack = [name for ref in roots for name in (ref.name, source.resolve(ref).name)]
    while stack:
        name = stack.pop()
        node = source.nodes.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if _is_entered(source, node):
            source.resolve(Ref(name))
        inside = [source.nodes[n] for n in source.bodies.get(name, ())]
        stack += [n.name for n in inside if _may_matter(source, n)]
        yield node
        for ref in node.inputs:  # a call that gives it, and what gives it there
            stack += ref.name, source.resolve(ref, node).name
        stack += node.controls


def _is_entered(source: Source, node: TfNode) -> bool:
    return node.op_type in (*_CALLS, *BRANCHES) or node.op_type in source.functions


def _may_matter(source: Source, node: TfNode) -> bool:
    """Whether a function's node may do something although nobody reads it."""
    fills = node.op_type in _FILLS or node.op_type in _FILLS_FROM_FILE
    return fills or _is_entered(source, node) or CHANGES.match(node.op_type) is not None
