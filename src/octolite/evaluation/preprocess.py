"""From an image to what a model is fed: cropped, resized, normalized, quantized.

Wrong preprocessing looks like a bad model, so nothing is guessed: what to do comes from the
model's metadata or is given (:meth:`Preprocess.parse`), and what neither says is an error that
names what to give.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from octolite.errors import DataError, UsageError, did_you_mean
from octolite.evaluation.data import Content
from octolite.evaluation.images import open_image, open_mask, pillow
from octolite.ir.numerics import quantize
from octolite.ir.types import Array, Quant
from octolite.tflite.metadata import TensorMetadata

if TYPE_CHECKING:
    from PIL.Image import Image

Size = tuple[int, int]
"""Height and width, in pixels."""

TFLITE = "crop=square,crop=0.875,resize=model,filter=tf-bilinear,channels=rgb,mean=127.5,std=127.5"
PRESETS = {
    "tflite": TFLITE,
    "none": "mean=0,std=1",
    "pixels": "dtype=uint8",
}
"""``tflite`` is what TensorFlow Lite's ILSVRC tool does to images for float models."""

CHANNELS = ("rgb", "bgr", "gray")
FILTERS = ("bilinear", "bicubic", "nearest", "box", "lanczos", "tf-bilinear")


@dataclass(frozen=True, slots=True)
class Step:
    """A crop or a change of size; steps are taken in order.

    ``what`` is ``"crop"`` or ``"resize"``; ``to`` a fraction of both sides, the length of the
    shorter side, a size, ``"square"`` (the largest in the middle) or ``"model"`` (the input's
    size).
    """

    what: str
    to: float | int | Size | str

    def __str__(self) -> str:
        to = "×".join(map(str, self.to)) if isinstance(self.to, tuple) else f"{self.to}"
        return f"{self.what} {to}"


@dataclass(frozen=True, slots=True)
class Preprocess:
    """What is to be done to images; what is ``None`` has not been said.

    Attributes:
        steps: crops and changes of size, in order.
        filter: how sizes change (:data:`FILTERS`); Pillow's, but for ``tf-bilinear``, TensorFlow's
            ``ResizeBilinear`` without half-pixel centres or antialiasing.
        channels: the order of channels that the model was trained with.
        mean, std: ``(x - mean) / std`` of values 0…255, one for all channels or one for each, in
            the model's order.
        dtype: ``float32`` (quantized as the input says, where it is quantized), or the model's
            integer type: then normalized values are the codes.
    """

    steps: tuple[Step, ...] | None = None
    filter: str | None = None
    channels: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    dtype: str | None = None

    @classmethod
    def parse(cls, text: str) -> Preprocess:
        """From ``crop=0.875,resize=224x224,mean=127.5,std=127.5,channels=rgb,dtype=float32``.

        A name among :data:`PRESETS` stands for its text; what follows it counts more. Several
        numbers for ``mean`` and ``std`` have slashes between them. Raises :class:`UsageError`.
        """
        given: dict[str, Any] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            key, separator, value = item.partition("=")
            if not separator and key in PRESETS:
                preset = cls.parse(PRESETS[key])
                given |= {f.name: v for f in fields(cls) if (v := getattr(preset, f.name))}
            elif key in _STEPS and separator:
                given["steps"] = (*given.get("steps", ()), Step(key, _STEPS[key](item, value)))
            elif key in _VALUES and separator:
                given[key] = _VALUES[key](item, value)
            else:
                hint = did_you_mean(key, [*_STEPS, *_VALUES, *PRESETS])
                raise UsageError(f"--preprocess: {item!r} says nothing that is known. {hint}")
        return cls(**given)

    def or_else(self, other: Preprocess) -> Preprocess:
        """What this one does not say, taken from ``other``."""
        missing = {f.name: getattr(other, f.name) for f in fields(self)}
        return replace(self, **{k: v for k, v in missing.items() if getattr(self, k) is None})


def _numbers(item: str, value: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in value.split("/"))
    except ValueError:
        numbers = (float("nan"),)
    if not np.isfinite(numbers).all() or (item.startswith("std") and 0 in numbers):
        raise UsageError(
            f"--preprocess: {item!r} should have numbers, as in mean=127.5 or std=1/1/1"
        )
    return numbers


def _among(*known: str) -> Callable[[str, str], str]:
    def parse(item: str, value: str) -> str:
        if value not in known:
            raise UsageError(f"--preprocess: {item!r}. {did_you_mean(value, known)}")
        return value

    return parse


def _extent(word: str) -> Callable[[str, str], float | int | Size | str]:
    def parse(item: str, value: str) -> float | int | Size | str:
        if value == word:
            return value
        if size := re.fullmatch(r"([1-9]\d{0,5})[x×]([1-9]\d{0,5})", value):
            return int(size[1]), int(size[2])
        if word == "model" and re.fullmatch(r"[1-9]\d{0,5}", value):
            return int(value)
        if word == "square" and re.fullmatch(r"0?\.\d+|1(\.0*)?", value) and float(value) > 0:
            return float(value)
        other = (
            "a fraction, as in crop=0.875" if word == "square" else "the shorter side, as in 256"
        )
        raise UsageError(f"--preprocess: {item!r} should be HEIGHTxWIDTH, {word!r} or {other}")

    return parse


_STEPS = {"crop": _extent("square"), "resize": _extent("model")}
_VALUES: dict[str, Callable[[str, str], Any]] = {
    "filter": _among(*FILTERS),
    "channels": _among(*CHANNELS),
    "mean": _numbers,
    "std": _numbers,
    "dtype": _among("float32", "uint8", "int8", "int16"),
}


@dataclass(frozen=True, slots=True)
class InputSpec:
    """An input as a model's file has it; extents that it leaves open are ``None``."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    quant: Quant | None

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> InputSpec:
        """From an entry of ``get_input_details()``."""
        parameters = details["quantization_parameters"]
        quantized = parameters["scales"].size and np.dtype(details["dtype"]).kind in "iu"
        return cls(
            details["name"],
            tuple(None if d < 0 else int(d) for d in details["shape_signature"]),
            np.dtype(details["dtype"]),
            Quant.of(parameters["scales"], parameters["zero_points"]) if quantized else None,
        )

    def __str__(self) -> str:
        shape = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"input {self.name!r} ({self.dtype} [{shape}])"


class Preparation:
    """Makes one input of one model from what samples have.

    Args:
        spec: the input.
        given: what the user says of preprocessing, if anything.
        metadata: what the model says of this input, if anything.

    Raises:
        UsageError: when what is said contradicts itself or the model.
    """

    def __init__(
        self,
        spec: InputSpec,
        given: Preprocess | str | None = None,
        metadata: TensorMetadata | None = None,
    ) -> None:
        self.spec = spec
        self.given = Preprocess.parse(given) if isinstance(given, str) else given
        self.chosen = (self.given or Preprocess()).or_else(_stated(metadata))
        self._metadata = metadata
        self._plan: _Plan | None = None

    def __call__(self, content: Content) -> Array:
        """What the model is fed: a batch of one.

        Images are preprocessed. Arrays are too where the user said how; otherwise they are fed as
        they are, quantized where the input is. Raises :class:`DataError` for a sample that cannot
        be read, :class:`UsageError` for what is wrong with all of them.
        """
        if isinstance(content, np.ndarray) and self.given is None:
            return self._as_it_is(content)
        plan = self._planned()
        image = plan.geometry(open_image(content, plan.channels))
        pixels = np.asarray(image, np.float32)
        if plan.channels == "bgr":
            pixels = pixels[:, :, ::-1]
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        real = (pixels - plan.mean) / plan.std
        return self._cast(real.reshape(plan.shape(pixels.shape[:2])))

    def mask(self, content: Path | bytes | Array) -> Array:
        """A mask of classes, cropped and resized as images are; uint8 [height, width]."""
        if isinstance(content, np.ndarray):
            return content
        return np.asarray(self._planned().geometry(open_mask(content), "nearest"))

    @property
    def stretches_only(self) -> bool:
        """Whether the whole image is seen, so that relative places in it stay what they are."""
        return all(step.what == "resize" for step in self.chosen.steps or ())

    def describe(self, images: bool) -> str:
        """What is done, in words for people."""
        if not images and self.given is None:
            return "none (arrays are fed as they are)"
        plan = self._planned()
        steps = [*map(str, plan.steps), f"{plan.filter} filter"] if plan.steps else []
        mean, std = (
            "/".join(f"{v:g}" for v in values.tolist()) for values in (plan.mean, plan.std)
        )
        quantized = self.spec.quant and self.chosen.dtype in (None, "float32")
        into = "quantized to" if quantized else "as"
        stated = "" if self._metadata is None or self.given else " (from the model's metadata)"
        parts = [*steps, plan.channels, f"(x − {mean}) / {std}", f"{into} {self.spec.dtype}"]
        return ", ".join(parts) + stated

    def _as_it_is(self, array: Array) -> Array:
        shape, found = self.spec.shape, list(array.shape)
        if array.ndim == len(shape) - 1:
            array = array[np.newaxis]
        elif array.size == np.prod([d or 0 for d in shape[1:]]):  # one channel, left out
            array = array.reshape(1, *(d or 0 for d in shape[1:]))
        fits = array.ndim == len(shape) and all(
            want in (None, have) for want, have in zip(shape[1:], array.shape[1:], strict=True)
        )
        if not fits:
            raise UsageError(f"{self.spec} cannot take a sample of the shape {found}")
        return self._cast(array)

    def _cast(self, array: Array) -> Array:
        dtype, quant = self.spec.dtype, self.spec.quant
        if quant is not None and array.dtype.kind == "f" and self.chosen.dtype in (None, "float32"):
            return quantize(array, quant, dtype)
        if dtype.kind in "iu" and array.dtype.kind == "f":
            limits = np.iinfo(dtype)
            array = np.clip(np.rint(array), limits.min, limits.max)
        return np.ascontiguousarray(array, dtype)

    def _planned(self) -> _Plan:
        if self._plan is None:
            self._plan = _plan(self.spec, self.chosen)
        return self._plan


def _stated(metadata: TensorMetadata | None) -> Preprocess:
    """What a model's metadata say; of an image, that it is to have the input's size."""
    if metadata is None:
        return Preprocess()
    size = metadata.size or "model"
    return Preprocess(
        steps=(Step("resize", size),) if metadata.is_image else None,
        channels=metadata.colour,
        mean=metadata.mean or None,
        std=metadata.std or None,
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that is to be done, settled."""

    steps: tuple[Step, ...]
    filter: str
    channels: str
    mean: Array
    std: Array
    spec: InputSpec
    size: tuple[int | None, int | None]

    def geometry(self, image: Image, filter: str | None = None) -> Image:
        """Crop and resize. Raises :class:`DataError` for an image that then does not fit."""
        for step in self.steps:
            image = _GEOMETRY[step.what](image, step.to, filter or self.filter)
        found = image.size[::-1]
        if any(want not in (None, have) for want, have in zip(self.size, found, strict=True)):
            height, width = self.size
            raise DataError(
                f"the image is {found[0]}×{found[1]} (height × width) and the model takes "
                f"{height}×{width}; give --preprocess resize=model to resize, or crop="
            )
        return image

    def shape(self, size: Size) -> tuple[int, ...]:
        """The input's shape, a batch of one, for images of this size."""
        return (1, *size, *((_depth(self.spec),) if len(self.spec.shape) == 4 else ()))


def _depth(spec: InputSpec) -> int:
    return (spec.shape[3] or 3) if len(spec.shape) == 4 else 1


def _plan(spec: InputSpec, chosen: Preprocess) -> _Plan:
    depth = _depth(spec)
    if len(spec.shape) not in (3, 4) or depth not in (1, 3):
        raise UsageError(
            f"{spec} takes no images: expected [batch, height, width, 1 or 3] or [batch, height, "
            "width]; give arrays (.npz) of what it takes"
        )
    size = (spec.shape[1], spec.shape[2])
    channels = chosen.channels or ("gray" if depth == 1 else None)
    codes = chosen.dtype not in (None, "float32")
    mean = chosen.mean or ((0.0,) if codes else None)
    std = chosen.std or ((1.0,) if codes else None)
    missing = {
        "mean=… and std=… (values 0…255 become (x − mean) / std; mean=0,std=1 keeps them)": (
            mean is None or std is None
        ),
        "channels=rgb or channels=bgr": channels is None,
        "resize=HEIGHTxWIDTH": None in size
        and not any(s.what == "resize" and s.to != "model" for s in chosen.steps or ()),
    }
    if any(missing.values()):
        raise UsageError(
            f"what images become before {spec} is not known: the model's metadata do not say. Give "
            "--preprocess with "
            + "; ".join(what for what, is_missing in missing.items() if is_missing)
            + ". --preprocess tflite is what TensorFlow Lite's ILSVRC tool does"
        )
    assert mean is not None
    assert std is not None
    assert channels is not None
    if (channels == "gray") != (depth == 1):
        raise UsageError(f"{spec} has {depth} channels, and channels={channels} was given")
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, depth):
            raise UsageError(f"{name} has {len(values)} numbers; {spec} has {depth} channels")
    if codes and chosen.dtype != spec.dtype.name:
        raise UsageError(f"dtype={chosen.dtype} was given, and {spec} takes {spec.dtype}")
    if spec.dtype.kind in "iu" and spec.quant is None and not codes:
        raise UsageError(f"{spec} is not quantized: give dtype={spec.dtype}, or arrays")
    steps = tuple(_settled(step, size) for step in chosen.steps or ())
    return _Plan(
        steps,
        chosen.filter or "bilinear",
        channels,
        np.array(mean, np.float32),
        np.array(std, np.float32),
        spec,
        size,
    )


def _settled(step: Step, size: tuple[int | None, int | None]) -> Step:
    if step.to != "model":
        return step
    height, width = size
    if height is None or width is None:
        raise UsageError("the model leaves its size open: resize=model says nothing")
    return replace(step, to=(height, width))


def _crop(image: Image, to: Any, filter: str) -> Image:
    """The middle of an image, as ``tf.image.central_crop`` has it."""
    width, height = image.size
    if to == "square":
        to = (min(width, height),) * 2
    elif isinstance(to, float):
        to = (max(round(height * to), 1), max(round(width * to), 1))
    if to[0] > height or to[1] > width:
        raise DataError(f"the image is {height}×{width}, too small for crop={to[0]}x{to[1]}")
    top, left = (height - to[0]) // 2, (width - to[1]) // 2
    return image.crop((left, top, left + to[1], top + to[0]))


def _resize(image: Image, to: Any, filter: str) -> Image:
    width, height = image.size
    if isinstance(to, int):
        shorter = min(width, height)
        to = (max(round(height * to / shorter), 1), max(round(width * to / shorter), 1))
    if (height, width) == to:
        return image
    module = pillow()
    if filter == "tf-bilinear":
        return module.fromarray(_tf_bilinear(np.asarray(image), to))
    return image.resize(to[::-1], module.Resampling[filter.upper()])


def _tf_bilinear(pixels: Array, to: Size) -> Array:
    """``ResizeBilinear`` of TensorFlow 1: pixel ``i`` comes from ``i * old / new``."""
    whole = pixels.astype(np.float32).reshape(*pixels.shape[:2], -1)
    for axis, new in enumerate(to):
        old = whole.shape[axis]
        place = np.arange(new, dtype=np.float32) * np.float32(old / new)
        low = np.minimum(place.astype(np.int64), old - 1)
        high = np.minimum(low + 1, old - 1)
        share = (place - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        first = whole.take(low, axis)
        whole = first + (whole.take(high, axis) - first) * share
    return np.rint(whole).astype(np.uint8).reshape(*to, *pixels.shape[2:])


_GEOMETRY: dict[str, Callable[[Any, Any, str], Any]] = {"crop": _crop, "resize": _resize}
