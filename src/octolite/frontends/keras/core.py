"""Core layers, and those that do nothing at inference."""

from __future__ import annotations

import numpy as np

from octolite.errors import UnsupportedError
from octolite.frontends.einsum import einsum
from octolite.frontends.keras.engine import Call, layer
from octolite.ir.graph import Value
from octolite.ir.types import INT32


@layer("InputLayer", masks="own")
def input_layer(n: Call) -> Value:
    """An input of the model: its shape may leave extents open."""
    raise UnsupportedError("InputLayer that is no input of its model")


@layer("Dense", weights="kernel bias?use_bias", masks="kept")
def dense(n: Call, x: Value) -> Value:
    """FULLY_CONNECTED, over the last axis."""
    kernel = n.weight("kernel", n.extent(x, -1), n.count("units"))
    bias = n.optional("bias", n.count("units"))
    deep = n.rank(x) > 2
    y = n.op("FULLY_CONNECTED", n.real(x), n.transpose(kernel, (1, 0)), bias, keep_num_dims=deep)
    return n.activate(y)


@layer("EinsumDense", weights="kernel bias?bias_axes", masks="kept")
def einsum_dense(n: Call, x: Value) -> Value:
    """Where the equation is a matrix product."""
    equation = n.text("equation").replace(" ", "")
    inputs = equation.partition(",")[0]
    # An ellipsis stands for axes that only the input and the result have.
    spare = "".join(chr(ord("A") + i) for i in range(n.rank(x) - len(inputs.replace("...", ""))))
    equation = equation.replace("...", spare)
    y = einsum(n, equation, n.real(x), n.weight("kernel"))
    bias = n.optional("bias")
    if bias is not None:
        axes, out = n.text("bias_axes"), equation.partition("->")[2]
        first = min(out.index(a) for a in axes)
        shape = [n.shape(bias)[axes.index(c)] if c in axes else 1 for c in out[first:]]
        y = n.op("ADD", y, n.reshape(bias, [d or 1 for d in shape]))
    return n.activate(y)


@layer("Embedding", weights="embeddings", masks="own")
def embedding(n: Call, x: Value) -> Value:
    """Ids become rows; ``mask_zero`` makes a mask of the ids."""
    ids = n.cast(x, INT32)
    table = n.weight("embeddings", n.count("input_dim"), n.count("output_dim"))
    mask = n.op("NOT_EQUAL", ids, 0) if n.flag("mask_zero", False) else None
    if n.rank(ids) == 1:
        return n.masked(n.op("EMBEDDING_LOOKUP", ids, table), mask)
    return n.masked(n.op("GATHER", table, ids, axis=0), mask)


@layer("Masking", masks="own")
def masking(n: Call, x: Value) -> Value:
    """Steps whose numbers all are ``mask_value`` become 0 and are left out behind."""
    unlike = n.op("NOT_EQUAL", x, n.number("mask_value", 0.0))
    last = n.rank(x) - 1
    mask = n.op("REDUCE_ANY", unlike, [last], keep_dims=False)
    wide = n.op("REDUCE_ANY", unlike, [last], keep_dims=True)
    return n.masked(n.op("MUL", x, n.cast(wide, x.dtype)), mask)


@layer("Identity", masks="kept")
def identity(n: Call, x: Value) -> Value:
    """Nothing."""
    return x


@layer(
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout",
    "GaussianDropout", "GaussianNoise", "ActivityRegularization",
    "RandomBrightness", "RandomContrast", "RandomFlip", "RandomRotation",
    "RandomTranslation", "RandomZoom", "RandomShear", "RandomHue", "RandomSaturation",
    "RandomGrayscale", "RandomColorJitter", "RandomColorDegeneration", "RandomPosterization",
    "RandomSharpness", "RandomGaussianBlur", "RandomInvert", "RandomErasing", "RandomPerspective",
    "RandomElasticTransform", "RandomHeight", "RandomWidth", "RandAugment", "AugMix", "MixUp",
    "CutMix", masks="kept",
)  # fmt: skip
def inactive(n: Call, x: Value) -> Value:
    """Work in training only, and leave no operator."""
    return x


@layer("ReversibleEmbedding", weights="embeddings", masks="own")
def reversible_embedding(n: Call, x: Value, reverse: bool = False) -> Value:
    """An embedding that is also called the other way, by ``reverse``."""
    table = n.weight("embeddings", n.count("input_dim"), n.count("output_dim"))
    if not n.flag("tie_weights", True):
        raise UnsupportedError(f"{n.op_type} with a table for each direction")
    if reverse:
        y = n.op("FULLY_CONNECTED", n.real(x), table, None, keep_num_dims=n.rank(x) > 2)
        if n.has("logit_soft_cap"):
            cap = n.number("logit_soft_cap")
            y = n.op("MUL", n.op("TANH", n.op("MUL", y, 1 / cap)), cap)
        return y
    ids = n.cast(x, INT32)
    mask = n.op("NOT_EQUAL", ids, 0) if n.flag("mask_zero", False) else None
    return n.masked(n.op("GATHER", table, ids, axis=0), mask)


def int32(*numbers: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """Numbers as an array, or one as a scalar."""
    return np.asarray(numbers[0] if len(numbers) == 1 else numbers, np.int32)
