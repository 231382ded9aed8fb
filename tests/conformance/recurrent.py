"""Generators: recurrent layers, by the builders of their declared cases."""

from __future__ import annotations

from typing import Any

from octolite.ir.types import Activation
from octolite.ops import Operator, lstm, recurrent, svdf
from octolite.ops.case import Case
from tests.conformance.drawing import Drawer
from tests.conformance.registry import draws

CELLS = [Activation.TANH, Activation.TANH, Activation.RELU, Activation.RELU6, Activation.NONE]


def sizes(d: Drawer) -> tuple[int, int, int]:
    """Steps, batch and depth."""
    return d.integer(1, 5), d.integer(1, 4), d.pick([1, 3, 8, 17])


def gates(d: Drawer, units: int) -> dict[str, Any]:
    """What an LSTM cell may have or lack."""
    clips = {n: d.pick([0.0, 0.0, 0.5]) for n in ("cell_clip", "proj_clip")}
    flags = {n: d.flag() for n in ("coupled", "peephole")}
    return {"width": d.pick([0, 0, max(units - 1, 1)]), **flags, **clips}


@draws("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM")
def cell(d: Drawer, operator: type[Operator]) -> Case:
    time, batch, depth = sizes(d)
    units = d.pick([1, 4, 9])
    chosen: dict[str, Any] = gates(d, units)
    shape: tuple[int, ...] = (batch, depth)
    if operator.name != "LSTM":
        major = chosen["time_major"] = d.flag()
        shape = (time, *shape) if major else (batch, time, depth)
        chosen["norm"] = d.flag()
    chosen["bias"] = d.flag()
    return lstm._example(shape, units, **chosen)


@draws("BIDIRECTIONAL_SEQUENCE_LSTM")
def cells(d: Drawer, operator: type[Operator]) -> Case:
    units = d.pick([1, 4, 9])
    aux = d.pick([0, 0, 3])
    major, merged = d.flag(), d.flag()
    return lstm._both_ways(
        *sizes(d), units, aux=aux, time_major=major, merge_outputs=merged, **gates(d, units)
    )


@draws("RNN")
def step(d: Drawer, operator: type[Operator]) -> Case:
    _, batch, depth = sizes(d)
    example = recurrent._sequence(1, batch, depth, d.pick([1, 4, 9]), activation=d.pick(CELLS))
    return Case([d.numbers(batch, depth), *example.tensors[1:]], example.attributes)


@draws("UNIDIRECTIONAL_SEQUENCE_RNN")
def sequence(d: Drawer, operator: type[Operator]) -> Case:
    return recurrent._sequence(
        *sizes(d), d.pick([1, 4, 9]), activation=d.pick(CELLS), time_major=d.flag()
    )


@draws("BIDIRECTIONAL_SEQUENCE_RNN")
def sequences(d: Drawer, operator: type[Operator]) -> Case:
    return recurrent._both_ways(
        *sizes(d), (d.pick([1, 4, 9]), d.pick([1, 4, 9])), d.pick([0, 0, 3]),
        activation=d.pick(CELLS), time_major=d.flag(), merge_outputs=d.flag(),
    )  # fmt: skip


@draws("SVDF")
def filters(d: Drawer, operator: type[Operator]) -> Case:
    activation = d.pick([Activation.NONE, Activation.RELU])
    return svdf._step(d.integer(1, 4), d.integer(1, 3), bias=d.flag(), activation=activation)
