"""``python -m benchmarks.codes``: fully quantized operators beside LiteRT, one at a time.

LiteRT runs twice: by its reference kernels, whose bits Octolite has, and as it runs by default,
with the kernels of XNNPACK, whose bits are others.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import octolite
from benchmarks.contenders import TfLite
from benchmarks.measure import summary, take_turns
from octolite.ir.types import INT8, INT16, UINT8, Activation, Padding, Quant
from octolite.ops import operator_class
from octolite.ops.case import Case, case, codes, const
from octolite.tflite import write

X, Y, OUT = Quant.of(0.05, 7), Quant.of(0.03, -11), Quant.of(0.06, -3)
SHORT = Quant.of(0.0003)
IMAGE = (1, 56, 56, 64)

ROWS: Mapping[str, tuple[str, Case]] = {
    "add": (
        "ADD",
        case(
            codes(*IMAGE, quant=X),
            codes(*IMAGE, quant=Y),
            results=[(INT8, OUT)],
            activation=Activation.RELU,
        ),
    ),
    "add uint8": (
        "ADD",
        case(
            codes(*IMAGE, quant=Quant.of(0.05, 127), dtype=UINT8, low=0, high=256),
            codes(*IMAGE, quant=Quant.of(0.03, 99), dtype=UINT8, low=0, high=256),
            results=[(UINT8, Quant.of(0.06, 120))],
        ),
    ),
    "add int16": (
        "ADD",
        case(
            codes(*IMAGE, quant=SHORT, dtype=INT16, low=-32768, high=32768),
            codes(*IMAGE, quant=Quant.of(0.0002), dtype=INT16, low=-32768, high=32768),
            results=[(INT16, Quant.of(0.0004))],
            pot_scale_int16=False,
        ),
    ),
    "mul": (
        "MUL",
        case(
            codes(*IMAGE, quant=X),
            codes(1, 1, 1, 64, quant=Y),
            results=[(INT8, Quant.of(0.1, 4))],
        ),
    ),
    "quantize": ("QUANTIZE", case(codes(*IMAGE, quant=X), results=[(INT8, OUT)])),
    "relu": ("RELU", case(codes(*IMAGE, quant=X), results=[(INT8, OUT)])),
    "leaky relu": ("LEAKY_RELU", case(codes(*IMAGE, quant=X), results=[(INT8, OUT)], alpha=0.1)),
    "hard swish": ("HARD_SWISH", case(codes(*IMAGE, quant=X), results=[(INT8, OUT)])),
    "logistic": (
        "LOGISTIC",
        case(codes(*IMAGE, quant=X), results=[(INT8, Quant.of(1 / 256, -128))]),
    ),
    "logistic int16": (
        "LOGISTIC",
        case(
            codes(*IMAGE, quant=SHORT, dtype=INT16, low=-32768, high=32768),
            results=[(INT16, Quant.of(2.0**-15))],
        ),
    ),
    "average pool": (
        "AVERAGE_POOL_2D",
        case(
            codes(*IMAGE, quant=X),
            results=[(INT8, X)],
            padding=Padding.VALID,
            filter_height=2,
            filter_width=2,
            stride_h=2,
            stride_w=2,
        ),
    ),
    "max pool": (
        "MAX_POOL_2D",
        case(
            codes(*IMAGE, quant=X),
            results=[(INT8, X)],
            filter_height=3,
            filter_width=3,
            stride_h=2,
            stride_w=2,
        ),
    ),
    "mean": (
        "MEAN",
        case(codes(1, 7, 7, 1280, quant=X), const([1, 2]), results=[(INT8, OUT)], keep_dims=True),
    ),
    "softmax": (
        "SOFTMAX",
        case(codes(1, 1001, quant=X), results=[(INT8, Quant.of(1 / 256, -128))]),
    ),
    "concatenation": (
        "CONCATENATION",
        case(
            codes(1, 28, 28, 128, quant=Quant.of(0.05, 127), dtype=UINT8, low=0, high=256),
            codes(1, 28, 28, 64, quant=Quant.of(0.03, 99), dtype=UINT8, low=0, high=256),
            results=[(UINT8, Quant.of(0.05, 127))],
            axis=3,
        ),
    ),
    "pad": (
        "PAD",
        case(codes(*IMAGE, quant=X), const([[0, 0], [1, 1], [1, 1], [0, 0]]), results=[(INT8, X)]),
    ),
    "resize": (
        "RESIZE_BILINEAR",
        case(codes(1, 28, 28, 64, quant=X), const([56, 56]), results=[(INT8, X)]),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codes", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--runs", type=int, default=15, help="rounds; a round is a turn of each")
    options = parser.parse_args()
    print("| operator | Octolite, ms | LiteRT reference | LiteRT | times as fast | |")
    print("|---|---|---|---|---|---|")
    for name in options.rows:
        print(_line(name, options.runs), flush=True)


def _line(name: str, rounds: int) -> str:
    operator, example = ROWS[name]
    model, feeds = example.build(operator_class(operator))
    data = write(model)
    reference = OpResolverType.BUILTIN_REF
    runners = {
        "Octolite": TfLite(octolite.Interpreter(model_content=data, num_threads=1)),
        "reference": TfLite(
            Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=reference)
        ),
        "LiteRT": TfLite(Interpreter(model_content=data, num_threads=1)),
    }
    for runner in runners.values():
        for details in runner.interpreter.get_input_details():
            runner.interpreter.set_tensor(details["index"], feeds[details["name"]])
        runner.invoke()
    found, expected = runners["Octolite"].result(), runners["reference"].result()
    if not np.array_equal(found, expected):
        raise RuntimeError(f"{operator} is not what LiteRT's reference kernels say")
    turns = take_turns({n: r.invoke for n, r in runners.items()}, rounds)
    least = [summary(turns[n]).least for n in runners]
    shape = " × ".join(map(str, feeds["in0"].shape))
    times = " | ".join(f"{t:.3f}" for t in least)
    ratio = f"{least[1] / least[0]:.1f} and {least[2] / least[0]:.1f}"
    kernels = dict.fromkeys(t.label for t in runners["Octolite"].interpreter.profile(1))
    return f"| {name}, {shape} | {times} | {ratio} | {', '.join(kernels)} |"


if __name__ == "__main__":
    main()
