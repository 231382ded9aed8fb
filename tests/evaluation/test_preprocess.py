"""What images become: by hand, by LiteRT's resizing, and never by guessing."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from octolite.errors import DataError, FormatError, UsageError
from octolite.evaluation.preprocess import InputSpec, Preparation, Preprocess, Step
from octolite.ir.types import FLOAT32, UINT8, Array, Quant
from octolite.tflite.metadata import Metadata, TensorMetadata, read_metadata
from tests.evaluation.echoes import Shape, echo, metadata

RNG = np.random.default_rng(11)
PICTURE = RNG.integers(0, 256, (6, 8, 3), np.uint8)


def spec(shape: Shape, dtype: type = np.float32, quant: Quant | None = None) -> InputSpec:
    return InputSpec("x", shape, np.dtype(dtype), quant)


def png(pixels: Array) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


# -- what is said ----------------------------------------------------------------------------------


def test_parsing() -> None:
    parsed = Preprocess.parse("crop=0.875, resize=10x20,mean=1/2/3,std=2,channels=bgr,dtype=uint8")
    assert parsed == Preprocess(
        (Step("crop", 0.875), Step("resize", (10, 20))), None, "bgr", (1, 2, 3), (2,), "uint8"
    )
    tool = Preprocess.parse("tflite,std=1")
    assert tool.steps == (Step("crop", "square"), Step("crop", 0.875), Step("resize", "model"))
    assert (tool.mean, tool.std, tool.filter) == ((127.5,), (1.0,), "tf-bilinear")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("croop=0.5", "Did you mean 'crop'"),
        ("crop", "says nothing"),
        ("crop=2.0", "a fraction, as in crop=0.875"),
        ("crop=0", "should be"),
        ("resize=0x3", "should be HEIGHTxWIDTH"),
        ("resize=0.5", "the shorter side"),
        ("mean=a", "should have numbers"),
        ("mean=nan", "should have numbers"),
        ("std=1/0/1", "should have numbers"),
        ("channels=rbg", "Did you mean 'rgb'"),
        ("dtype=float64", "Did you mean"),
    ],
)
def test_what_cannot_be_meant(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Preprocess.parse(text)


# -- nothing is guessed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (None, r"mean=… and std=….*channels=rgb or channels=bgr.*--preprocess tflite"),
        ("channels=rgb", "mean=… and std=…"),
        ("channels=rgb,mean=0", "mean=… and std=…"),
        ("mean=0,std=1", "channels=rgb or channels=bgr"),
    ],
)
def test_what_is_not_said_is_asked_for(given: str | None, missing: str) -> None:
    with pytest.raises(UsageError, match=missing):
        Preparation(spec((1, 6, 8, 3)), given)(png(PICTURE))


def test_sizes_that_the_model_leaves_open_are_asked_for() -> None:
    with pytest.raises(UsageError, match="resize=HEIGHTxWIDTH"):
        Preparation(spec((1, None, None, 3)), "none,channels=rgb")(png(PICTURE))


def test_an_image_of_another_size_is_not_resized_unasked() -> None:
    with pytest.raises(DataError, match=r"6×8 .* model takes 3×4; give --preprocess resize=model"):
        Preparation(spec((1, 3, 4, 3)), "none,channels=rgb")(png(PICTURE))


@pytest.mark.parametrize(
    ("shape", "given", "message"),
    [
        ((1, 6, 8, 1), "none,channels=rgb", "has 1 channels, and channels=rgb"),
        ((1, 6, 8, 3), "channels=rgb,mean=1/2,std=1", "mean has 2 numbers"),
        ((1, 6, 8, 3), "channels=rgb,dtype=uint8", "dtype=uint8 was given, and .* takes float32"),
        ((1, 6), "none", "takes no images"),
        ((1, 3, 6, 8), "none,channels=rgb", "takes no images"),
    ],
)
def test_what_contradicts_the_model(shape: Shape, given: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Preparation(spec(shape), given)(png(PICTURE))


# -- what is done ----------------------------------------------------------------------------------


def test_normalized_by_hand() -> None:
    made = Preparation(spec((1, 6, 8, 3)), "channels=bgr,mean=1/2/3,std=4/5/6")(png(PICTURE))
    blue_first = PICTURE[:, :, ::-1].astype(np.float32)
    expected = (blue_first - np.float32([1, 2, 3])) / np.float32([4, 5, 6])
    np.testing.assert_array_equal(made, expected[np.newaxis])
    assert made.dtype == np.float32


def test_quantized_as_the_input_says() -> None:
    """127.5 and 127.5 with scale 1/127.5 and zero point 0 is what pixels - 127.5 round to."""
    quant = Quant.of(np.float32(1 / 127.5), 128)
    prepare = Preparation(spec((1, 6, 8, 3), np.uint8, quant), "channels=rgb,mean=127.5,std=127.5")
    real = (PICTURE.astype(np.float64) - 127.5) / 127.5
    expected = np.clip(np.rint(real * 127.5) + 128, 0, 255)
    assert np.abs(prepare(png(PICTURE)) - expected).max() <= 1  # halves round either way
    assert prepare(png(PICTURE)).dtype == np.uint8


def test_pixels_as_codes() -> None:
    quant = Quant.of(np.float32(0.5), 3)
    prepare = Preparation(spec((1, 6, 8, 3), np.uint8, quant), "pixels,channels=rgb")
    np.testing.assert_array_equal(prepare(png(PICTURE))[0], PICTURE)


def test_crops_by_hand() -> None:
    prepare = Preparation(spec((1, 3, 4, 3)), "crop=0.5,none,channels=rgb")
    np.testing.assert_array_equal(prepare(png(PICTURE))[0], PICTURE[1:4, 2:6])
    prepare = Preparation(spec((1, 6, 6, 3)), "crop=square,none,channels=rgb")
    np.testing.assert_array_equal(prepare(png(PICTURE))[0], PICTURE[:, 1:7])
    prepare = Preparation(spec((1, 2, 4, 3)), "crop=2x4,none,channels=rgb")
    np.testing.assert_array_equal(prepare(png(PICTURE))[0], PICTURE[2:4, 2:6])
    with pytest.raises(DataError, match="6×8, too small for crop=7x4"):
        Preparation(spec((1, 7, 4, 3)), "crop=7x4,none,channels=rgb")(png(PICTURE))


def test_the_shorter_side() -> None:
    prepare = Preparation(spec((1, None, None, 3)), "resize=3,none,channels=rgb")
    assert prepare(png(PICTURE)).shape == (1, 3, 4, 3)


@pytest.mark.parametrize("size", [(3, 4), (6, 8), (11, 5), (1, 1), (24, 24)])
def test_resizing_is_tensorflow_lites(size: tuple[int, int]) -> None:
    """RESIZE_BILINEAR as TensorFlow 1 had it, which TensorFlow Lite's tool applies to images."""
    resized = Preparation(spec((1, *size, 3)), "resize=model,filter=tf-bilinear,none,channels=rgb")(
        png(PICTURE)
    )
    from octolite.ops import operator_class

    bilinear = operator_class("RESIZE_BILINEAR")(align_corners=False, half_pixel_centers=False)
    expected = bilinear.reference(PICTURE[np.newaxis].astype(np.float32), np.int32(size))
    assert np.abs(resized - np.asarray(expected)).max() <= 0.5 + 1e-4  # rounded, halves to a side


def test_gray_and_no_channels_at_all() -> None:
    gray = PICTURE[:, :, 0]
    np.testing.assert_array_equal(
        Preparation(spec((1, 6, 8, 1)), "none")(png(gray))[0, :, :, 0], gray
    )
    np.testing.assert_array_equal(Preparation(spec((1, 6, 8)), "none")(png(gray))[0], gray)


def test_arrays_are_fed_as_they_are_unless_told() -> None:
    prepare = Preparation(spec((1, 2)))
    np.testing.assert_array_equal(prepare(np.array([1.5, 2.5])), np.float32([[1.5, 2.5]]))
    assert prepare.describe(images=False) == "none (arrays are fed as they are)"
    with pytest.raises(UsageError, match=r"cannot take a sample of the shape \[3\]"):
        prepare(np.zeros(3))
    told = Preparation(spec((1, 6, 8, 3)), "channels=rgb,mean=0,std=2")
    np.testing.assert_array_equal(told(PICTURE)[0], PICTURE / np.float32(2))
    with pytest.raises(UsageError, match="is for images: uint8"):
        told(PICTURE.astype(np.float32))


@pytest.mark.parametrize("damage", [b"", b"no image", png(PICTURE)[:60]])
def test_damaged_images(damage: bytes) -> None:
    with pytest.raises(DataError, match="cannot be read as an image"):
        Preparation(spec((1, 6, 8, 3)), "none,channels=rgb")(damage)


def test_pixels_of_16_bits_are_refused() -> None:
    with pytest.raises(DataError, match="expected 8 bits"):
        Preparation(spec((1, 6, 8, 1)), "none")(png(np.full((6, 8), 40000, np.uint16)))


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    content = png(PICTURE)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match=r"pip install 'octolite\[evaluate\]'"):
        Preparation(spec((1, 6, 8, 3)), "none,channels=rgb")(content)


# -- what the model says ---------------------------------------------------------------------------


def test_metadata_are_read(tmp_path: Path) -> None:
    raw = metadata([127.5, 1, 2], [3, 4, 5], 1, "names.txt")
    path = echo(tmp_path / "m.tflite", (1, 6, 8, 3), [1, 144], metadata=raw)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("names.txt", "first\nsecond\n")
    found = read_metadata(path)
    assert found == read_metadata(path.read_bytes())
    assert found.inputs == (
        TensorMetadata("image", (127.5, 1.0, 2.0), (3.0, 4.0, 5.0), True, "rgb"),
    )
    assert found.outputs[0].labels == ("first", "second")
    assert read_metadata(echo(tmp_path / "n.tflite", (1, 2), [1, 2])) == Metadata()


def test_metadata_say_what_to_do() -> None:
    said = TensorMetadata("image", (10.0,), (2.0,), True, "rgb")
    prepare = Preparation(spec((1, 3, 4, 3)), None, said)
    small = Image.fromarray(PICTURE).resize((4, 3), Image.Resampling.BILINEAR)
    expected = (np.asarray(small, np.float32) - 10) / 2
    np.testing.assert_array_equal(prepare(png(PICTURE))[0], expected)
    assert "from the model's metadata" in prepare.describe(images=True)
    other = Preparation(spec((1, 3, 4, 3)), "std=1", said)  # the rest is still the metadata's
    np.testing.assert_array_equal(other(png(PICTURE))[0], np.asarray(small, np.float32) - 10)


def test_damaged_metadata_are_an_error(tmp_path: Path) -> None:
    raw = metadata([1], [2], 1, "names.txt")
    refused = 0
    for at in range(0, len(raw), 3):
        changed = raw[:at] + bytes([raw[at] ^ 0xA5]) + raw[at + 1 :]
        path = echo(tmp_path / "m.tflite", (1, 2), [1, 2], metadata=changed)
        try:
            read_metadata(path)
        except FormatError:
            refused += 1
    assert refused > 3


def test_specs_of_a_file(tmp_path: Path) -> None:
    import octolite

    quant = Quant.of(np.float32(0.5), 3)
    path = echo(tmp_path / "m.tflite", (None, 2), [-1, 2], UINT8, quant)
    (details,) = octolite.Interpreter(str(path)).get_input_details()
    found = InputSpec.of(details)
    assert (found.shape, found.dtype, found.quant) == ((None, 2), np.uint8, quant)
    plain = octolite.Interpreter(str(echo(tmp_path / "f.tflite", (1, 2), [1, 2], FLOAT32)))
    assert InputSpec.of(plain.get_input_details()[0]).quant is None
