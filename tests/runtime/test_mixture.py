"""Networks put together from several models give the bits of those models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import octolite
from octolite.ir.types import Array
from octolite.runtime.mixture import Mixture

DATA = Path(__file__).parent.parent / "data"

SOURCES = [
    "recurrent/lstm_dynamic",
    "recurrent/bidirectional_lstm",
    "recurrent/text_lstm",
    "recurrent/embedding_sequences",
    "recurrent/loop_decoder_v2",
    "recurrent/keras3_lstm_stack",
    "real/basic_pitch",
]


def run(interpreter: octolite.Interpreter) -> list[Array]:
    interpreter.allocate_tensors()
    rng = np.random.default_rng(2)
    for d in interpreter.get_input_details():
        shape, dtype = d["shape"], np.dtype(d["dtype"])
        drawn = rng.normal(size=shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        interpreter.set_tensor(d["index"], np.asarray(drawn).astype(dtype))
    interpreter.reset_all_variables()
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


@pytest.mark.parametrize("name", SOURCES)
def test_all_of_one_model_gives_its_bits(name: str) -> None:
    source = DATA / f"{name}.pb"
    plain = octolite.convert(source, "none")
    contents = [
        plain,
        *(octolite.convert(plain, q, min_elements=64) for q in ("dynamic", "weights")),
    ]
    mixture = Mixture(contents)
    alone = [run(octolite.Interpreter(model_content=c)) for c in contents]
    for model in (1, 0, 2, 1):
        mixture.choose([model] * len(mixture.operators))
        for a, b in zip(run(mixture.interpreter), alone[model], strict=True):
            np.testing.assert_array_equal(a, b)


def test_some_operators_of_another_model() -> None:
    plain = octolite.convert(DATA / "recurrent" / "lstm_classifier.pb", "none")
    coded = octolite.convert(plain, min_elements=64)
    mixture = Mixture([plain, coded])
    reference = run(octolite.Interpreter(model_content=plain))[0]
    whole = run(octolite.Interpreter(model_content=coded))[0]
    found = []
    for at in range(len(mixture.operators)):
        mixture.choose([int(i == at) for i in range(len(mixture.operators))])
        found.append(run(mixture.interpreter)[0])
    differs = [not np.array_equal(f, reference) for f in found]
    assert any(differs)
    assert not all(differs)
    assert all(np.abs(f - reference).max() < 3 * np.abs(whole - reference).max() for f in found)


def test_models_of_different_networks_do_not_mix() -> None:
    contents = [
        octolite.convert(DATA / "recurrent" / f"{name}.pb") for name in ("lstm_dynamic", "text_rnn")
    ]
    with pytest.raises(octolite.UsageError, match="different networks"):
        Mixture(contents)
