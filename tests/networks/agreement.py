"""What LiteRT and Octolite make of a network, with the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter as LiteRT
from ai_edge_litert.interpreter import OpResolverType

from octolite.ir.types import RESOURCE
from octolite.tflite import read, write
from tests.networks.catalogue import Network
from tests.recorded import relative_error

Arrays = list[np.ndarray]
DELEGATED = {"Convolution2DTransposeBias"}
"""Custom operators of MediaPipe that LiteRT leaves to its delegate for CPUs."""


def reference(content: bytes) -> LiteRT:
    """LiteRT with its reference kernels; with its own where those lack an operator."""
    resolver = OpResolverType.BUILTIN_REF
    plain = LiteRT(model_content=content, experimental_op_resolver_type=resolver)
    names = {operator["op_name"] for operator in plain._get_ops_details()}
    return LiteRT(model_content=content) if names & DELEGATED else plain


def prepared(interpreter: Any, network: Network) -> Any:
    """With tensors, of the shape that the network asks for."""
    if network.shape is not None:
        (details,) = interpreter.get_input_details()
        interpreter.resize_tensor_input(details["index"], list(network.shape))
    interpreter.allocate_tensors()
    return interpreter


def inputs(interpreter: Any, network: Network, steps: int = 0) -> Iterator[Arrays]:
    """Smooth noise, as pictures and spectrograms are, of a loudness that changes step by step."""
    rng = np.random.default_rng(20180917)
    details = interpreter.get_input_details()
    for step in range(steps or network.steps):
        yield [_drawn(rng, d, (step % 5 + 1) / 5, network.reach) for d in details]


def _drawn(
    rng: np.random.Generator, details: dict[str, Any], loudness: float, reach: float
) -> np.ndarray:
    noise = rng.standard_normal(details["shape"])
    for axis, extent in enumerate(noise.shape[1:], 1):
        if extent > 4:
            noise = noise + np.roll(noise, 1, axis) + np.roll(noise, 2, axis)
    noise *= loudness / max(np.abs(noise).max(), 1e-9)
    dtype = np.dtype(details["dtype"])
    if dtype.kind == "f":
        return np.asarray(noise * reach, dtype)
    limits = np.iinfo(dtype)
    middle = (limits.min + limits.max) / 2
    codes = middle + noise * (limits.max - middle)
    return np.clip(np.rint(codes), limits.min, limits.max).astype(dtype)


def results(interpreter: Any, feeds: Sequence[Arrays]) -> list[Arrays]:
    """The outputs of one run after the other."""
    found = []
    for arrays in feeds:
        for details, array in zip(interpreter.get_input_details(), arrays, strict=True):
            interpreter.set_tensor(details["index"], array)
        interpreter.invoke()
        outputs = interpreter.get_output_details()
        found.append([np.array(interpreter.get_tensor(d["index"])) for d in outputs])
    return found


def compare(
    network: Network, content: bytes, make: Callable[[bytes], Any]
) -> tuple[list[Arrays], list[Arrays]]:
    """Results of an interpreter of ours and of LiteRT's reference kernels."""
    theirs, mine = prepared(reference(content), network), prepared(make(content), network)
    feeds = list(inputs(theirs, network))
    return results(mine, feeds), results(theirs, feeds)


def worst(mine: Sequence[Arrays], theirs: Sequence[Arrays]) -> float:
    """The largest error over the largest magnitude, output by output."""
    pairs = [p for a, b in zip(mine, theirs, strict=True) for p in zip(a, b, strict=True)]
    return max(relative_error(a, b) for a, b in pairs)


def laid_open(content: bytes) -> bytes:
    """The same network, with everything that it computes among its outputs."""
    model = read(content)
    graph = model.main
    known = {id(v) for v in graph.outputs}
    graph.outputs = [
        *graph.outputs,
        *(
            v
            for node in graph.nodes
            for v in node.outputs
            if id(v) not in known and v.dtype is not RESOURCE
        ),
    ]
    return write(model)
