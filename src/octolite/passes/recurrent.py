"""Loops over known cells become recurrent operators.

Cell by cell, what a loop carries is taken out of it: a state whose next value is that of a known
cell (:mod:`cells`), fed by what can be computed for all steps at once (:mod:`steps`), becomes an
operator over the sequence, whose result is again known for all steps. So stacks of cells come apart
into one operator each, and what a wrapper adds (a residual sum, a dense layer, an embedding) is
computed for the whole sequence. When everything that is read behind the loop has been found, the
loop is gone. Otherwise it stays as it was, and the reason is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from octolite.ir.graph import Graph, Node, Value
from octolite.ir.types import FLOAT32, Array
from octolite.ops.base import Operator, operator_class
from octolite.ops.lstm import SequenceLSTM
from octolite.passes import counts, loops
from octolite.passes.cells import Cell, inputs_of, is_whole, lstm, matrix_of, rnn, width, width_of
from octolite.passes.engine import Event, Explanation, merge_shapes, take_over
from octolite.passes.loops import Loop, constant, is_zero
from octolite.passes.steps import Builder, DeclinedError, Mask, Steps

NAME = "FuseRecurrentCells"

SEQUENCES = ("UNIDIRECTIONAL_SEQUENCE_RNN", "UNIDIRECTIONAL_SEQUENCE_LSTM")


def fuse(graph: Graph, explain: Explanation | None = None) -> int:
    """Replace loops of ``graph`` by recurrent operators; returns how many."""
    fused = _settle_states(graph) + _turn(graph)
    for node in [n for n in graph.nodes if n.op.name == "WHILE"]:
        reason = _try(graph, node)
        fused += reason is None
        if explain is not None:
            explain.record(Event(NAME, (node.name,), reason))
    return fused


def _settle_states(graph: Graph) -> int:
    """Give variables the extents that have become known; returns how many."""
    changed = 0
    for node in graph.nodes:
        assert isinstance(node.op, Operator)
        names = [p.name for p in node.op.input_parameters()]
        for name, shape in node.op.states(node.inputs).items():
            value = node.inputs[names.index(name)]
            if value is not None and value.shape is not None and None in value.shape:
                told = merge_shapes(value.shape, shape)
                changed += told not in (None, value.shape)
                value.shape = told or value.shape
    return changed


def _turn(graph: Graph) -> int:
    """Let operators read a sequence as it is before its transposition; returns how many."""
    changed = 0
    for node in list(graph.nodes):
        if node.op.name not in SEQUENCES:
            continue
        assert isinstance(node.op, Operator)
        assert node.inputs[0] is not None
        source = node.inputs[0].producer
        perm = None if source is None or source.op.name != "TRANSPOSE" else source.inputs[1]
        if source is None or perm is None or perm.data is None or perm.data.tolist() != [1, 0, 2]:
            continue
        node.op = node.op.replace(time_major=not node.op.attributes()["time_major"])
        node.set_input(0, source.inputs[0])
        old = node.output
        shape = None if old.shape is None else (old.shape[1], old.shape[0], old.shape[2])
        new = Value(f"{old.name}/turned", old.dtype, shape)
        node.outputs, new.producer = (new,), node
        order = Value.constant(f"{old.name}/order", np.array([1, 0, 2], np.int32))
        graph.add(operator_class("TRANSPOSE")(), [new, order], old.name, outputs=[old])
        changed += 1
    if changed:
        graph.sort()
        graph.prune()
    return changed


def _try(graph: Graph, node: Node) -> str | None:
    """Why the loop stays, or ``None`` when it is gone."""
    found = loops.read(node)
    if isinstance(found, str):
        return found
    build = Builder(graph, node)
    try:
        results = _Fusion(found, build).results()
    except DeclinedError as declined:
        build.undo()
        return str(declined)
    read = {id(old) for old, _ in results}
    node.outputs = tuple(v for v in node.outputs if id(v) not in read)
    for old, new in results:
        if graph.is_output(old):
            take_over(graph, old, new)
        else:
            old.producer = None
            graph.replace(old, new)
    loops.remove(graph, node)
    return None


@dataclass
class State:
    """A loop's state: its value before and after a step, and the mask under which it stays."""

    index: int
    old: Value
    new: Value
    mask: Mask | None


class _Fusion:
    """One loop being taken apart."""

    def __init__(self, loop: Loop, build: Builder) -> None:
        self.loop = loop
        self.build = build
        self.steps = Steps(loop, build, self._length())
        self.short = self._short()
        self.states = {i: self._state(i) for i in loop.states.values()}
        self.outputs: dict[int, Value] = {}

    # -- how many steps -----------------------------------------------------------------------

    def _length(self) -> Value:
        """The bound that is the length of what is read or written, or else the first."""
        bounds = [bound for start, bound in self.loop.bounds if start == 0]
        if len(bounds) != len(self.loop.bounds) or not bounds or self.loop.clock is None:
            raise DeclinedError("its counters do not start from 0")
        forms = [counts.number(b) for b in bounds]
        lengths = {counts.extent(v, 0) for v in self._sequences()}
        pairs = zip(bounds, forms, strict=True)
        found = next((b for b, f in pairs if f in lengths), bounds[0])
        return found if found.data is None else self.build.constant(found.data)

    def _sequences(self) -> list[Value]:
        """Tensors that the loop reads or writes step by step."""
        found = []
        clocks = {id(self.loop.body.inputs[i]) for i in self.loop.counters}
        for node in self.loop.body.nodes:
            if node.op.name == "GATHER" and id(node.inputs[1]) in clocks and node.inputs[0]:
                outer = self.loop.outer(node.inputs[0])
                found += [] if outer is None else [outer]
        found += [v for v in self.loop.node.inputs if v is not None and len(v.shape or ()) > 2]
        return [v for v in found if v.shape]

    def _short(self) -> Mask | None:
        """The mask of sequences that end before the loop's length, where it stops with the longest.

        Raises :class:`DeclinedError` when it may stop earlier in another way.
        """
        whole = counts.number(self.steps.length)
        for _, bound in self.loop.bounds:
            form = counts.number(bound)
            if form == whole or (form[0] == whole[0] == "number" and form[1:] >= whole[1:]):
                continue
            lengths = self._longest(bound)
            if lengths is None:
                raise DeclinedError(
                    f"the number of steps, {bound.name!r}, is not that of the sequence"
                )
            return lengths
        return None

    def _longest(self, bound: Value) -> Mask | None:
        """The lengths of which ``min(length, max(1, max(lengths)))`` is the bound."""
        whole = counts.number(self.steps.length)
        node = bound.producer
        if bound.data is not None:
            return (1, int(bound.data.reshape(())))  # checked with the masks
        if node is None or node.op.name != "MINIMUM":
            return None
        for length, other in (node.inputs, node.inputs[::-1]):
            if length is None or other is None or counts.number(length) != whole:
                continue
            most = other.producer
            if most is None or most.op.name != "MAXIMUM":
                continue
            for one, longest in (most.inputs, most.inputs[::-1]):
                reduced = None if longest is None else longest.producer
                if constant(one) == 1 and reduced is not None and reduced.op.name == "REDUCE_MAX":
                    lengths = reduced.inputs[0]
                    return None if lengths is None else (id(lengths),)
        return None

    def _covers(self, mask: Mask | None) -> bool:
        """Whether ``mask`` is true for all steps that the loop leaves out."""
        if self.short is None or mask is None:
            return self.short is None
        if self.short[0] == 1:
            return mask[0] == 0 and all(n <= self.short[1] for n in mask[1:])
        return mask == self.short

    # -- states -------------------------------------------------------------------------------

    def _state(self, index: int) -> State:
        old, new = self.loop.body.inputs[index], self.loop.body.outputs[index]
        node = new.producer
        if node is not None and node.op.name in ("SELECT", "SELECT_V2"):
            condition, kept, changed = node.inputs
            mask = None if condition is None else self.steps.mask_of(condition)
            if kept is old and changed is not None and mask is not None:
                return State(index, old, changed, mask)
        return State(index, old, new, None)

    def _find_cells(self) -> None:
        """Take out cells until no more is found."""
        left = dict(self.states)
        while True:
            before = len(left)
            for index, state in list(left.items()):
                if index in left and self._cell(state, left):
                    break
            if len(left) == before:
                return

    def _cell(self, state: State, left: dict[int, State]) -> bool:
        cell = self._recognised(state, left)
        if cell is None:
            return False
        needed = inputs_of(cell)
        if any(self._depends(v, left) for v in needed):
            return False
        memory = None if cell.memory is None else cell.memory[0]
        used = [s for s in left.values() if s.old is cell.old or s.old is memory]
        if len({s.mask for s in used}) != 1:
            raise DeclinedError(
                f"only some of the states of {state.new.name!r} stop with the sequence"
            )
        for s in used:
            initial = self.loop.node.inputs[s.index]
            if not is_zero(initial):
                name = "" if initial is None else repr(initial.name)
                raise DeclinedError(f"its initial state {name} is not zero")
            wide = width_of(cell, cell.old) if s.old is cell.old else cell.units
            if initial is None or width(initial) not in (None, wide):
                raise DeclinedError(f"its initial state {s.old.name!r} is not {wide} wide")
            del left[s.index]
        self._emit(cell, used[0].mask)
        return True

    def _depends(self, value: Value, left: dict[int, State]) -> bool:
        """Whether ``value`` depends on a state that is not found yet."""
        unknown = {id(s.old) for s in left.values()}
        stack, seen = [value], set()
        while stack:
            value = stack.pop()
            if id(value) in seen or id(value) in self.steps.known:
                continue
            seen.add(id(value))
            if id(value) in unknown:
                return True
            if value.producer is not None:
                stack += [v for v in value.producer.inputs if v is not None]
        return False

    def _recognised(self, state: State, left: dict[int, State]) -> Cell | None:
        def memory(new: Value) -> Value | None:
            found = next((s for s in left.values() if s.new is new and s is not state), None)
            return None if found is None else found.old

        cell = lstm(state.new, state.old, memory) or rnn(state.new, state.old)
        return cell if cell is not None and is_whole(cell) else None

    # -- operators ----------------------------------------------------------------------------

    def _emit(self, cell: Cell, mask: Mask | None) -> None:
        """Add the operator for ``cell``; what it gives is known for all steps."""
        inputs = inputs_of(cell)
        stains = {self._stain(v) for v in inputs} - {None}
        if len(stains | ({mask} - {None})) > 1:
            raise DeclinedError(f"{cell.new.name!r} mixes sequences of different lengths")
        parts = [self.steps.all(v) for v in inputs]
        if any(len(p.shape or ()) != 3 for p in parts):
            raise DeclinedError(f"{cell.new.name!r} is not a row for each sequence of a batch")
        x = parts[0] if len(parts) == 1 else self.build.add("CONCATENATION", *parts, axis=2)
        out = sequence(self.build, cell, inputs, x)
        self.steps.known[id(cell.new)] = out
        self.steps.dirty[id(cell.new)] = mask or next(iter(stains), None)

    def _stain(self, value: Value) -> Mask | None:
        self.steps.all(value)
        return self.steps.dirty.get(id(value))

    # -- results ------------------------------------------------------------------------------

    def results(self) -> list[tuple[Value, Value]]:
        """What replaces each result of the loop that is read. Raises :class:`DeclinedError`."""
        self._find_cells()
        graph, found = self.build.graph, []
        for i, result in enumerate(self.loop.node.outputs):
            if result.uses or graph.is_output(result):
                found.append((result, self._result(i, result)))
        ends = [new for old, new in found if graph.is_output(old)]
        if len({id(v) for v in ends}) < len(ends) or any(map(graph.is_output, ends)):
            raise DeclinedError("two results of the graph would be one")
        if any(v.producer is None for v in ends):
            raise DeclinedError("a result of the graph would be one of its inputs")
        # Those that keep their own value come last: the others must not point to what is gone.
        return sorted(found, key=lambda pair: graph.is_output(pair[0]))

    def _result(self, index: int, result: Value) -> Value:
        if index in self.loop.unchanged:
            raise DeclinedError(
                f"{result.name!r} is a result of the graph although it does not change"
            )
        state = self.states.get(index)
        if state is None:
            raise DeclinedError(f"its counter {result.name!r} is read behind it")
        item = self._written(state)
        if item is not None:
            return self._sequence(state, *item)
        if id(state.new) not in self.steps.known:
            raise DeclinedError(
                f"its last {state.new.name!r} is read behind it, and is not the output of a cell "
                "that is known"
            )
        return self._last(state)

    def _written(self, state: State) -> tuple[Value, Value] | None:
        """What each step writes to a TensorArray, and at which index."""
        node = self.loop.body.outputs[state.index].producer
        if node is None or node.op.name != "DYNAMIC_UPDATE_SLICE":
            return None
        array, update, start = node.inputs[:3]
        if array is not state.old or update is None or start is None:
            return None
        index: Value | None = start
        others: list[int | None] = [None]
        if start.data is not None:
            index = self.build.constant(start.data.reshape(-1)[0])
            others = start.data.reshape(-1)[1:].tolist()
        elif start.producer is not None and start.producer.op.name == "PACK":
            index = start.producer.inputs[0]
            others = [constant(v) for v in start.producer.inputs[1:]]
        item = update.producer
        if any(others) or None in others or not _fills(update, array):
            raise DeclinedError("it writes only a part of an element")
        if index is None or item is None or item.op.name not in ("RESHAPE", "EXPAND_DIMS"):
            raise DeclinedError("what it writes in a step is not one element")
        assert item.inputs[0] is not None
        return item.inputs[0], index

    def _sequence(self, state: State, item: Value, index: Value) -> Value:
        """A TensorArray when the loop has ended."""
        array = self.loop.node.inputs[state.index]
        assert array is not None
        if not self.steps.varies(item):
            raise DeclinedError(f"{item.name!r} is the same in each step")
        steps = self.steps.all(item)
        if self.steps.dirty.get(id(item)) is not None:
            raise DeclinedError(f"{item.name!r} is read past the end of a sequence")
        if constant(index) == 0 and counts.extent(array, 0) == ("number", 1):
            return self._behind(steps, keep=True)
        if not self.steps.is_clock(index):
            raise DeclinedError("it writes its results in another order than that of the steps")
        if counts.extent(array, 0) != counts.number(self.steps.length):
            raise DeclinedError(f"it may not fill the TensorArray {array.name!r}")
        if self.short is not None and not self._ends_in_zeros(item):
            raise DeclinedError(f"{item.name!r} may not be zero behind the longest sequence")
        return steps

    def _behind(self, steps: Value, keep: bool) -> Value:
        """The last step, as an array of one step if ``keep``."""
        if self.short is not None:
            raise DeclinedError("its last step is not known before it has run")
        bounds = self.build.integers(-1), self.build.integers(0), self.build.integers(1)
        mask = 0 if keep else 1
        return self.build.add("STRIDED_SLICE", steps, *bounds, shrink_axis_mask=mask, end_mask=1)

    def _ends_in_zeros(self, item: Value) -> bool:
        node = item.producer
        if node is None or node.op.name not in ("SELECT", "SELECT_V2"):
            return False
        condition, zeros, _ = node.inputs
        if condition is None or zeros is None or self.steps.varies(zeros):
            return False
        return self._covers(self.steps.mask_of(condition)) and is_zero(self.steps.fixed(zeros))

    def _last(self, state: State) -> Value:
        """The state behind the last step, of each row's own length where there is a mask."""
        steps = self.steps.known[id(state.new)]
        if state.mask is None:
            if self.steps.dirty.get(id(state.new)) is not None:
                raise DeclinedError(f"{state.new.name!r} goes on past the end of a sequence")
            return self._behind(steps, keep=False)
        if self.short is not None and not self._covers(state.mask):
            raise DeclinedError(f"{state.new.name!r} may end before its sequence does")
        return self._at_end(state, steps)

    def _at_end(self, state: State, steps: Value) -> Value:
        """The sum of all steps, of which only each row's last is not set to zero."""
        build = self.build
        select = self.loop.body.outputs[state.index].producer
        assert select is not None
        assert select.inputs[0] is not None
        test = select.inputs[0].producer
        assert test is not None
        pair = test.inputs if test.op.name == "GREATER_EQUAL" else test.inputs[::-1]
        clock, lengths = pair
        assert clock is not None
        assert lengths is not None
        outer = self.steps.fixed(lengths)
        last = build.add("SUB", build.add("MINIMUM", outer, self.steps.length), _one(build, outer))
        times = self.steps.all(clock)
        column = build.add("RESHAPE", times, build.integers(-1, 1), new_shape=(-1, 1))
        chosen = build.add("EQUAL", column, last)
        wide = build.add("EXPAND_DIMS", chosen, build.constant(np.int32(2)))
        zero = build.constant(np.float32(0))
        kept = build.add("SELECT_V2", wide, steps, zero)
        return build.add("SUM", kept, build.integers(0), keep_dims=False)


def _fills(update: Value, array: Value) -> bool:
    """Whether ``update`` is as wide as the elements of ``array``."""
    if update.shape is None or array.shape is None or len(update.shape) != len(array.shape):
        return False
    pairs = zip(update.shape[1:], array.shape[1:], strict=True)
    return all(a == b or b is None for a, b in pairs)


def _one(build: Builder, like: Value) -> Value:
    return build.constant(np.asarray(1, like.dtype.numpy))


# -- a cell as an operator -----------------------------------------------------------------------


def sequence(build: Builder, cell: Cell, inputs: list[Value], x: Value) -> Value:
    """The operator that runs ``cell`` over ``x`` [time, batch, depth]; the same of its output.

    From ``x`` [batch, depth] it runs a single step.
    """
    batch = None if x.shape is None else x.shape[-2]
    single = x.shape is not None and len(x.shape) == 2
    prefix = "" if single else "UNIDIRECTIONAL_SEQUENCE_"
    order = {} if single else {"time_major": True}
    name = f"{build.before.name}/{cell.new.name}"

    def array(data: Array, what: str) -> Value:
        return Value.constant(f"{name}/{what}", np.ascontiguousarray(data, np.float32))

    def state(what: str, units: int) -> Value:
        return Value(f"{name}/{what}", FLOAT32, (batch, units), is_variable=True)

    units = cell.units
    assert units is not None
    biases = {g: np.broadcast_to(a.bias, (units,)) for g, a in cell.gates.items()}
    if not cell.is_lstm:
        return build.add(
            f"{prefix}RNN", x,
            array(matrix_of(cell, "cell", inputs), "weights"),
            array(matrix_of(cell, "cell", [cell.old]), "recurrent_weights"),
            array(biases["cell"], "bias"), state("state", units),
            activation=cell.activation, **order,
        )  # fmt: skip
    given: dict[str, Value] = {"input": x}
    for gate, form in cell.gates.items():
        given[f"input_to_{gate}_weights"] = array(matrix_of(cell, gate, inputs), f"{gate}/weights")
        recurrent = array(matrix_of(cell, gate, [cell.old]), f"{gate}/recurrent_weights")
        given[f"recurrent_to_{gate}_weights"] = recurrent
        given[f"{gate}_gate_bias"] = array(biases[gate], f"{gate}/bias")
        if form.norm is not None:
            coefficients = array(form.norm, f"{gate}/norm")
            given[f"{gate}_layer_norm_coefficients"] = coefficients
        for _, vector in form.scales.values():
            given[f"cell_to_{gate}_weights"] = array(vector, f"{gate}/peephole")
    outputs = width_of(cell, cell.old)
    if cell.projection is not None:
        matrix, bias = cell.projection
        given["projection_weights"] = array(matrix, "projection")
        if bias is not None:
            given["projection_bias"] = array(bias, "projection_bias")
    given["output_state"], given["cell_state"] = state("h", outputs), state("c", units)
    names = [p.name for p in SequenceLSTM.input_parameters()]
    if "output_layer_norm_coefficients" not in given:
        names = names[:20]
    return build.add(
        f"{prefix}LSTM", *[given.get(n) for n in names],
        activation=cell.activation, cell_clip=cell.cell_clip, proj_clip=cell.proj_clip, **order,
    )  # fmt: skip
