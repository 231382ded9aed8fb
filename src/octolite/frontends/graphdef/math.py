"""Arithmetic, comparison and reductions: mostly one TFLite operator for one of TensorFlow's."""

from __future__ import annotations

from octolite.frontends.graphdef.engine import Site, tf
from octolite.frontends.graphdef.gelu import APPROXIMATE, EXACT
from octolite.ir.graph import Value

SAME: dict[str, str] = {
    "Add": "ADD", "AddV2": "ADD", "Sub": "SUB", "Mul": "MUL", "Div": "DIV", "RealDiv": "DIV",
    "TruncateDiv": "DIV", "FloorDiv": "FLOOR_DIV", "FloorMod": "FLOOR_MOD",
    "Pow": "POW", "Atan2": "ATAN2",
    "Maximum": "MAXIMUM", "Minimum": "MINIMUM", "SquaredDifference": "SQUARED_DIFFERENCE",
    "Less": "LESS", "LessEqual": "LESS_EQUAL", "Greater": "GREATER",
    "GreaterEqual": "GREATER_EQUAL", "Equal": "EQUAL", "NotEqual": "NOT_EQUAL",
    "LogicalAnd": "LOGICAL_AND", "LogicalOr": "LOGICAL_OR", "LogicalNot": "LOGICAL_NOT",
    "LogicalXor": "NOT_EQUAL",
    "Abs": "ABS", "Neg": "NEG", "Exp": "EXP", "Log": "LOG", "Sqrt": "SQRT", "Rsqrt": "RSQRT",
    "Sin": "SIN", "Cos": "COS", "Floor": "FLOOR", "Ceil": "CEIL",
    "Round": "ROUND", "Rint": "ROUND", "Sign": "SIGN",
    "Relu": "RELU", "Relu6": "RELU6", "Elu": "ELU", "Tanh": "TANH", "Sigmoid": "LOGISTIC",
    "Softmax": "SOFTMAX", "LogSoftmax": "LOG_SOFTMAX", "ZerosLike": "ZEROS_LIKE",
    "Select": "SELECT", "SelectV2": "SELECT_V2", "Where": "WHERE", "GatherNd": "GATHER_ND",
    "MatrixDiag": "MATRIX_DIAG", "MatrixSetDiag": "MATRIX_SET_DIAG",
    "BitwiseXor": "BITWISE_XOR", "RightShift": "RIGHT_SHIFT",
}  # fmt: skip
"""Operators that take and give the same in both, without attributes that matter."""

REDUCTIONS = {
    "Mean": "MEAN", "Sum": "SUM", "Prod": "REDUCE_PROD", "Max": "REDUCE_MAX", "Min": "REDUCE_MIN",
    "Any": "REDUCE_ANY", "All": "REDUCE_ALL",
}  # fmt: skip


@tf(*SAME)
def same(n: Site, *inputs: Value) -> Value:
    return n.op(SAME[n.op_type], *inputs)


@tf(*REDUCTIONS)
def reduction(n: Site, x: Value, axes: Value) -> Value:
    keep = n.flag("keep_dims", False)
    return n.op(REDUCTIONS[n.op_type], x, n.int32(axes), keep_dims=keep)


@tf("EuclideanNorm")
def euclidean_norm(n: Site, x: Value, axes: Value) -> Value:
    keep = n.flag("keep_dims", False)
    return n.op("SQRT", n.op("SUM", n.op("SQUARE", x), n.int32(axes), keep_dims=keep))


@tf("L2Loss")
def l2_loss(n: Site, x: Value) -> Value:
    axes = list(range(n.rank(x)))
    return n.op("MUL", n.op("SUM", n.op("SQUARE", x), axes, keep_dims=False), 0.5)


@tf("Square")
def square(n: Site, x: Value) -> Value:
    # TFLite squares floats only.
    return n.op("SQUARE", x) if x.dtype.is_float else n.op("MUL", x, x)


@tf("ArgMax", "ArgMin")
def arg_max(n: Site, x: Value, axis: Value) -> Value:
    operator = "ARG_MAX" if n.op_type == "ArgMax" else "ARG_MIN"
    return n.op(operator, x, n.int32(axis), output_type=n.dtype("output_type", 9))


@tf("Cumsum")
def cumsum(n: Site, x: Value, axis: Value) -> Value:
    flags = {name: n.flag(name, False) for name in ("exclusive", "reverse")}
    return n.op("CUMSUM", x, n.int32(axis), **flags)


@tf("AddN")
def add_n(n: Site, first: Value, *others: Value) -> Value:
    return n.op("ADD_N", first, *others) if others else first


# -- compositions: what TFLite has no operator for -------------------------------------------------


@tf("Inv", "Reciprocal")
def reciprocal(n: Site, x: Value) -> Value:
    return n.op("DIV", n.like(x, 1), x)


@tf("DivNoNan")
def div_no_nan(n: Site, a: Value, b: Value) -> Value:
    zero = n.op("EQUAL", b, 0)
    return n.op("SELECT_V2", zero, n.like(a, 0), n.op("DIV", a, b))


@tf("Log1p")
def log1p(n: Site, x: Value) -> Value:
    return n.op("LOG", n.op("ADD", x, 1))


@tf("Expm1")
def expm1(n: Site, x: Value) -> Value:
    return n.op("SUB", n.op("EXP", x), 1)


@tf("Tan")
def tan(n: Site, x: Value) -> Value:
    return n.op("DIV", n.op("SIN", x), n.op("COS", x))


@tf("ClipByValue")
def clip(n: Site, x: Value, low: Value, high: Value) -> Value:
    return n.op("MINIMUM", n.op("MAXIMUM", x, low), high)


@tf("IsNan")
def is_nan(n: Site, x: Value) -> Value:
    return n.op("NOT_EQUAL", x, x)


@tf("IsFinite")
def is_finite(n: Site, x: Value) -> Value:
    return n.op("EQUAL", n.op("SUB", x, x), 0)  # Inf - Inf and NaN - NaN are NaN


@tf("IsInf")
def is_inf(n: Site, x: Value) -> Value:
    return n.op("EQUAL", n.op("ABS", x), float("inf"))


@tf(EXACT, APPROXIMATE)
def gelu(n: Site, x: Value) -> Value:
    return n.op("GELU", x, approximate=n.op_type == APPROXIMATE)


@tf("Erf")
def erf(n: Site, x: Value) -> Value:
    return n.op("MUL", n.op("SIGN", x), n.op("SUB", n.like(x, 1), _erf_tail(n, x)))


@tf("Erfc")
def erfc(n: Site, x: Value) -> Value:
    return n.op("SUB", n.like(x, 1), erf(n, x))


def _erf_tail(n: Site, x: Value) -> Value:
    """1 - erf(|x|) to 1.5e-7, Abramowitz and Stegun 7.1.26."""
    size = n.op("ABS", x)
    t = n.op("DIV", n.like(x, 1), n.op("ADD", n.op("MUL", size, 0.3275911), 1))
    terms = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
    total = n.op("MUL", t, terms[0])
    for term in terms[1:]:
        total = n.op("MUL", n.op("ADD", total, term), t)
    return n.op("MUL", total, n.op("EXP", n.op("NEG", n.op("SQUARE", size))))
