"""Fully quantized models from ranges: uint8 throughout, as the documentation of 2018 has it.

A graph trained with simulated quantization states the range of each activation (FakeQuant). From
these, every activation gets a scale and a zero point, weights and other constants become uint8,
biases int32, and the whole model computes in integers. Where nothing states a range, it follows
from the operator (a SOFTMAX lies in 0…1, a RESHAPE has that of its input), or from a default, or
the tensor is listed in the error.

Source of the formulas: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 3, and TFLite's quantization specification.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from octolite.errors import ConversionError, UnsupportedError, UsageError
from octolite.ir import numerics
from octolite.ir.graph import Graph, Model, Node, Value
from octolite.ir.types import FLOAT32, INT32, UINT8, Array, Quant
from octolite.ops.base import Operator, operator_class
from octolite.quantize.ledger import Action, Entry, Ledger, stored_bytes

Range = tuple[float, float]
"""The least and the largest real value."""

Means = Mapping[str, tuple[float, float]] | Sequence[tuple[float, float]]
"""Mean and standard deviation, by an input's name or in the order of inputs."""

STEPS = 255
"""Between the least and the largest code of uint8."""


@dataclass(frozen=True, slots=True)
class IntegerRecipe:
    """A model of uint8 codes throughout.

    Attributes:
        means: input name → (mean, standard deviation): ``real = (code - mean) / deviation``; or
            the pairs in the order of all inputs. An input that is left out has the range that the
            graph states.
        default_range: for activations whose range nothing states; ``None``: that is an error.
        float_inputs: inputs stay float32, and a QUANTIZE follows them.
        float_outputs: outputs stay float32, and a DEQUANTIZE gives them.
        join_ranges: all that a CONCATENATION joins, and its result, have one scale.
    """

    name: str = "uint8"
    means: Means = field(default_factory=dict)
    default_range: Range | None = None
    float_inputs: bool = False
    float_outputs: bool = False
    join_ranges: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types, for JSON."""
        return {
            "name": self.name,
            "means": {name: list(pair) for name, pair in self.means.items()}
            if isinstance(self.means, Mapping)
            else [list(pair) for pair in self.means],
            "default_range": None if self.default_range is None else list(self.default_range),
            "float_inputs": self.float_inputs,
            "float_outputs": self.float_outputs,
            "join_ranges": self.join_ranges,
        }


def quantize_fully(model: Model, recipe: IntegerRecipe) -> Ledger:
    """Turn the real tensors of ``model`` into codes, in place.

    Raises:
        UsageError: an input that the model does not have, a range that is none.
        ConversionError: tensors whose range nothing states; all are listed.
        UnsupportedError: operators that have no form for uint8; all are listed.
    """
    if len(model.graphs) > 1:
        raise UnsupportedError(
            "a model of several graphs (IF, WHILE, several signatures) cannot be fully quantized; "
            "convert one signature, or quantize its weights only"
        )
    return _Quantizer(model.main, recipe).run()


def take_codes(model: Model, means: Means = ()) -> None:
    """Let the inputs of real numbers be uint8 codes, which a DEQUANTIZE makes real.

    What computes with them stays as it is. ``means`` is that of an :class:`IntegerRecipe`; an
    input that it leaves out has the range that the graph states.

    Raises :class:`UsageError` for an input without either, and for several signatures, whose
    inputs differ.
    """
    graph = model.main
    if any(signature.graph is not graph for signature in model.signatures):
        raise UsageError("codes go into one signature, and the model has several: convert one")
    limits = {id(value): found for value, found in stated_inputs(graph, means)}
    for value in graph.inputs:
        if value.dtype is not FLOAT32:
            continue
        known = limits.get(id(value), value.range)
        if known is None:
            raise UsageError(
                f"nothing says what the codes of input {value.name!r} mean: give its mean and "
                "deviation (--mean_values and --std_dev_values)"
            )
        real = Value(f"{value.name}/real", FLOAT32, value.shape)
        real.range, value.range = value.range, None
        first = next((n for n in graph.nodes if n in value.uses), None)
        graph.replace(value, real)
        value.dtype, value.quant = UINT8, parameters(known)
        graph.add(operator_class("DEQUANTIZE")(), [value], real.name, before=first, outputs=[real])
        for signature in model.signatures:
            if signature.graph is graph:
                signature.outputs.update(
                    {n: real for n, v in signature.outputs.items() if v is value}
                )


def stated_inputs(graph: Graph, means: Means) -> Iterator[tuple[Value, Range]]:
    """The real inputs for which ``means`` has a mean and a deviation, with the range of codes.

    Raises :class:`UsageError` for names and pairs that fit none.
    """
    inputs = {v.name: v for v in graph.inputs}
    if not isinstance(means, Mapping):
        if means and len(means) != len(inputs):
            raise UsageError(
                f"there are {len(means)} means and deviations and {len(inputs)} inputs "
                f"({', '.join(inputs)}); give one of each for every input, in order"
            )
        pairs = zip(inputs, means, strict=False)
        means = {name: pair for name, pair in pairs if inputs[name].dtype is FLOAT32}
    for name, (mean, deviation) in means.items():
        if name not in inputs or inputs[name].dtype is not FLOAT32:
            raise UsageError(
                f"mean and deviation are given for {name!r}, and the model's inputs of real "
                f"numbers are {', '.join(n for n, v in inputs.items() if v.dtype is FLOAT32)}"
            )
        if not deviation > 0 or not math.isfinite(mean + deviation):
            raise UsageError(f"{name!r}: a mean of {mean} with the deviation {deviation}")
        yield inputs[name], (-mean / deviation, (STEPS - mean) / deviation)


def parameters(limits: Range) -> Quant:
    """Scale and zero point for real values within ``limits``, widened to hold 0.

    The zero point is the code nearest to where 0 lies, so that 0 is exact.
    """
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    if high - low < numerics.TINY_RANGE:
        return Quant.of(1.0, 0)
    scale = (high - low) / STEPS
    return Quant.of(scale, min(max(math.floor(-low / scale + 0.5), 0), STEPS))


class _Quantizer:
    def __init__(self, graph: Graph, recipe: IntegerRecipe) -> None:
        self.graph, self.recipe = graph, recipe
        self.ranges = {id(v): v.range for v in graph.values() if v.range and not v.is_constant}
        self.quants: dict[int, Quant] = {}
        self.entries: dict[int, Entry] = {}

    def run(self) -> Ledger:
        self.see_inputs()
        self.spread()
        self.fill_and_check()
        for value in list(_activations(self.graph)):
            self.quants[id(value)] = self.quant_of(value)
        self.match_scales()
        for node in list(self.graph.nodes):
            self.encode_constants(node)
        self.encode_activations()
        self.refuse_what_cannot_run()
        return Ledger(self.recipe.name, list(self.entries.values()))

    # -- ranges ---------------------------------------------------------------------------------

    def see_inputs(self) -> None:
        for value, limits in stated_inputs(self.graph, self.recipe.means):
            self.ranges[id(value)] = limits
        default = self.recipe.default_range
        if default is not None and not (default[0] < default[1]):
            raise UsageError(f"the default range goes from {default[0]} to {default[1]}")

    def spread(self) -> None:
        """Say of ranges what follows from those that are known, until nothing more does."""
        known = -1
        while known < len(self.ranges):
            known = len(self.ranges)
            for node in self.graph.nodes:
                SPREAD.get(node.op.name, _by_rule)(self, node)

    def know(self, values: Iterable[Value | None], limits: Range | None) -> None:
        """Set the range of those of ``values`` that have none."""
        for value in values:
            if limits is not None and value is not None and _is_activation(value):
                self.ranges.setdefault(id(value), limits)

    def range_of(self, value: Value | None) -> Range | None:
        return None if value is None else self.ranges.get(id(value))

    def fill_and_check(self) -> None:
        """Give default ranges, or list what has none."""
        missing = [v for v in _activations(self.graph) if self.lacks(v)]
        causes = [v for v in missing if not _follows(v)] or missing
        if causes and self.recipe.default_range is None:
            lines = [f"  - {v.name!r}, {_where(v)}" for v in causes]
            raise ConversionError(
                f"{len(causes)} tensors have no range (min and max), which a fully quantized "
                "model needs:\n" + "\n".join(lines) + "\ntrain the model with FakeQuant operators, "
                "give --default_ranges_min and --default_ranges_max (and --mean_values and "
                "--std_dev_values for inputs), or quantize weights only"
            )
        self.know(causes, self.recipe.default_range)
        self.spread()
        self.know(missing, self.recipe.default_range)
        for value in _activations(self.graph):
            limits = self.ranges.get(id(value), (0.0, 0.0))
            if not all(map(math.isfinite, limits)):
                raise ConversionError(
                    f"{value.name!r}, {_where(value)}, has the range {limits[0]}…{limits[1]}"
                )

    def lacks(self, value: Value) -> bool:
        """Whether nothing says what range a tensor has."""
        return id(value) not in self.ranges and _fixed(value) is None

    def quant_of(self, value: Value) -> Quant:
        return _fixed(value) or parameters(self.ranges[id(value)])

    def match_scales(self) -> None:
        """Results of operators that move codes have the scale of what they take them from."""
        for node in self.graph.nodes:
            assert isinstance(node.op, Operator)
            source = next((v for v in node.inputs if v is not None and _is_activation(v)), None)
            if source is None or not node.op.quant.same_scale or self.rescales(node):
                continue
            for value in (*node.inputs, *node.outputs):
                if value is not None and _is_activation(value):
                    self.quants[id(value)] = self.quants[id(source)]

    def rescales(self, node: Node) -> bool:
        """Whether the operator may take codes of different scales."""
        return node.op.name == "CONCATENATION" and not self.recipe.join_ranges

    # -- codes ----------------------------------------------------------------------------------

    def encode_constants(self, node: Node) -> None:
        assert isinstance(node.op, Operator)
        for index, (parameter, value) in enumerate(_operands(node)):
            if value is None or value.data is None or value.dtype is not FLOAT32:
                continue
            if not np.all(np.isfinite(value.data)):
                raise ConversionError(
                    f"constant {value.name!r}, read by {node}, holds NaN or Inf and cannot be "
                    "quantized; repair the model"
                )
            if node.op.quant.weights and parameter not in node.op.quant.weights:
                node.set_input(index, self.bias(node, value))
                continue
            source = next((v for v in node.inputs if v is not None and _is_activation(v)), None)
            same = node.op.quant.same_scale and source is not None and not self.rescales(node)
            quant = self.quants[id(source)] if same else parameters(value.range or _extremes(value))
            codes = numerics.quantize(value.data, quant, UINT8.numpy)
            node.set_input(index, self.stored(value, codes, quant))

    def bias(self, node: Node, value: Value) -> Value:
        """int32 in units of the products that it is added to."""
        x, w = node.inputs[_data_input(node)], _weights(node)
        assert value.data is not None
        if x is None or w is None or id(x) not in self.quants or w.quant is None:
            raise UnsupportedError(f"{node}: a bias beside operands without scales")
        scale = np.float32(self.quants[id(x)].scale[0]) * np.float32(w.quant.scale[0])
        limits = np.iinfo(np.int32)
        with np.errstate(over="ignore"):
            real = numerics.round_half_away(value.data.astype(np.float64) / np.float64(scale))
        codes = np.clip(real, limits.min, limits.max).astype(np.int32)
        return self.stored(value, codes, Quant.of(scale))

    def stored(self, value: Value, codes: Array, quant: Quant) -> Value:
        """A constant in place of ``value``; the ledger hears of it once."""
        assert value.data is not None
        dtype = UINT8 if codes.dtype == np.uint8 else INT32
        new = Value.constant(value.name, codes, dtype, quant)
        action = Action.UINT8 if dtype is UINT8 else Action.INT32
        self.entries.setdefault(
            id(value.data),
            Entry(
                value.name,
                value.data.shape,
                tuple(dict.fromkeys(n.op.name for n in value.uses)),
                stored_bytes(value),
                stored_bytes(new),
                action,
                "codes throughout",
            ),
        )
        return new

    def encode_activations(self) -> None:
        for value in list(_activations(self.graph)):
            if self.recipe.float_inputs and any(v is value for v in self.graph.inputs):
                self.quantize_input(value)
            else:
                value.dtype, value.quant = UINT8, self.quants[id(value)]
        if self.recipe.float_outputs:
            for value in dict.fromkeys(self.graph.outputs):
                if value.producer is not None and id(value) in self.quants:
                    self.dequantize_output(value)

    def quantize_input(self, value: Value) -> None:
        codes = Value(f"{value.name}/quantized", UINT8, value.shape, quant=self.quants[id(value)])
        first = next((n for n in self.graph.nodes if n in value.uses), None)
        self.graph.replace(value, codes)
        self.graph.add(
            operator_class("QUANTIZE")(), [value], codes.name, before=first, outputs=[codes]
        )

    def dequantize_output(self, value: Value) -> None:
        codes = Value(f"{value.name}/quantized", UINT8, value.shape, quant=value.quant)
        producer, outputs = value.producer, list(self.graph.outputs)
        assert producer is not None
        producer.outputs = tuple(codes if v is value else v for v in producer.outputs)
        codes.producer = producer
        self.graph.replace(value, codes)
        self.graph.outputs = outputs
        value.dtype, value.quant = FLOAT32, None
        self.graph.add(operator_class("DEQUANTIZE")(), [codes], value.name, outputs=[value])

    def refuse_what_cannot_run(self) -> None:
        lines = [f"  - {node}" for node in self.graph.nodes if not _runs(node)]
        if lines:
            raise UnsupportedError(
                "operators without a form for uint8 codes, which a fully quantized model needs:\n"
                + "\n".join(lines)
                + "\nquantize weights only (--post_training_quantize)"
            )


# -- what ranges follow from --------------------------------------------------------------------


def _by_rule(q: _Quantizer, node: Node) -> None:
    """Operators that move values have one range throughout."""
    assert isinstance(node.op, Operator)
    if node.op.quant.same_scale:
        known = (q.range_of(v) for v in (*node.inputs, *node.outputs))
        q.know((*node.inputs, *node.outputs), next((r for r in known if r), None))


def _like_input(q: _Quantizer, node: Node) -> None:
    """Means and interpolations lie within what they are made of."""
    q.know(node.outputs, q.range_of(node.inputs[0]))


def _joined(q: _Quantizer, node: Node) -> None:
    """What is joined has the range of the parts; parts without one, that of the whole."""
    parts = [q.range_of(v) for v in node.inputs]
    known = [r for r in parts if r]
    if known and (len(known) == len(parts) or q.range_of(node.output) is None):
        whole = min(low for low, _ in known), max(high for _, high in known)
        q.know(node.outputs, whole if len(known) == len(parts) else None)
    q.know(node.inputs, q.range_of(node.output))
    if q.recipe.join_ranges:
        both = [r for r in (*parts, q.range_of(node.output)) if r]
        if len(both) == len(parts) + 1:
            whole = min(low for low, _ in both), max(high for _, high in both)
            for value in (*node.inputs, node.output):
                if value is not None and _is_activation(value):
                    q.ranges[id(value)] = whole


def _clipped(low: float, high: float) -> Callable[[_Quantizer, Node], None]:
    def rule(q: _Quantizer, node: Node) -> None:
        limits = q.range_of(node.inputs[0])
        if limits:
            q.know(node.outputs, (max(limits[0], low), min(limits[1], high)))

    return rule


SPREAD: dict[str, Callable[[_Quantizer, Node], None]] = {
    "MEAN": _like_input,
    "AVERAGE_POOL_2D": _like_input,
    "RESIZE_BILINEAR": _like_input,
    "CONCATENATION": _joined,
    "RELU": _clipped(0.0, math.inf),
    "RELU6": _clipped(0.0, 6.0),
    "RELU_0_TO_1": _clipped(0.0, 1.0),
    "RELU_N1_TO_1": _clipped(-1.0, 1.0),
}
"""Operator → what it says of ranges, where that is more than moving values."""


# -- looking ------------------------------------------------------------------------------------


def _is_activation(value: Value) -> bool:
    return value.dtype is FLOAT32 and not value.is_constant


def _activations(graph: Graph) -> Iterator[Value]:
    """Real tensors that are no constants."""
    return (v for v in graph.values() if _is_activation(v))


def _fixed(value: Value) -> Quant | None:
    """The parameters that the operator in front prescribes."""
    op = None if value.producer is None else value.producer.op
    if not isinstance(op, Operator) or op.quant.fixed_output is None:
        return None
    scale, zero = op.quant.fixed_output
    return Quant.of(scale, zero + 128)  # stated for int8


def _follows(value: Value) -> bool:
    """Whether the operator in front says what range its result has, given its inputs'."""
    op = None if value.producer is None else value.producer.op
    return isinstance(op, Operator) and (op.quant.same_scale or op.name in SPREAD)


def _where(value: Value) -> str:
    return "an input" if value.producer is None else f"the result of {value.producer}"


def _operands(node: Node) -> list[tuple[str, Value | None]]:
    assert isinstance(node.op, Operator)
    names = [p.name for p in node.op.input_parameters()]
    return [(names[min(i, len(names) - 1)], v) for i, v in enumerate(node.inputs)]


def _weights(node: Node) -> Value | None:
    assert isinstance(node.op, Operator)
    return next((v for name, v in _operands(node) if name in node.op.quant.weights), None)


def _data_input(node: Node) -> int:
    return next(i for i, v in enumerate(node.inputs) if v is not None and _is_activation(v))


def _extremes(value: Value) -> Range:
    assert value.data is not None
    if not value.data.size:
        return 0.0, 0.0
    return float(value.data.min()), float(value.data.max())


def _runs(node: Node) -> bool:
    """Whether the operator takes its operands as they are now."""
    op = node.op
    assert isinstance(op, Operator)
    operands = [v for v in (*node.inputs, *node.outputs) if v is not None]
    if op.name in ("QUANTIZE", "DEQUANTIZE") or all(v.quant is None for v in operands):
        return True
    return op.quant.same_scale or op.is_integer(node.inputs, node.outputs)
