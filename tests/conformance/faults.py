"""Where LiteRT computes something else than it means to: such examples are run here alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

from octolite.ir.types import (
    FLOAT32,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    UINT8,
    UINT32,
    DType,
)  # fmt: skip
from octolite.ops import operator_class
from octolite.ops.case import Case, Tensor
from octolite.ops.support import TYPES


def but(*types: DType) -> list[DType]:
    return [t for t in TYPES if t not in types]


def anything(case: Case) -> bool:
    return True


def empty(tensor: Tensor | None) -> bool:
    return tensor is not None and 0 in tensor.shape


def of_a_scalar(case: Case) -> bool:
    return case.tensors[0] is not None and not case.tensors[0].shape


def misfitting(case: Case) -> bool:
    """Elements that are not as many as one of the result is made of."""
    data, width = case.tensors[0], case.attributes["dtype"].bits
    assert data is not None
    return (
        data.dtype.bits < width
        and (*data.shape, 0)[-2 if data.shape else -1] * data.dtype.bits != width
    )


def time_major(case: Case) -> bool:
    return bool(case.attributes.get("time_major", False))


def unscaled(case: Case) -> bool:
    return case.tensors[0] is not None and case.tensors[0].quant is None


def of_strings(case: Case) -> bool:
    return any(t is not None and t.dtype is STRING for t in case.tensors)


def rows_within_bytes(case: Case) -> bool:
    """Codes of 4 or 2 bits whose rows do not begin with a byte."""
    table = case.tensors[1]
    assert table is not None
    return table.hybrid and math.prod(table.shape[1:]) * table.stored.bits % 8 != 0


@dataclass(frozen=True)
class Fault:
    """What operators of LiteRT do with numbers of some types, in some of their cases."""

    operators: Collection[str]
    types: Collection[DType]
    reason: str
    when: Callable[[Case], bool] = anything


FAULTS = (
    Fault(["EXPAND_DIMS", "FILL"], TYPES, "copies where strings lie, not the strings", of_strings),
    Fault(
        ["RESHAPE", "SQUEEZE", "SLICE"], [STRING], "copies where a string lies, not it", of_a_scalar
    ),
    Fault(["TRANSPOSE"], TYPES, "leaves the result of a scalar as it was", of_a_scalar),
    Fault(
        ["REDUCE_MAX", "REDUCE_MIN"],
        [FLOAT32],
        "has the largest finite number for the extremum of nothing, not infinity",
        lambda c: empty(c.tensors[0]),
    ),
    Fault(["BITCAST"], but(FLOAT32, INT32), "takes shapes that do not fit", misfitting),
    Fault(["LSH_PROJECTION"], but(FLOAT32), "takes any number for float32"),
    Fault(["STABLEHLO_COMPOSITE"], but(FLOAT32), "gives a graph numbers of a type that it lacks"),
    Fault(["PRELU"], [INT16], "looks for scales", unscaled),
    Fault(
        ["BIDIRECTIONAL_SEQUENCE_LSTM"],
        TYPES,
        "writes merged rows of all sequences but the first to a wrong place",
        lambda c: c.attributes.get("merge_outputs", False) and not time_major(c),
    ),
    Fault(
        ["BIDIRECTIONAL_SEQUENCE_RNN"],
        TYPES,
        "steps through the auxiliary input as if it were as deep as the input",
        lambda c: c.tensors[9] is not None and time_major(c),
    ),
    Fault(
        ["STRIDED_SLICE"],
        TYPES,
        "takes an element out of nothing",
        lambda c: empty(c.tensors[0]) and c.attributes.get("shrink_axis_mask", 0) != 0,
    ),
    Fault(["SQRT"], [INT16], "looks up a table of codes that is not there", unscaled),
    Fault(["EMBEDDING_LOOKUP"], TYPES, "takes strings for rows of bytes, and crashes", of_strings),
    Fault(
        ["EMBEDDING_LOOKUP"],
        TYPES,
        "looks for each row of 4- or 2-bit codes where a byte begins",
        rows_within_bytes,
    ),
    Fault(
        ["MATRIX_DIAG", "MATRIX_SET_DIAG"],
        but(FLOAT32, INT64, INT32, INT16, INT8, UINT8, UINT32),
        "writes rows of another size than the tensor has",
    ),
    Fault(
        ["FAKE_QUANT", "TFLite_Detection_PostProcess"], but(FLOAT32), "takes any number for float32"
    ),
    Fault(["REVERSE_V2"], TYPES, "crashes without elements", lambda c: any(map(empty, c.tensors))),
    Fault(["REVERSE_SEQUENCE"], TYPES, "crashes without elements", lambda c: empty(c.tensors[0])),
)


def fault(name: str, case: Case) -> str | None:
    """Why LiteRT's result for a case is not to be compared."""
    index = operator_class(name).data_input
    data = case.tensors[index] if len(case.tensors) > index else None
    dtype = FLOAT32 if data is None else data.dtype
    found = (f for f in FAULTS if name in f.operators and dtype in f.types and f.when(case))
    return next((f.reason for f in found), None)
