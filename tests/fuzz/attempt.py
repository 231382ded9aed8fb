"""One mutant: how it is made from its number, and what is done with it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

import octolite
from octolite.errors import OctoliteError
from tests.fuzz import corpus, flat, tree
from tests.fuzz.built import CUSTOM
from tests.fuzz.guard import guarded

MEMORY_LIMIT = 256 << 20
CALL_LIMIT = 300


@dataclass(frozen=True)
class Mutant:
    """A ``.tflite`` file (``model``) or a GraphDef, and the seed of all that is drawn with it."""

    kind: str
    origin: str
    content: bytes
    seed: str

    @classmethod
    def make(cls, seed: int, number: int) -> Mutant:
        """Mutant ``number`` of the series ``seed``; always the same for one corpus."""
        name = f"{seed}/{number}"
        rng = Random(name)
        kind = rng.choices(("model", "case", "graph"), (4, 3, 3))[0]
        if kind == "graph":
            origin = rng.choice(list(corpus.GRAPHS))
            content = tree.mutate(corpus.GRAPHS[origin].read_bytes(), rng)
            return cls("graph", origin, content, name)
        origin = rng.choice(corpus.models() if kind == "model" else corpus.cases())
        return cls("model", origin, flat.mutate(corpus.model(origin), rng), name)


def attempt(mutant: Mutant) -> str:
    """Convert it (a graph), load it, run it; gives ``ran`` or the OctoliteError's name.

    Half of the mutants run in memory that notices what is written behind a tensor.
    """
    rng = Random(f"run/{mutant.seed}")
    with guarded() if rng.random() < 0.5 else nullcontext():
        try:
            content = mutant.content
            if mutant.kind == "graph":
                recipe = rng.choice(("none", "dynamic", "weights", "float16"))
                content = octolite.convert(
                    content,
                    quantize=recipe,
                    min_elements=32,
                    allow_custom_ops=rng.random() < 0.5,
                )
            run(content, rng)
        except OctoliteError as error:
            return type(error).__name__
    return "ran"


def run(content: bytes, rng: Random) -> None:
    """Load a model and run it on numbers of all kinds."""
    interpreter = octolite.Interpreter(
        model_content=content,
        num_threads=1 if rng.random() < 0.8 else 2,
        hybrid=rng.choice(("auto", "auto", "always", "never")),
        memory_limit=MEMORY_LIMIT,
        call_limit=CALL_LIMIT,
        custom_operators=CUSTOM,
    )
    if rng.random() < 0.2:
        for details in interpreter.get_input_details():
            shape = [rng.choice((d, d, d, 0, 1, 2, 5)) for d in details["shape"].tolist()]
            interpreter.resize_tensor_input(details["index"], shape)
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        if details["dtype"] is np.object_:
            text = rng.choice((b"text", b"text text a b text", b"", b" ", b"\xff\0 \t" * 40))
            array = np.full(details["shape"], text, np.object_)
            interpreter.set_tensor(details["index"], array)
        else:
            _fill(interpreter.tensor(details["index"])(), rng)
    interpreter.invoke()
    for details in interpreter.get_output_details():
        interpreter.get_tensor(details["index"])


def _fill(array: Any, rng: Random) -> None:
    draw = np.random.default_rng(rng.randrange(2**32))
    if array.dtype.kind == "f":
        array[...] = draw.normal(size=array.shape)
        extreme = rng.choice((np.nan, np.inf, -np.inf, 1e38, 0.0))
    elif array.dtype.kind in "iu":
        array[...] = draw.integers(0, 3, array.shape)
        info = np.iinfo(array.dtype)
        extreme = rng.choice((-1, info.min, info.max, 100, 5)) % (info.max + 1)
        extreme = -extreme - 1 if info.min and rng.random() < 0.5 else extreme
    else:
        array[...] = draw.integers(0, 2, array.shape).astype(array.dtype)
        return
    if array.size and rng.random() < 0.3:
        array.reshape(-1)[rng.randrange(array.size)] = extreme
