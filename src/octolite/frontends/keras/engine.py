"""The table of layers, and where a layer's lowering works.

A lowering is a function registered by ``@layer("Dense", weights="kernel bias?use_bias")``. It gets
a :class:`Call` (the layer's configuration and weights, and the means to add operators) and what
the layer is called on, and returns the layer's results. Nothing else is needed to support a layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from octolite.errors import MISFITS, InvalidGraphError, OctoliteError, ShapeError, UnsupportedError
from octolite.frontends.builder import Builder, Target
from octolite.frontends.keras.config import Config
from octolite.ir.graph import Graph, Value
from octolite.ir.types import BOOL, FLOAT32, INT32, Array, Dim, TensorType

Lowering = Callable[..., Any]
FAILURES: tuple[type[Exception], ...] = (OctoliteError, *MISFITS)
Nest = Any
"""A value, or lists, tuples and dicts of values: what layers take and give."""


Extent = int | Value | tuple[Value, int]
"""An extent: a number, a scalar int32 value, or an axis of a value."""


class Stored(Protocol):
    """An array in a file, which is read when it is asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def read(self) -> Array: ...


# -- the table --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Weight:
    """One weight of a layer, declared as ``part/name?flag~``.

    ``part/`` for one that belongs to a layer inside; ``?flag`` where it is there only if that
    field of the configuration is true (which it is by default), ``?flag=text`` if it is that text,
    ``?!flag`` if it is null; ``~`` if the weight is not trained.
    """

    name: str
    flag: str | None
    trained: bool

    @classmethod
    def parse(cls, text: str) -> Weight:
        name, _, flag = text.rstrip("~").partition("?")
        return cls(name, flag or None, not text.endswith("~"))

    def __str__(self) -> str:
        return self.name + (f"?{self.flag}" if self.flag else "") + "~" * (not self.trained)

    def is_in(self, config: Config) -> bool:
        if self.flag is None:
            return True
        if self.flag.startswith("!"):
            return not config.has(self.flag[1:])
        name, _, wanted = self.flag.partition("=")
        return config.get(name) == wanted if wanted else bool(config.get(name, True))


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a layer class.

    Attributes:
        family: the heading it is listed under.
        weights: in the order in which files have them.
        masks: what becomes of a mask: results have the first input's (``"kept"``), none
            (``"dropped"``), or what the lowering says (``"own"``).
        arguments: names of the arguments that the lowering takes; ``None``: any.
        remark: the lowering's docstring.
    """

    lowering: Lowering
    family: str
    weights: tuple[Weight, ...]
    masks: str
    arguments: frozenset[str] | None
    remark: str


LAYERS: dict[str, Entry] = {}
"""Class name of a layer → what becomes of it."""

CUSTOM: dict[str, Entry] = {}
"""The same for layers that programs declare by :func:`lowering`; these come first."""


def layer(
    *names: str,
    weights: str = "",
    masks: str = "dropped",
    takes: frozenset[str] | None = frozenset(),
    table: dict[str, Entry] | None = None,
) -> Callable[[Lowering], Lowering]:
    """Register a lowering ``(call, *inputs, **arguments) -> value or values`` for layer classes."""

    def register(function: Lowering) -> Lowering:
        parameters = list(inspect.signature(function).parameters.values())[1:]
        entry = Entry(
            function,
            function.__module__.rpartition(".")[2],
            tuple(map(Weight.parse, weights.split())),
            masks,
            None if takes is None else takes | {p.name for p in parameters},
            " ".join((function.__doc__ or "").split()),
        )
        for name in names:
            chosen = LAYERS if table is None else table
            if table is None and name in chosen:
                raise TypeError(f"layer {name} has two lowerings")
            chosen[name] = entry
        return function

    return register


def lowering(*names: str, weights: str = "", masks: str = "kept") -> Callable[[Lowering], Lowering]:
    """Say what becomes of a custom layer, or another than is built in for a known one.

    Args:
        names: its class name, its registered name (``"package>Class"``), or ``"Class:name"`` for
            the one layer of that name, which is how to say what a ``Lambda`` does.
        weights: names of its weights in the order in which Keras stores them, separated by
            spaces: those that are trained first, ``name~`` for one that is not, ``name?flag`` for
            one that is there if that field of the configuration is true, ``part/name`` for a
            weight of the layer that is its attribute ``part``.
        masks: ``"kept"`` if results have the mask of the first input, or ``"dropped"``.

    The function gets a :class:`Call` and the layer's inputs, and returns its results::

        @octolite.keras.lowering("Scale", weights="factor")
        def scale(call, x):
            return call.op("MUL", x, call.weight("factor"))
    """
    return layer(*names, weights=weights, masks=masks, table=CUSTOM)


# -- layers -----------------------------------------------------------------------------------


@dataclass
class Layer(Config):
    """A layer of the model as it was saved.

    Attributes:
        path: its name behind those of the models and wrappers that it lies in.
        names: that it may be registered by, the most exact first.
        parts: layers inside, by attribute.
        stored: its weights by name.
    """

    name: str
    class_name: str
    data: Mapping[str, Any]
    path: str
    names: tuple[str, ...]
    keras: int
    parts: dict[str, Layer | list[Layer]] = field(default_factory=dict)
    stored: dict[str, Stored] = field(default_factory=dict)
    structure: Any = None

    def __post_init__(self) -> None:
        Config.__init__(self, self.path, self.class_name, self.data)

    __repr__ = Config.__repr__

    @property
    def entry(self) -> Entry | None:
        found = (CUSTOM.get(n) for n in self.names)
        own = next((e for e in found if e is not None), None)
        return own or LAYERS.get(self.names[-1])

    @property
    def weights(self) -> list[Weight]:
        """The weights that a file has of the layer itself."""
        entry = self.entry
        return [w for w in entry.weights if w.is_in(self)] if entry is not None else []

    def part(self, name: str) -> Layer:
        found = self.parts.get(name)
        if not isinstance(found, Layer):
            raise InvalidGraphError(f"{self!r} has no {name}")
        return found

    def inside(self) -> Iterator[tuple[str, Layer | list[Layer]]]:
        yield from self.parts.items()

    def everything(self) -> Iterator[Layer]:
        """The layer and all layers inside, each once for each place."""
        yield self
        for part in self.parts.values():
            for inner in part if isinstance(part, list) else [part]:
                yield from inner.everything()


# -- building ---------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Assembly(Target):
    """A graph that is being built from layers.

    Attributes:
        weights: the constants that hold a layer's weights, by the layer's identity and their name.
        masks: the mask [batch, time] of a value, by its identity.
        problems: what cannot be converted → the layers.
    """

    weights: dict[tuple[int, str], Value] = field(default_factory=dict)
    masks: dict[int, tuple[Value, Value]] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)

    def release(self, layer: Layer) -> None:
        """Forget weights that nothing will ask for again: their first form may be freed."""
        for key in [k for k in self.weights if k[0] == id(layer)]:
            self.views.pop(id(self.weights.pop(key)), None)

    def note(self, what: str, path: str) -> None:
        where = self.problems.setdefault(what, [])
        if path not in where:
            where.append(path)


class Call(Builder):
    """Where a lowering works: one call of a layer in one graph.

    Attributes:
        layer: the layer, whose configuration ``integer``, ``number``, ``flag``, ``text``,
            ``ints``, ``sizes`` and ``choice`` read.
        keras: the version of Keras that wrote the file, 2 or 3.
    """

    def __init__(self, target: Assembly, layer: Layer, name: str = "") -> None:
        super().__init__(target)
        self.layer = layer
        self.name = name or target.unique(layer.path)
        self.op_type = layer.class_name
        self.keras = layer.keras
        self.has, self.get = layer.has, layer.get
        self.integer, self.count, self.number = layer.integer, layer.count, layer.number
        self.flag, self.text, self.choice = layer.flag, layer.text, layer.choice
        self.ints, self.sizes = layer.ints, layer.sizes

    @property
    def target(self) -> Assembly:
        assert isinstance(self._target, Assembly)
        return self._target

    # -- weights ------------------------------------------------------------------------------

    def weight(self, name: str, *shape: Dim) -> Value:
        """A weight as a constant, float32 for any float.

        ``shape`` is what it must have, ``None`` for an extent that may be anything. Raises
        :class:`InvalidGraphError` where the file has none, or another.
        """
        key = (id(self.layer), name)
        if key not in self.target.weights:
            stored = self.layer.stored.get(name)
            if stored is None:
                raise InvalidGraphError(f"{self.layer!r} has no weight {name!r} in the file")
            self._check(name, stored.shape, shape)
            array = stored.read()
            array = array.astype(np.float32, copy=False) if array.dtype.kind not in "iub" else array
            constant = Value.constant(self._target.unique(f"{self.layer.path}/{name}"), array)
            self.target.weights[key] = constant
        found = self.target.weights[key]
        self._check(name, found.shape or (), shape)
        return found

    def optional(self, name: str, *shape: Dim) -> Value | None:
        """The same; ``None`` for one that the configuration leaves out."""
        there = any(w.name == name for w in self.layer.weights)
        return self.weight(name, *shape) if there else None

    def _check(self, name: str, found: Sequence[Dim], wanted: Sequence[Dim]) -> None:
        fits = len(found) == len(wanted) and all(
            w is None or w == f for f, w in zip(found, wanted, strict=True)
        )
        if wanted and not fits:
            expected = ", ".join("any" if d is None else str(d) for d in wanted)
            raise InvalidGraphError(
                f"{self.layer!r}: the weight {name!r} has shape {tuple(found)}, expected "
                f"({expected})"
            )

    # -- masks --------------------------------------------------------------------------------

    def mask(self, x: Value) -> Value | None:
        """The mask of ``x``: bool [batch, time], false where a step is to be left out."""
        found = self.target.masks.get(id(x))
        return found[1] if found is not None else None

    def masked(self, x: Value, mask: Value | None) -> Value:
        """``x``, with that mask."""
        if mask is None:
            self.target.masks.pop(id(x), None)
        else:
            self.target.masks[id(x)] = (x, mask)
        return x

    # -- other layers and graphs -----------------------------------------------------------------

    def call(self, layer: Layer, *inputs: Nest, **arguments: Nest) -> Nest:
        """The results of another layer."""
        return run(self.target, layer, inputs, arguments)

    def nested(self, name: str) -> Call:
        """A place to build another graph, for an operator that runs it."""
        inner = Assembly(graph=Graph(f"{self.name}/{name}"), problems=self.target.problems)
        return Call(inner, self.layer, self.name)

    def on(self, layer: Layer) -> Call:
        """The same place, with another layer's configuration and weights."""
        return Call(self.target, layer)

    def parameters(self, types: Sequence[TensorType]) -> list[Value]:
        """Inputs of these types for the graph that is built here."""
        name = f"{self.graph.name}/given"
        return [self.graph.add_input(self._target.unique(name), t.dtype, t.shape) for t in types]

    # -- what many lowerings do --------------------------------------------------------------------

    def real(self, x: Value) -> Value:
        """``x`` as float32."""
        return self.cast(x, FLOAT32)

    def activate(self, x: Value, key: str = "activation", default: str = "linear") -> Value:
        """``x`` through the activation that the configuration names."""
        from octolite.frontends.keras.activations import activate

        return activate(self, x, self.get(key, default))

    def shape(self, x: Value) -> tuple[Dim, ...]:
        """The extents of ``x``. Raises :class:`UnsupportedError` when the rank is unknown."""
        self.rank(x)
        return x.shape or ()

    def extent(self, x: Value, axis: int) -> int:
        """One extent of ``x``. Raises :class:`UnsupportedError` when it is unknown."""
        found = self.shape(x)[axis]
        if found is None:
            raise UnsupportedError(f"{self.op_type} on {x!r}, of which axis {axis} must be known")
        return found

    def axis(self, x: Value, what: Any = -1) -> int:
        """An axis of ``x``, counted from the front."""
        rank = self.rank(x)
        if not isinstance(what, int) or not -rank <= what < rank:
            raise InvalidGraphError(f"{self.layer!r}: {what!r} is no axis of {x!r}")
        return what % rank

    def scalar(self, x: Value, axis: int) -> Value:
        """One extent of ``x`` as a scalar int32, when the model runs if need be."""
        known = self.shape(x)[axis]
        if known is not None:
            return self.constant(np.asarray(known, np.int32))
        shape = self.op("SHAPE", x, out_type=INT32)
        return self.op("STRIDED_SLICE", shape, [axis], [axis + 1], [1], shrink_axis_mask=1)

    def extents(self, wanted: Sequence[Extent]) -> Value:
        """A shape, of which parts may be known only when the model runs."""
        known = [self._known(w) for w in wanted]
        if None not in known:
            return self.constant(np.asarray(known, np.int32))
        parts = [self._extent(w) for w in wanted]
        return self.op("PACK", *parts, values_count=len(parts), axis=0)

    def _extent(self, wanted: Extent) -> Value:
        if isinstance(wanted, tuple):
            return self.scalar(*wanted)
        return wanted if isinstance(wanted, Value) else self.constant(np.asarray(wanted, np.int32))

    def _known(self, wanted: Extent) -> Dim:
        if isinstance(wanted, tuple):
            return self.shape(wanted[0])[wanted[1]]
        return wanted if isinstance(wanted, int) else None

    def reshaped(self, x: Value, wanted: Sequence[Extent]) -> Value:
        """``x`` in another shape, of which several extents may be known only at run time."""
        known = [-1 if d is None else d for d in map(self._known, wanted)]
        if known.count(-1) <= 1:
            return self.reshape(x, known)
        y = self.op("RESHAPE", x, self.extents(wanted), new_shape=())
        y.shape = tuple(None if d == -1 else d for d in known)
        return y

    def zeros(self, wanted: Sequence[Extent]) -> Value:
        """Zeros of a shape, float32."""
        shape = self.extents(wanted)
        if shape.data is not None:
            self.spend(int(np.prod(shape.data, dtype=object)) * 4)
            return self.constant(np.zeros(shape.data, np.float32))
        y = self.op("FILL", shape, np.zeros((), np.float32))
        y.shape = tuple(map(self._known, wanted))
        return y

    def both(self, a: Value | None, b: Value | None) -> Value | None:
        """Where two masks are true; ``None`` is true everywhere."""
        if a is None or b is None:
            return b if a is None else a
        return self.op("LOGICAL_AND", a, b)

    def expand(self, x: Value, axis: int) -> Value:
        """``x`` with an axis of extent 1 more."""
        return self.op("EXPAND_DIMS", x, np.asarray(axis, np.int32))

    def truth(self, x: Value) -> Value:
        """``x`` as bool."""
        return self.op("NOT_EQUAL", x, 0) if x.dtype is not BOOL else x


# -- running lowerings ------------------------------------------------------------------------


def run(
    target: Assembly, layer: Layer, inputs: Sequence[Nest], arguments: Mapping[str, Nest]
) -> Nest:
    """What ``layer`` gives for ``inputs``.

    Raises :class:`UnsupportedError` for what cannot be converted; any other error of the model
    names the layer.
    """
    entry = layer.entry
    if entry is None:
        raise UnsupportedError(unknown(layer))
    call = Call(target, layer)
    try:
        given = _arguments(call, entry, inputs, arguments)
        results = entry.lowering(call, *inputs, **given)
        _name(call, results)
        _pass_masks(call, entry, inputs, results)
    except (UnsupportedError, InvalidGraphError):
        raise
    except FAILURES as error:
        reads = ", ".join(map(repr, flat(inputs)))
        kind = "" if isinstance(error, OctoliteError) else f"{type(error).__name__}: "
        raise InvalidGraphError(f"{layer!r} reading ({reads}): {kind}{error}") from error
    return results


def _arguments(
    call: Call, entry: Entry, inputs: Sequence[Nest], arguments: Mapping[str, Nest]
) -> dict[str, Nest]:
    """The arguments that the lowering takes; masks go to the inputs.

    Raises :class:`UnsupportedError` for another that says anything.
    """
    given = {k: v for k, v in arguments.items() if k != "training"}
    _take_masks(call, inputs, given)
    known = given if entry.arguments is None else entry.arguments
    for name in [k for k in given if k not in known]:
        if given.pop(name) not in (None, False):
            raise UnsupportedError(f"{call.op_type} called with {name}")
    return given


def unknown(layer: Layer) -> str:
    """Why a layer without a lowering cannot be converted."""
    if layer.class_name == "Lambda":
        return "Lambda holds Python code, which is not run"
    return f"layer class {layer.names[-2] if len(layer.names) > 1 else layer.class_name} is unknown"


def _name(call: Call, results: Nest) -> None:
    for number, value in enumerate(flat(results)):
        if not isinstance(value, Value):
            raise ShapeError(f"the lowering of {call.op_type} gave {value!r}, which is no value")
        call.claim(value, call.name if number == 0 else f"{call.name}:{number}")


def _take_masks(call: Call, inputs: Sequence[Nest], given: dict[str, Nest]) -> None:
    """Let inputs have the masks that the call names."""
    mask = given.pop("mask", None)
    if mask is None or not inputs:
        return
    values = inputs[0] if isinstance(inputs[0], list | tuple) else [inputs[0]]
    masks = mask if isinstance(mask, list | tuple) else [mask]
    for value, its in zip(values, masks, strict=False):
        call.masked(value, None if its is None else call.truth(its))


def _pass_masks(call: Call, entry: Entry, inputs: Sequence[Nest], results: Nest) -> None:
    if entry.masks == "own":
        return
    values = flat(inputs)
    found = call.mask(values[0]) if values and entry.masks == "kept" else None
    for value in flat(results):
        if not any(value is v for v in values):
            call.masked(value, found)
        elif entry.masks == "dropped":
            call.masked(value, None)


def flat(nest: Nest) -> list[Any]:
    """What is in lists, tuples and dicts, in order; nothing for ``None``."""
    if nest is None:
        return []
    if isinstance(nest, Mapping):
        return [v for item in nest.values() for v in flat(item)]
    if isinstance(nest, list | tuple):
        return [v for item in nest for v in flat(item)]
    return [nest]
