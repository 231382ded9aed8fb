"""Images from files, by Pillow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from octolite.errors import DataError, UsageError
from octolite.ir.types import Array

if TYPE_CHECKING:
    from PIL.Image import Image

MODES = {"rgb": "RGB", "bgr": "RGB", "gray": "L"}


def pillow() -> Any:
    """The module ``PIL.Image``. Raises :class:`UsageError` where Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError:
        raise UsageError("reading images needs Pillow: pip install 'octolite[evaluate]'") from None
    return Image


def open_image(content: Path | bytes | Array, channels: str) -> Image:
    """An image of 8 bits per channel: RGB, or gray where ``channels`` is ``"gray"``.

    Arrays are uint8 [height, width] or [height, width, 1 or 3]. Raises :class:`DataError` for what
    cannot be decoded.
    """
    module = pillow()
    if isinstance(content, np.ndarray):
        return module.fromarray(_pixels(content)).convert(MODES[channels])
    image = _decode(module, content)
    if image.mode.startswith(("I", "F")):
        raise DataError(f"pixels of mode {image.mode}, expected 8 bits per channel; give arrays")
    return image.convert(MODES[channels])


def open_mask(content: Path | bytes) -> Image:
    """An image whose pixels are numbers of classes: gray, or indices of a palette.

    Raises :class:`DataError`.
    """
    image = _decode(pillow(), content)
    if image.mode not in ("L", "P", "1"):
        raise DataError(
            f"a mask of mode {image.mode}, expected one number in each pixel: gray of 8 bits, or "
            "indices of a palette"
        )
    # As gray values whatever the palette says: Pillow then resizes indices like any other numbers.
    return pillow().fromarray(np.asarray(image).astype(np.uint8))


def _decode(module: Any, content: Path | bytes) -> Image:
    try:
        with module.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            image.load()
            return image
    except Exception as error:  # decoders raise all sorts of things for damaged files
        reason = str(error) or type(error).__name__
        raise DataError(f"cannot be read as an image: {reason}") from error


def _pixels(array: Array) -> Array:
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))
    if array.dtype != np.uint8 or not fits:
        raise UsageError(
            f"--preprocess is for images: uint8 [height, width] or [height, width, 1 or 3]; found "
            f"{array.dtype} {list(array.shape)}, which can only be fed as it is"
        )
    return array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
