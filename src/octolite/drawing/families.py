"""What kinds of operators there are, for the eye: a name and colours for each.

An operator's family follows from the module that declares it, so that a new operator needs nothing
here; those of a module without a row are among the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from octolite.ir.graph import Op


@dataclass(frozen=True, slots=True)
class Family:
    """Operators that look alike. Colours are (fill, line) on a light and on a dark ground."""

    key: str
    title: str
    light: tuple[str, str]
    dark: tuple[str, str]
    modules: frozenset[str] = frozenset()


def _family(
    key: str, title: str, light: tuple[str, str], dark: tuple[str, str], modules: str
) -> Family:
    return Family(key, title, light, dark, frozenset(modules.split()))


ENDS = _family("end", "inputs and outputs", ("#e2e8f0", "#475569"), ("#1e293b", "#94a3b8"), "")
OTHER = _family("other", "other", ("#f3f4f6", "#6b7280"), ("#27272a", "#a1a1aa"), "")

OPERATORS = (
    _family(
        "products", "convolutions and products", ("#dbeafe", "#2563eb"), ("#172554", "#60a5fa"),
        "conv conv3d fully_connected matmul transpose_conv mediapipe",
    ),
    _family(
        "recurrent", "recurrent layers", ("#ede9fe", "#7c3aed"), ("#2e1065", "#a78bfa"),
        "recurrent lstm basic_lstm svdf",
    ),
    _family(
        "activation", "activations and normalization", ("#ffedd5", "#ea580c"),
        ("#431407", "#fb923c"), "activations softmax normalization",
    ),
    _family(
        "elementwise", "arithmetic", ("#dcfce7", "#16a34a"), ("#052e16", "#4ade80"),
        "arithmetic bits comparison unary stablehlo selection spectral",
    ),
    _family(
        "reduction", "pooling and reductions", ("#ccfbf1", "#0d9488"), ("#042f2e", "#2dd4bf"),
        "pooling reduction reduce_window segment",
    ),
    _family(
        "movement", "shapes and movement", ("#f1f5f9", "#64748b"), ("#1c2430", "#8b9bb0"),
        "generation interior joining padding reshaping resize slices slicing space matrix",
    ),
    _family(
        "lookup", "look-ups", ("#fef9c3", "#ca8a04"), ("#422006", "#facc15"),
        "indexing embedding hashing tables detection",
    ),
    _family(
        "quantization", "changes of number format", ("#fce7f3", "#db2777"), ("#500724", "#f472b6"),
        "quantization",
    ),
    _family(
        "control", "control flow and state", ("#fee2e2", "#dc2626"), ("#450a0a", "#f87171"),
        "control resources random",
    ),
)  # fmt: skip

FAMILIES = (ENDS, *OPERATORS, OTHER)
"""All, in the order of a legend."""

_BY_MODULE = {module: family for family in OPERATORS for module in family.modules}


def family_of(op: Op) -> Family:
    return _BY_MODULE.get(type(op).__module__.rpartition(".")[2], OTHER)
