"""Cells that are written out step by step, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

import octolite
from octolite import passes, tflite
from octolite.ir import Graph, Model, Value
from octolite.ir.types import INT8, Activation, Array
from octolite.ops.control import evaluate
from octolite.passes.engine import Event, Explanation
from tests.passes.building import BATCH, Builder, feeds, gaussian, operators
from tests.recorded import relative_error, run, sqnr
from tests.recurrent import Recording

STEPS, DEPTH, UNITS = 4, 3, 5

OPERATORS = {
    "rnn_static": "UNIDIRECTIONAL_SEQUENCE_RNN",
    "rnn_static_split": "UNIDIRECTIONAL_SEQUENCE_RNN STRIDED_SLICE FULLY_CONNECTED",
    "rnn_static_one_step": "RNN",
    "lstm_static": "UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE",
    "lstm_static_last": "UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE FULLY_CONNECTED",
    "lstm_static_one_step": "LSTM",
    "bidirectional_rnn_static": (
        "BIDIRECTIONAL_SEQUENCE_RNN STRIDED_SLICE STRIDED_SLICE CONCATENATION"
    ),
    "bidirectional_lstm_static": "BIDIRECTIONAL_SEQUENCE_LSTM CONCATENATION",
    "keras2_simple_rnn_unrolled": "UNIDIRECTIONAL_SEQUENCE_RNN",
    "keras3_lstm_unrolled": "UNIDIRECTIONAL_SEQUENCE_LSTM",
}  # fmt: skip


# -- recordings ----------------------------------------------------------------------------------


def _convert(
    recording: Recording, recipe: str, shapes: dict[str, Any] | None = None, **options: Any
) -> bytes:
    outputs = recording.facts["outputs"]
    return octolite.convert(
        recording.path, recipe, output_arrays=outputs, input_shapes=shapes, **options
    )


def _recorded(name: str) -> tuple[Recording, dict[str, Array], list[Array], dict[str, Any]]:
    """A recording with what was fed, what TensorFlow computed, and the shapes of what was fed."""
    recording = Recording(name)
    (fed, expected), *_ = recording.runs()
    return recording, fed, list(expected.values()), {k: v.shape for k, v in fed.items()}


@pytest.mark.parametrize("name", OPERATORS)
def test_recorded_chains_become_operators(name: str) -> None:
    recording, _, _, shapes = _recorded(name)
    for given in (None, shapes):
        found = tflite.read(_convert(recording, "none", given)).main.operators()
        assert sorted(found.elements()) == sorted(OPERATORS[name].split())
        assert set(recording.expected_operators) <= set(found)


@pytest.mark.parametrize("name", OPERATORS)
def test_recorded_chains_give_what_tensorflow_gave(name: str) -> None:
    recording, fed, expected, shapes = _recorded(name)
    free, fixed = (_convert(recording, "none", given) for given in (None, shapes))
    makes = ((octolite.Interpreter, free), (octolite.Interpreter, fixed), (LiteRT, fixed))
    for make, content in makes:
        for found, wanted in zip(run(make, content, fed), expected, strict=True):
            assert relative_error(found, wanted) <= 1e-5


@pytest.mark.parametrize("name", OPERATORS)
def test_hybrid_files_of_recorded_chains_are_as_good_as_in_litert(name: str) -> None:
    """On a batch of 24: the recorded rows are too few to tell half a decibel."""
    recording, fed, _, _ = _recorded(name)
    fed = {k: gaussian(24, *v.shape[1:], seed=1) for k, v in fed.items()}
    kinds, given = ("none", "dynamic"), {k: v.shape for k, v in fed.items()}
    plain, hybrid = (_convert(recording, kind, given, min_elements=64) for kind in kinds)
    assert INT8 in {v.dtype for v in tflite.read(hybrid).main.constants()}
    wanted = run(octolite.Interpreter, plain, fed)
    results = (run(make, hybrid, fed) for make in (octolite.Interpreter, LiteRT))
    for ours, theirs, exact in zip(*results, wanted, strict=True):
        assert sqnr(theirs, exact) > 20
        assert sqnr(ours, exact) >= sqnr(theirs, exact) - 0.5


# -- written by hand -----------------------------------------------------------------------------


class Chain(Builder):
    """Cells in a chain; ``weights`` may give other ones for a step."""

    def __init__(self) -> None:
        super().__init__()
        self.x = self.input(BATCH, STEPS, DEPTH)
        self.steps: Sequence[Value] = self.ops("UNPACK", self.x, num=STEPS, axis=1)
        self.zeros = self.constant(np.zeros((BATCH, UNITS), np.float32))

    def product(self, x: Value, h: Value, gates: int = 1, seed: int = 0) -> Value:
        joined = self.op("CONCATENATION", x, h, axis=1)
        w = 0.5 * gaussian(gates * UNITS, DEPTH + UNITS, seed=seed)
        return self.op("FULLY_CONNECTED", joined, w, gaussian(gates * UNITS, seed=1))

    def rnn(self, steps: Sequence[Value], state: Value, other: int | None = None) -> list[Value]:
        """The outputs of BasicRNNCell; step ``other`` has weights of its own."""
        outputs = []
        for t, x in enumerate(steps):
            state = self.op("TANH", self.product(x, state, seed=int(t == other)), name=f"h{t}")
            outputs.append(state)
        return outputs

    def lstm(self, steps: Sequence[Value], h: Value, c: Value) -> tuple[list[Value], list[Value]]:
        """The outputs and cell states of BasicLSTMCell."""
        outputs, memories = [], []
        for t, x in enumerate(steps):
            joined = self.product(x, h, gates=4)
            i, j, f, o = self.ops("SPLIT", np.int32(1), joined, num_splits=4)
            gates = [self.op("LOGISTIC", v) for v in (i, f, o)]
            kept = self.op("MUL", gates[1], c)
            added = self.op("MUL", gates[0], self.op("TANH", j))
            c = self.op("ADD", kept, added, name=f"c{t}")
            h = self.op("MUL", gates[2], self.op("TANH", c), name=f"h{t}")
            outputs.append(h)
            memories.append(c)
        return outputs, memories

    def pack(self, values: Sequence[Value], axis: int = 1) -> Value:
        return self.op("PACK", *values, values_count=len(values), axis=axis, name="out")


def optimized(graph: Graph) -> list[Event]:
    """What was done to ``graph``; its results must be what they were."""
    arrays = feeds(graph)
    wanted = evaluate(graph, [arrays[v.name] for v in graph.inputs])
    model, explanation = Model([graph]), Explanation()
    passes.optimize(model, explain=explanation)
    found = run(octolite.Interpreter, tflite.write(model), arrays)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert relative_error(a, b) <= 1e-5
    return [e for e in explanation.events if e.rule == "FuseUnrolledCells"]


def why(events: list[Event]) -> str:
    return "\n".join(e.reason for e in events if e.reason)


def test_a_chain_becomes_a_sequence() -> None:
    chain = Chain()
    graph = chain.returns(chain.pack(chain.rnn(chain.steps, chain.zeros)))
    assert any(e.fired for e in optimized(graph))
    assert operators(graph) == "UNIDIRECTIONAL_SEQUENCE_RNN"
    assert graph.nodes[0].op.attributes()["activation"] is Activation.TANH


@pytest.mark.parametrize("last", [False, True])
def test_an_lstm_becomes_a_sequence(last: bool) -> None:
    chain = Chain()
    outputs, _ = chain.lstm(chain.steps, chain.zeros, chain.zeros)
    graph = chain.returns(outputs[-1] if last else chain.pack(outputs))
    assert any(e.fired for e in optimized(graph))
    wanted = (
        "UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE" if last else "UNIDIRECTIONAL_SEQUENCE_LSTM"
    )
    assert operators(graph) == wanted


def test_steps_that_are_read_apart_are_unpacked() -> None:
    chain = Chain()
    outputs = chain.rnn(chain.steps, chain.zeros)
    graph = chain.returns(chain.op("MUL", outputs[0], outputs[2]), outputs[-1])
    optimized(graph)
    assert operators(graph).startswith("UNIDIRECTIONAL_SEQUENCE_RNN")
    assert graph.operators()["UNPACK"] == 1


def test_inputs_that_are_no_slices_are_packed() -> None:
    chain = Chain()
    xs = [chain.input(BATCH, DEPTH, name=f"x{t}") for t in range(3)]
    graph = chain.returns(chain.pack(chain.rnn(xs, chain.zeros), axis=0))
    optimized(graph)
    assert operators(graph) == "PACK UNIDIRECTIONAL_SEQUENCE_RNN"


def test_a_stack_of_cells_becomes_two_sequences() -> None:
    chain = Chain()
    first, _ = chain.lstm(chain.steps, chain.zeros, chain.zeros)
    w = 0.5 * gaussian(UNITS, 2 * UNITS, seed=5)
    h, outputs = chain.zeros, []
    for x in first:
        joined = chain.op("CONCATENATION", x, h, axis=1)
        h = chain.op("TANH", chain.op("FULLY_CONNECTED", joined, w, gaussian(UNITS, seed=6)))
        outputs.append(h)
    graph = chain.returns(chain.pack(outputs))
    optimized(graph)
    assert operators(graph) == "UNIDIRECTIONAL_SEQUENCE_LSTM UNIDIRECTIONAL_SEQUENCE_RNN"


def test_two_directions_become_one_operator() -> None:
    chain = Chain()
    forward = chain.rnn(chain.steps, chain.zeros)
    backward = chain.rnn(chain.steps[::-1], chain.zeros, other=99)[::-1]
    pairs = zip(forward, backward, strict=True)
    both = [chain.op("CONCATENATION", f, b, axis=1) for f, b in pairs]
    graph = chain.returns(chain.pack(both))
    optimized(graph)
    assert operators(graph) == "BIDIRECTIONAL_SEQUENCE_RNN CONCATENATION"


def test_one_step_from_zeros_is_a_cell() -> None:
    chain = Chain()
    graph = chain.returns(*chain.rnn(chain.steps[:1], chain.zeros))
    optimized(graph)
    assert graph.operators()["RNN"] == 1
    chain = Chain()
    graph = chain.returns(*chain.lstm(chain.steps[:1], chain.zeros, chain.zeros)[0])
    optimized(graph)
    assert graph.operators()["LSTM"] == 1


def test_dense_layers_are_no_chain() -> None:
    chain = Chain()
    h = chain.op("TANH", chain.product(chain.steps[0], chain.input(BATCH, UNITS, name="h")))
    for seed in range(3):
        h = chain.op("FULLY_CONNECTED", h, gaussian(UNITS, UNITS, seed=seed), None)
        h = chain.op("TANH", h)
    graph = chain.returns(h)
    assert not optimized(graph)
    assert "RNN" not in operators(graph)


@pytest.mark.parametrize("given", [True, False])
def test_a_state_that_is_not_zero_stays(given: bool) -> None:
    chain = Chain()
    state = chain.input(BATCH, UNITS, name="h") if given else chain.constant(gaussian(BATCH, UNITS))
    graph = chain.returns(chain.pack(chain.rnn(chain.steps, state)))
    assert "not zero" in why(optimized(graph))
    assert graph.operators()["TANH"] == STEPS


def test_a_memory_that_is_not_zero_stays() -> None:
    chain = Chain()
    outputs, _ = chain.lstm(chain.steps, chain.zeros, chain.input(BATCH, UNITS, name="c"))
    graph = chain.returns(chain.pack(outputs))
    assert "not zero" in why(optimized(graph))
    assert graph.operators()["SPLIT"] == STEPS


@pytest.mark.parametrize("other", [0, 1, 2])
def test_a_step_with_weights_of_its_own_ends_the_chain(other: int) -> None:
    """The steps behind it begin with a state that is not zero, a single one in front is left."""
    chain = Chain()
    graph = chain.returns(chain.pack(chain.rnn(chain.steps, chain.zeros, other)))
    events = optimized(graph)
    if other == 2:
        assert graph.operators()["UNIDIRECTIONAL_SEQUENCE_RNN"] == 1
        assert graph.operators()["TANH"] == STEPS - 2
    else:
        assert "other weights" in why(events)
        assert graph.operators()["TANH"] == STEPS


@pytest.mark.parametrize("place", [1, STEPS - 1])
def test_a_cell_state_that_is_read_stays(place: int) -> None:
    chain = Chain()
    outputs, memories = chain.lstm(chain.steps, chain.zeros, chain.zeros)
    graph = chain.returns(outputs[-1], chain.op("ABS", memories[place]))
    assert f"'c{place}'" in why(optimized(graph))
    assert graph.operators()["SPLIT"] == STEPS


def test_an_input_that_is_made_of_the_step_before_stays() -> None:
    chain = Chain()
    h, outputs = chain.zeros, []
    for x in chain.steps:
        seen = chain.op("ADD", x, chain.op("SUM", h, np.array([1], np.int32), keep_dims=True))
        h = chain.op("TANH", chain.product(seen, h))
        outputs.append(h)
    graph = chain.returns(chain.pack(outputs))
    assert "step before" in why(optimized(graph))
    assert graph.operators()["TANH"] == STEPS


def test_cells_of_one_size_on_each_other_are_told_apart() -> None:
    chain = Chain()
    values: Sequence[Value] = [
        chain.op("FULLY_CONNECTED", x, gaussian(UNITS, DEPTH, seed=7), None) for x in chain.steps
    ]
    for layer in range(2):
        h, outputs = chain.zeros, []
        for x in values:
            joined = chain.op("CONCATENATION", x, h, axis=1)
            w, b = 0.5 * gaussian(UNITS, 2 * UNITS, seed=8 + layer), gaussian(UNITS, seed=layer)
            h = chain.op("TANH", chain.op("FULLY_CONNECTED", joined, w, b))
            outputs.append(h)
        values = outputs
    graph = chain.returns(chain.pack(values))
    optimized(graph)
    assert graph.operators()["UNIDIRECTIONAL_SEQUENCE_RNN"] == 2
    assert "TANH" not in graph.operators()


def _by_slices(chain: Chain) -> list[Value]:
    taken = []
    for t in range(STEPS):
        bounds = np.array([[0, t, 0], [0, t + 1, 0], [1, 1, 1]], np.int32)
        taken.append(
            chain.op(
                "STRIDED_SLICE", chain.x, *bounds, begin_mask=5, end_mask=5, shrink_axis_mask=2
            )
        )
    return taken


def _by_parts(chain: Chain) -> list[Value]:
    parts = chain.ops("SPLIT", np.int32(1), chain.x, num_splits=STEPS)
    return [chain.op("SQUEEZE", part, squeeze_dims=(1,)) for part in parts]


@pytest.mark.parametrize("take", [_by_slices, _by_parts])
@pytest.mark.parametrize("backward", [False, True])
def test_steps_may_be_taken_in_several_ways(take: Any, backward: bool) -> None:
    chain = Chain()
    steps = take(chain)[:: -1 if backward else 1]
    graph = chain.returns(chain.pack(chain.rnn(steps, chain.zeros)))
    optimized(graph)
    wanted = "UNIDIRECTIONAL_SEQUENCE_RNN"
    assert operators(graph) == (f"REVERSE_V2 {wanted}" if backward else wanted)


def test_steps_in_another_order_are_packed() -> None:
    chain = Chain()
    steps = [chain.steps[t] for t in (1, 0, 3, 2)]
    graph = chain.returns(chain.pack(chain.rnn(steps, chain.zeros), axis=0))
    optimized(graph)
    assert operators(graph) == "UNPACK PACK UNIDIRECTIONAL_SEQUENCE_RNN"


def test_products_with_zeros_that_were_left_out() -> None:
    """The first step of a cell with two products reads no state once constants are folded."""
    chain = Chain()
    w, r = 0.5 * gaussian(UNITS, DEPTH, seed=3), 0.5 * gaussian(UNITS, UNITS, seed=4)
    h, outputs = chain.zeros, []
    for x in chain.steps:
        seen = chain.op("FULLY_CONNECTED", x, w, gaussian(UNITS, seed=5))
        h = chain.op("RELU", chain.op("ADD", seen, chain.op("FULLY_CONNECTED", h, r, None)))
        outputs.append(h)
    graph = chain.returns(chain.pack(outputs))
    optimized(graph)
    assert operators(graph) == "UNIDIRECTIONAL_SEQUENCE_RNN"


@pytest.mark.parametrize(("steps", "unknown"), [(1, True), (3, True), (3, False)])
def test_peepholes_projection_and_clips(steps: int, unknown: bool) -> None:
    """LSTMCell with everything, from zeros that are known or of the size of the batch."""
    chain = Chain()
    units, outputs = UNITS + 2, UNITS
    if unknown:
        xs: Sequence[Value] = [chain.input(None, DEPTH, name=f"x{t}") for t in range(steps)]
        rows = chain.op("STRIDED_SLICE", chain.op("SHAPE", xs[0]), [0], [1], [1])
        h, c = (
            chain.op("FILL", chain.op("CONCATENATION", rows, np.array([n]), axis=0), np.float32(0))
            for n in (outputs, units)
        )
    else:
        xs = chain.steps[:steps]
        h, c = (chain.constant(np.zeros((BATCH, n), np.float32)) for n in (outputs, units))
    w, b = 0.5 * gaussian(4 * units, DEPTH + outputs, seed=3), gaussian(4 * units, seed=4)
    peepholes = [gaussian(units, seed=seed) for seed in (5, 6, 7)]
    projection = 0.5 * gaussian(outputs, units, seed=8)

    def clipped(value: Value, limit: float) -> Value:
        return chain.op(
            "MAXIMUM", chain.op("MINIMUM", value, np.float32(limit)), -np.float32(limit)
        )

    def gate(value: Value, state: Value, peephole: Array) -> Value:
        return chain.op("LOGISTIC", chain.op("ADD", value, chain.op("MUL", peephole, state)))

    for x in xs:
        product = chain.op("FULLY_CONNECTED", chain.op("CONCATENATION", x, h, axis=1), w, b)
        i, j, f, o = chain.ops("SPLIT", np.int32(1), product, num_splits=4)
        kept = chain.op("MUL", gate(f, c, peepholes[0]), c)
        added = chain.op("MUL", gate(i, c, peepholes[1]), chain.op("TANH", j))
        c = clipped(chain.op("ADD", kept, added), 1.5)
        emitted = chain.op("MUL", gate(o, c, peepholes[2]), chain.op("TANH", c))
        h = clipped(chain.op("FULLY_CONNECTED", emitted, projection, None), 0.75)
    graph = chain.returns(h)
    optimized(graph)
    found = graph.operators()
    assert found["LSTM" if steps == 1 else "UNIDIRECTIONAL_SEQUENCE_LSTM"] == 1
    assert "LOGISTIC" not in found


def test_a_gru_is_no_chain() -> None:
    chain = Chain()
    h, outputs = chain.zeros, []
    for x in chain.steps:
        both = chain.op("LOGISTIC", chain.product(x, h, gates=2))
        r, u = chain.ops("SPLIT", np.int32(1), both, num_splits=2)
        new = chain.op("TANH", chain.product(x, chain.op("MUL", r, h), seed=2))
        kept = chain.op("MUL", u, h)
        h = chain.op("ADD", kept, chain.op("MUL", chain.op("SUB", np.float32(1), u), new))
        outputs.append(h)
    graph = chain.returns(chain.pack(outputs))
    optimized(graph)
    assert "RNN" not in operators(graph)


def test_results_that_are_read_twice_and_given() -> None:
    chain = Chain()
    outputs = chain.rnn(chain.steps, chain.zeros)
    graph = chain.returns(chain.pack(outputs), *outputs)
    optimized(graph)
    assert operators(graph) == "UNIDIRECTIONAL_SEQUENCE_RNN UNPACK"


@pytest.mark.parametrize("back", [1, 2, 3])
def test_an_output_that_is_a_later_input_stays(back: int) -> None:
    chain = Chain()
    w, b = 0.5 * gaussian(UNITS, 2 * UNITS, seed=3), gaussian(UNITS, seed=4)
    h, outputs = chain.zeros, []
    for t in range(5):
        x = outputs[t - back] if t >= back else chain.input(BATCH, UNITS, name=f"x{t}")
        joined = chain.op("CONCATENATION", chain.op("ABS", x) if back == 1 else x, h, axis=1)
        h = chain.op("TANH", chain.op("FULLY_CONNECTED", joined, w, b))
        outputs.append(h)
    graph = chain.returns(chain.pack(outputs))
    assert "step before" in why(optimized(graph))
    assert graph.operators()["TANH"] == 5


@pytest.mark.parametrize("crossed", [False, True])
def test_gates_must_read_their_inputs_alike_in_all_steps(crossed: bool) -> None:
    """Two inputs, which the forget gate of one step may have the other way round."""
    chain = Chain()
    others = [chain.input(BATCH, DEPTH, name=f"y{t}") for t in range(STEPS)]
    weights = {
        (gate, of): 0.5 * gaussian(UNITS, n, seed=seed)
        for seed, (gate, of, n) in enumerate(
            (gate, of, n) for gate in "ijfo" for of, n in (("x", DEPTH), ("y", DEPTH), ("h", UNITS))
        )
    }
    h, c = chain.zeros, chain.zeros
    for t, (x, y) in enumerate(zip(chain.steps, others, strict=True)):
        z = {}
        for gate in "ijfo":
            given = {"x": x, "y": y, "h": h}
            if crossed and t == 2 and gate == "f":
                given |= {"x": y, "y": x}
            parts = [
                chain.op("FULLY_CONNECTED", v, weights[gate, of], None) for of, v in given.items()
            ]
            z[gate] = chain.op("ADD", chain.op("ADD", parts[0], parts[1]), parts[2])
        kept = chain.op("MUL", chain.op("LOGISTIC", z["f"]), c)
        added = chain.op("MUL", chain.op("LOGISTIC", z["i"]), chain.op("TANH", z["j"]))
        c = chain.op("ADD", kept, added)
        h = chain.op("MUL", chain.op("LOGISTIC", z["o"]), chain.op("TANH", c))
    graph = chain.returns(h)
    optimized(graph)
    assert ("LOGISTIC" in graph.operators()) is crossed


def test_sequences_that_are_given_twice() -> None:
    chain = Chain()
    outputs = chain.rnn(chain.steps, chain.zeros)
    first = chain.pack(outputs)
    again = chain.pack(chain.ops("UNPACK", first, num=STEPS, axis=1))
    again.name = "again"
    graph = chain.returns(first, again)
    optimized(graph)
    assert [v.name for v in graph.outputs] == ["out", "again"]
