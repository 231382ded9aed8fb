"""What mutants are made from: models and graphs of this repository, each operator's cases."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import octolite
from octolite.ops import REGISTRY
from octolite.tflite import write
from tests.fuzz.built import BUILT

ROOT = Path(__file__).parents[2]
_GRAPHS = ROOT / "tests" / "data" / "graphs"
_RECURRENT = ROOT / "tests" / "data" / "recurrent"
_QUANTIZED = ROOT / "tests" / "data" / "quantized"
_CUSTOM = ROOT / "tests" / "data" / "custom"

GRAPHS: dict[str, Path] = {
    "digits": ROOT / "examples" / "digits" / "digits.pb",
    **{
        name: _GRAPHS / f"{name}.pb"
        for name in (
            "constant_encodings", "function_library", "lenet", "mlp", "reshape_shape_driven",
            "slicing", "transformer_block", "mobilenet_v2_like",
        )
    },
    **{
        name: _RECURRENT / f"{name}.pb"
        for name in (
            "autograph_while", "bidirectional_rnn_static", "cond_in_loop_v1", "cond_nested_v2",
            "embedding_flat", "lstm_lengths_v2", "loop_nested_v1", "loop_nested_v2",
            "loop_scan_v2", "cond_in_loop_v2", "cond_switch_case", "loop_in_cond_v2",
        )
    },
    **{name: _CUSTOM / f"{name}.pb" for name in ("image_patches", "string_ngrams")},
}  # fmt: skip
"""Name → frozen graph."""

CONVERTED = {
    "digits": "dynamic", "mlp": "none", "lenet": "weights", "transformer_block": "dynamic",
    "autograph_while": "none", "cond_in_loop_v1": "none", "cond_nested_v2": "none",
    "embedding_flat": "dynamic", "bidirectional_rnn_static": "dynamic", "slicing": "none",
    "lstm_lengths_v2": "float16", "loop_nested_v1": "none", "reshape_shape_driven": "none",
    "loop_scan_v2": "none", "cond_switch_case": "dynamic",
}  # fmt: skip
"""Graph → how it is quantized to make a model."""

THEIRS = ("mobilenet_v2_like", "deeplab_like", "attention_keras", "efficientnet_like")
"""Models that TensorFlow's converter made, with weights in 8 bits."""

INTEGER = (
    "mobilenet_v2.int8", "mobilenet_v3.int8", "segmenter.int16", "attention.int8",
    "attention.int16", "recurrent.int8",
)  # fmt: skip
"""Models that TensorFlow's converter quantized throughout."""


@cache
def models() -> list[str]:
    """The names of all models; those of operators' cases hold one operator each."""
    return [
        *CONVERTED,
        *(f"tensorflow/{name}" for name in THEIRS),
        *(f"integer/{name}" for name in INTEGER),
        *(f"built/{name}" for name in BUILT),
    ]


@cache
def cases() -> list[str]:
    return [f"{name}/{i}" for name, cls in REGISTRY.items() for i in range(len(cls.cases))]


@cache
def model(name: str) -> bytes:
    """The ``.tflite`` file of one of :func:`models` or :func:`cases`."""
    if name in CONVERTED:
        return octolite.convert(GRAPHS[name], quantize=CONVERTED[name], min_elements=64)
    first, second = name.split("/")
    if first == "tensorflow":
        return (_GRAPHS / f"{second}.dynamic.tflite").read_bytes()
    if first == "integer":
        return (_QUANTIZED / f"{second}.tflite").read_bytes()
    if first == "built":
        return BUILT[second]()
    operator = REGISTRY[first]
    return write(operator.cases[int(second)].build(operator)[0])
