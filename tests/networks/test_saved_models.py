"""The SavedModel that Basic Pitch ships converts directly, and agrees with its authors' file."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from pathlib import Path

import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

import octolite
from octolite.tflite import read
from tests.networks import fetch
from tests.networks.catalogue import NOTES
from tests.networks.test_networks import ALL
from tests.recorded import relative_error, sqnr
from tests.test_real_networks import TENSORFLOWS_OWN_ERROR, pitch_arrays

INSIDE = "basic_pitch/saved_models/icassp_2022/"


@pytest.fixture(scope="module")
def folder() -> Path:
    """What the package holds: the SavedModel ``nmp`` and, beside it, ``nmp.tflite``."""
    target = fetch.folder() / f"{NOTES.package.name}-{NOTES.package.version}"
    with fetch._alone(fetch.folder()):
        if not target.is_dir():
            _extract(target)
    return target


def _extract(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        if failure := fetch._download(NOTES.package, temporary):
            assert not ALL, failure
            pytest.skip(failure)
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(io.BytesIO(wheel.read_bytes())) as archive:
            wanted = [n for n in archive.namelist() if n.startswith(f"{INSIDE}nmp")]
            archive.extractall(temporary, wanted)
        os.replace(Path(temporary) / INSIDE, target)


@pytest.mark.parametrize("make", [octolite.Interpreter, LiteRT])
def test_the_float_model_is_the_authors(make: type, folder: Path) -> None:
    ours = make(model_content=octolite.convert(folder / "nmp", "none")).get_signature_runner()
    theirs = LiteRT(str(folder / "nmp.tflite")).get_signature_runner()
    (audio,) = pitch_arrays("in").values()
    expected = theirs(input_2=audio)
    found = ours(input_2=audio)
    assert set(found) == set(expected) == {"contour", "note", "onset"}
    for name, array in expected.items():
        assert relative_error(found[name], array) <= 1.1 * TENSORFLOWS_OWN_ERROR, name


def test_in_8_bits_it_hears_what_tensorflow_heard(folder: Path) -> None:
    recorded = pitch_arrays("out").values()
    content = octolite.convert(folder / "nmp")
    (audio,) = pitch_arrays("in").values()
    found = octolite.Interpreter(model_content=content).get_signature_runner()(input_2=audio)
    for array in found.values():
        best = max(sqnr(array, r) for r in recorded if r.shape == array.shape)
        assert best >= 20
    assert [s.key for s in read(content).signatures] == ["serving_default"]
