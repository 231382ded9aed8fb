"""What an operator may ask of the kernels: plain data, nothing compiled.

A request says what is to be computed and holds everything that is fixed when a model is loaded.
Extents that may change between runs (rows, batch, height, width) come later, with
``Kernel.launch``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from octolite.ir.fixed_point import OutputStage
from octolite.ir.types import FLOAT32, Activation, Array, DType


@dataclass(frozen=True, slots=True)
class Constant:
    """Real numbers, or int8 codes with one scale or one for each channel."""

    data: Array
    scale: Array | None = None

    @property
    def real(self) -> Array:
        """float32; for codes with one scale."""
        if self.scale is None:
            return np.asarray(self.data, np.float32)
        return np.multiply(self.data, self.scale, dtype=np.float32)


Constants = Mapping[str, Constant]
"""By the names of the operator's inputs."""


class AnyRequest:
    """What a request says of the operator's inputs: which are read at run time, and which are
    constants that the kernel packs and keeps."""

    __slots__ = ()

    @property
    def reads(self) -> tuple[str, ...] | None:
        """Names of the inputs that are read at run time; ``None``: all of them."""
        return None

    @property
    def hybrid(self) -> bool:
        """Whether :attr:`matrices` are int8 codes."""
        return False

    @property
    def matrices(self) -> tuple[str, ...]:
        """Names of the constants that are codes where this is hybrid."""
        return ()

    @property
    def optional(self) -> tuple[str, ...]:
        """Names of the constants that may be left out."""
        return ()

    def shapes(self) -> Iterator[tuple[str, tuple[int | None, ...]]]:
        """Names of the constants, and their shapes as far as they are known."""
        return iter(())


class Request(AnyRequest, ABC):
    """What has ``weights``, perhaps with a scale for each channel, perhaps a ``bias``."""

    __slots__ = ()
    activation: Activation
    asymmetric: bool

    @property
    def reads(self) -> tuple[str, ...]:
        return ("input",)

    @property
    def matrices(self) -> tuple[str, ...]:
        return ("weights",)

    @property
    def optional(self) -> tuple[str, ...]:
        return ("bias",)

    @property
    @abstractmethod
    def weight_shape(self) -> tuple[int, ...]:
        """Extents of the weights."""

    @property
    def results(self) -> int:
        """Channels of the result."""
        return self.weight_shape[0]

    def shapes(self) -> Iterator[tuple[str, tuple[int | None, ...]]]:
        yield "weights", self.weight_shape
        yield "bias", (self.results,)


@dataclass(frozen=True, slots=True)
class FullyConnected(Request):
    """``out[m, n] = act(Σ_k x[m, k] · w[n, k] + bias[n])``; x float32 [m, k], w [n, k].

    ``hybrid``: w is int8 with a scale per channel (or one), x is quantized per row.
    """

    depth: int
    channels: int
    activation: Activation = Activation.NONE
    hybrid: bool = False
    asymmetric: bool = True

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.channels, self.depth


@dataclass(frozen=True, slots=True)
class Conv2D(Request):
    """NHWC convolution; x float32 [batch, h, w, in], w [out, kh, kw, in / groups].

    ``hybrid``: w is int8 with a scale per output channel (or one). x is quantized per pixel in
    a 1×1 convolution and per image otherwise (see :func:`octolite.kernels.spec.per_pixel`).
    ``rectified``: no x is below zero (NaN may be among them; what is below all the same may count
    as zero) and few are near the greatest, so that pixels may be quantized by
    :func:`octolite.ir.numerics.microscale_rows` where an instruction set gains by it.
    ``finer_blocks``: what is more, few blocks of channels are expected to reach as far as the
    whole tensor does, so that this is no loss. ``residual``: before the activation, a second
    input of the result's shape is added; of 1×1 convolutions only.
    """

    kernel: tuple[int, int]
    in_channels: int
    out_channels: int
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    activation: Activation = Activation.NONE
    hybrid: bool = False
    asymmetric: bool = True
    rectified: bool = False
    finer_blocks: bool = False
    residual: bool = False

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.out_channels, *self.kernel, self.in_channels // self.groups


@dataclass(frozen=True, slots=True)
class DepthwiseConv2D(Request):
    """NHWC depthwise convolution; x float32 [batch, h, w, in], w [1, kh, kw, in · multiplier].

    ``hybrid``: w is int8 with a scale per output channel (or one); x is quantized per image.
    """

    kernel: tuple[int, int]
    in_channels: int
    multiplier: int = 1
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    activation: Activation = Activation.NONE
    hybrid: bool = False
    asymmetric: bool = True

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return 1, *self.kernel, self.results

    @property
    def results(self) -> int:
        return self.in_channels * self.multiplier


@dataclass(frozen=True, slots=True)
class Requantize:
    """How exact sums become codes: ``clamp(zero + round(factor · sum), low, high)``.

    ``factor``: one, or one for each channel, which ``stage`` multiplies by and rounds. ``zero``,
    ``low`` and ``high`` are codes of ``dtype``; the zero point of 16 bits is 0.
    """

    stage: OutputStage
    factor: tuple[float, ...]
    dtype: DType
    zero: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Quantized(AnyRequest):
    """A convolution of codes that gives codes, to the bit as ``ops.sums`` has it.

    ``layer``: hybrid, without activation. x holds codes of ``dtype`` around ``zero``, the weights
    int8 codes around 0, or uint8 codes around ``weight_zero``; that of int16 x is 0. No sum of
    their products, bias added, may overflow int32, nor may it, multiplied by the mantissa of
    ``result``, with half of what that shifts out. ``flat``: a fully connected layer, x
    [rows, depth] and weights [channels, depth]. The bias is int32 or int64.
    """

    layer: Conv2D | DepthwiseConv2D
    dtype: DType
    zero: int
    weight_zero: int
    result: Requantize
    flat: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        return ("input",)

    @property
    def optional(self) -> tuple[str, ...]:
        return ("bias",)

    def shapes(self) -> Iterator[tuple[str, tuple[int | None, ...]]]:
        shape = self.layer.weight_shape
        yield "weights", (shape[0], shape[3]) if self.flat else shape
        yield "bias", (self.layer.results,)


@dataclass(frozen=True, slots=True)
class TransposeConv2D(Request):
    """The gradient of an NHWC convolution; x float32 [batch, h, w, in], w [out, kh, kw, in].

    Pixel i of x goes to pixels ``i · stride … i · stride + kernel - 1`` of the result before it
    is cut. ``hybrid``: w is int8 with a scale per output channel (or one); x is quantized per
    image.
    """

    kernel: tuple[int, int]
    in_channels: int
    out_channels: int
    stride: tuple[int, int] = (1, 1)
    activation: Activation = Activation.NONE
    hybrid: bool = False
    asymmetric: bool = True

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.out_channels, *self.kernel, self.in_channels

    def as_convolution(self) -> Conv2D | None:
        """The convolution by reversed taps that this is where its stride is 1.

        A hybrid 1×1 convolution is not the same: it quantizes pixel by pixel.
        """
        if self.stride != (1, 1) or (self.hybrid and self.kernel == (1, 1)):
            return None
        return Conv2D(
            self.kernel,
            self.in_channels,
            self.out_channels,
            activation=self.activation,
            hybrid=self.hybrid,
            asymmetric=self.asymmetric,
        )


MOST_MATRICES = 1 << 13
"""Products of matrices that compiled code takes: each is laid out by itself, which takes time. So
many are small ones, for which NumPy's loop costs little more."""


@dataclass(frozen=True, slots=True)
class BatchMatMul(AnyRequest):
    """``out = x · y``; x float32 [..., m, k], y [..., k, n], whose leading axes broadcast.

    ``adj_x``, ``adj_y``: the last two axes are stored the other way round. ``constant``: the
    extents of y as it is stored where it is a constant. ``hybrid``: it is int8 with one scale
    then, and x is quantized per row.
    """

    adj_x: bool = False
    adj_y: bool = False
    constant: tuple[int, ...] | None = None
    hybrid: bool = False
    asymmetric: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        return ("x", "y") if self.constant is None else ("x",)

    @property
    def matrices(self) -> tuple[str, ...]:
        return () if self.constant is None else ("y",)

    def shapes(self) -> Iterator[tuple[str, tuple[int | None, ...]]]:
        if self.constant is not None:
            yield "y", self.constant


@dataclass(frozen=True, slots=True)
class Gate:
    """Where a gate of a cell finds its constants: names of the operator's inputs.

    ``weights`` [units, depth] meet the input, ``aux`` [units, aux depth] the auxiliary input,
    ``recurrent`` [units, outputs] the outputs of the step before; ``bias`` and ``peephole``
    [units], which meets the cell state. ``norm`` [units]: what normalized gates are multiplied by.
    """

    weights: str
    recurrent: str
    bias: str
    aux: str | None = None
    peephole: str | None = None
    norm: str | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A recurrent cell: one gate is a plain cell, four (input, forget, cell, output) an LSTM.

    A plain cell is ``h = act(z)``. With gates ``c = σ(f) c + σ(i) act(g)``, clipped to
    ±``cell_clip`` where that is not 0, and ``h = σ(o) act(c)``; i is 1 - f where there are but
    three. Where one gate has a ``norm``, all have: before its bias is added, a gate is brought to
    mean 0 and variance 1 over its units, ``guard`` added to the variance. A projection
    [outputs, units] is applied to h, its bias added, the result clipped.

    ``states``: names of the variables that hold h and c; ``source`` and ``aux``: of the inputs
    that are read, [time, batch, depth] or [batch, time, depth].
    """

    gates: tuple[Gate, ...]
    depth: int
    units: int
    outputs: int
    states: tuple[str, ...]
    activation: Activation
    source: str = "input"
    aux: str | None = None
    projection: str | None = None
    projection_bias: str | None = None
    cell_clip: float = 0.0
    output_clip: float = 0.0
    guard: float = 0.0

    def shapes(self) -> Iterator[tuple[str, tuple[int | None, ...]]]:
        """Names of the constants, and their shapes as far as they are known."""
        for gate in self.gates:
            yield gate.weights, (self.units, self.depth)
            yield gate.recurrent, (self.units, self.outputs)
            yield gate.bias, (self.units,)
            if gate.aux is not None:
                yield gate.aux, (self.units, None)
            if gate.peephole is not None:
                yield gate.peephole, (self.units,)
            if gate.norm is not None:
                yield gate.norm, (self.units,)
        if self.projection is not None:
            yield self.projection, (self.outputs, self.units)
        if self.projection_bias is not None:
            yield self.projection_bias, (self.outputs,)

    @property
    def matrices(self) -> tuple[str, ...]:
        """Names of the inputs that are multiplied by rows, or by the cell state."""
        gates = [n for g in self.gates for n in (g.weights, g.recurrent, g.aux, g.peephole)]
        return tuple(n for n in (*gates, self.projection) if n is not None)

    @property
    def normalized(self) -> bool:
        """Whether the gates are."""
        return any(gate.norm is not None for gate in self.gates)

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of the inputs that are real numbers throughout."""
        gates = [n for g in self.gates for n in (g.bias, g.norm)]
        return tuple(n for n in (*gates, self.projection_bias) if n is not None)


@dataclass(frozen=True, slots=True)
class Recurrent(AnyRequest):
    """A cell that steps through a sequence, or one and another that steps backward.

    ``merged``: the results of both lie side by side in one tensor. ``hybrid``: all matrices are
    int8 with one scale each, inputs and states quantized per row and step.
    """

    cells: tuple[Cell, ...]
    time_major: bool = False
    merged: bool = False
    hybrid: bool = False
    asymmetric: bool = False

    def shapes(self) -> Iterator[tuple[str, tuple[int | None, ...]]]:
        for cell in self.cells:
            yield from cell.shapes()

    @property
    def matrices(self) -> tuple[str, ...]:
        return tuple(name for cell in self.cells for name in cell.matrices)

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the operator's inputs that are read at run time: sequences, then states."""
        sequences = [name for c in self.cells for name in (c.source, c.aux) if name is not None]
        states = [name for c in self.cells for name in c.states]
        return tuple(dict.fromkeys(sequences + states))


@dataclass(frozen=True, slots=True)
class IntegerRecurrent(AnyRequest):
    """A fully quantized LSTM that steps through a sequence, to the bit as ``ops.integer_lstm`` has
    it: int8 codes and weights, an int16 cell state of scale ``2^cell_exponent``. No gate is
    normalized.

    ``cell`` names the constants, whose numbers are integers; its clips are not looked at. For each
    gate, in its order, ``input_factors`` and ``state_factors`` make sums of products with the input
    and with the state, whose zero points are ``zero`` and ``state_zero``, sums of a gate;
    ``peephole_factors``, those of gates that have one, products with the cell state. ``emitted``
    makes what a cell gives codes around ``emitted_zero``; ``projected`` makes results of sums of
    the projection. A cell state is within ±``cell_limit``, a projected result within
    ±``output_limit``. No sum of the inputs' products, bias added, reaches 2³⁰.
    """

    cell: Cell
    zero: int
    state_zero: int
    input_factors: tuple[float, ...]
    state_factors: tuple[float, ...]
    peephole_factors: tuple[float, ...]
    emitted: float
    emitted_zero: int
    projected: float
    cell_exponent: int
    cell_limit: int
    output_limit: int
    time_major: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.cell.source, *self.cell.states)

    def shapes(self) -> Iterator[tuple[str, tuple[int | None, ...]]]:
        return self.cell.shapes()


@dataclass(frozen=True, slots=True)
class Svdf(AnyRequest):
    """``out[u] = act(Σ_f Σ_t memory[f, t] · time[f, t] + bias[u])`` over the ``rank`` filters of a
    unit, once ``features · x`` has joined the ``memory`` elements that each filter holds.

    x float32 [batch, depth], features [filters, depth], time [filters, memory]. ``hybrid``: both
    are int8 with one scale each, x is quantized per row.
    """

    depth: int
    filters: int
    memory: int
    rank: int
    has_bias: bool
    activation: Activation = Activation.NONE
    hybrid: bool = False
    asymmetric: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        return "input", "state"

    @property
    def matrices(self) -> tuple[str, ...]:
        return "weights_feature", "weights_time"

    @property
    def units(self) -> int:
        return self.filters // self.rank

    def shapes(self) -> Iterator[tuple[str, tuple[int | None, ...]]]:
        yield "weights_feature", (self.filters, self.depth)
        yield "weights_time", (self.filters, self.memory)
        if self.has_bias:
            yield "bias", (self.units,)


@dataclass(frozen=True, slots=True)
class Pool2D(AnyRequest):
    """NHWC pooling; x float32 [batch, h, w, channels]. What lies outside takes no part.

    ``kind``: ``max`` or ``average``. ``codes``: x holds these, of one scale with the result, whose
    activation are ``limits``; averages are rounded, halves away from zero.
    """

    kind: str
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    activation: Activation = Activation.NONE
    codes: DType | None = None
    limits: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Table(AnyRequest):
    """A function of codes of 8 or 16 bits: its results, by the codes' bits seen as a number."""

    entries: Array


@dataclass(frozen=True, slots=True)
class Softmax(AnyRequest):
    """``exp(beta · x) / Σ exp(beta · x)`` over the last axis of a float32 tensor.

    ``log``: the logarithm of that.
    """

    beta: float = 1.0
    log: bool = False


@dataclass(frozen=True, slots=True)
class CodedSoftmax(AnyRequest):
    """Softmax over the last axis of codes of 8 bits, whose scale times beta is ``unit``, as codes
    of the same type from its least to its greatest."""

    codes: DType
    unit: float


@dataclass(frozen=True, slots=True)
class L2Normalization(AnyRequest):
    """``act(x / max(‖x‖, floor))``, the norm taken over the last axis of a float32 tensor."""

    activation: Activation = Activation.NONE
    floor: float = 1e-6


@dataclass(frozen=True, slots=True)
class Reduce(AnyRequest):
    """Axes of a float32 tensor made one number; the axes come with the shape.

    ``kind``: ``max``, ``mean``, ``min``, ``prod`` or ``sum``. ``keep_dims``: they stay, of extent
    1. ``codes``: the tensor holds these. Means and sums of what is over ``zero`` are scaled by
    ``scale``, which is under 2³², and count from ``result_zero``.
    """

    kind: str
    keep_dims: bool = False
    codes: DType | None = None
    scale: float = 1.0
    zero: int = 0
    result_zero: int = 0


@dataclass(frozen=True, slots=True)
class ArgExtremum(AnyRequest):
    """Where the ``kind`` (``max`` or ``min``) of a float32 tensor is along an axis that comes with
    the shape, in integers of ``index`` bytes; of equals the first, and of NaN."""

    kind: str
    index: int


@dataclass(frozen=True, slots=True)
class Resize(AnyRequest):
    """NHWC images at another height and width; ``kind``: ``bilinear``, of float32, uint8 or int8,
    or ``nearest``, of int16, too.

    int8 is interpolated in fixed point, with weights of which 1024 make 1, all else in float32.
    """

    kind: str
    dtype: DType = FLOAT32


@dataclass(frozen=True, slots=True)
class Copy(AnyRequest):
    """Elements of ``size`` bytes from one place to another, as a list of moves says that comes
    with the shapes (:class:`octolite.kernels.views.Move`)."""

    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Recode(AnyRequest):
    """A :class:`Copy` of codes of 8 bits, of which some inputs have a :class:`Table` that says what
    becomes of theirs."""

    tables: tuple[Table | None, ...]


@dataclass(frozen=True, slots=True)
class Lookup(AnyRequest):
    """Rows of a table by their numbers, integers of ``index`` bytes; elements of ``size`` bytes.

    ``scaled``: int8 codes come out as float32, by a scale for each row of the table or for all.
    ``table_first``: the order of the inputs.
    """

    size: int
    index: int
    scaled: bool = False
    table_first: bool = False


@dataclass(frozen=True, slots=True)
class SparseLookup(AnyRequest):
    """Weighted rows of a float32 table, added up as the places of their int32 numbers say.

    ``combiner``: ``sum``, ``mean`` (divided by the sum of the weights) or ``sqrtn`` (by the root of
    the sum of their squares).
    """

    combiner: str


COPIED = (1, 2, 4, 8)
"""Bytes of the elements that :class:`Copy` takes."""

ACTIVATIONS = tuple(a for a in Activation if a is not Activation.SIGN_BIT)
"""Fused activations that kernels apply."""


def per_pixel(request: Conv2D) -> bool:
    """Whether a hybrid convolution quantizes each pixel by its own range.

    A 1×1 convolution reads every pixel alone, so that the finer scale is free.
    """
    return request.kernel == (1, 1) and request.groups == 1
