"""Arithmetic, comparison and reductions: mostly one TFLite operator for one of TensorFlow's."""

from __future__ import annotations

from octolite.frontends.graphdef.engine import Site, tf
from octolite.ir.graph import Value

SAME: dict[str, str] = {
    "Add": "ADD", "AddV2": "ADD", "Sub": "SUB", "Mul": "MUL", "Div": "DIV", "RealDiv": "DIV",
    "FloorDiv": "FLOOR_DIV", "FloorMod": "FLOOR_MOD", "Pow": "POW",
    "Maximum": "MAXIMUM", "Minimum": "MINIMUM", "SquaredDifference": "SQUARED_DIFFERENCE",
    "Less": "LESS", "LessEqual": "LESS_EQUAL", "Greater": "GREATER",
    "GreaterEqual": "GREATER_EQUAL", "Equal": "EQUAL", "NotEqual": "NOT_EQUAL",
    "LogicalAnd": "LOGICAL_AND", "LogicalOr": "LOGICAL_OR", "LogicalNot": "LOGICAL_NOT",
    "Abs": "ABS", "Neg": "NEG", "Exp": "EXP", "Log": "LOG", "Sqrt": "SQRT", "Rsqrt": "RSQRT",
    "Square": "SQUARE", "Sin": "SIN", "Cos": "COS", "Floor": "FLOOR", "Ceil": "CEIL",
    "Round": "ROUND", "Rint": "ROUND", "Sign": "SIGN", "Atan2": "ATAN2",
    "Relu": "RELU", "Relu6": "RELU6", "Elu": "ELU", "Tanh": "TANH", "Sigmoid": "LOGISTIC",
    "LogSoftmax": "LOG_SOFTMAX", "AddN": "ADD_N", "ZerosLike": "ZEROS_LIKE",
    "Select": "SELECT", "SelectV2": "SELECT_V2", "Where": "WHERE",
    "MatrixDiag": "MATRIX_DIAG", "MatrixSetDiag": "MATRIX_SET_DIAG",
    "SegmentSum": "SEGMENT_SUM", "BitwiseXor": "BITWISE_XOR", "RightShift": "RIGHT_SHIFT",
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
