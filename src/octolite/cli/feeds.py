"""Arrays for a model's inputs, from files or drawn at random."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from octolite.errors import UsageError, did_you_mean
from octolite.ir.types import Array

if TYPE_CHECKING:
    from octolite.runtime.interpreter import Interpreter

SEED = 20180917


def load_feeds(inputs: Iterable[str], interpreter: Interpreter) -> dict[str, Array]:
    """``NAME=file.npy`` (or ``file.npy`` for an only input, or an ``.npz``) as arrays by name.

    Raises :class:`UsageError` for a file that cannot be read, and for names that do not fit.
    """
    expected = [d["name"] for d in interpreter.get_input_details()]
    feeds: dict[str, Array] = {}
    for item in inputs:
        name, separator, path = item.partition("=")
        if not separator:
            name, path = "", item
        for found, array in _arrays(path, name, expected).items():
            if found not in expected:
                hint = did_you_mean(found, expected)
                raise UsageError(f"the model has no input {found!r}. {hint}")
            feeds[found] = array
    missing = [n for n in expected if n not in feeds]
    if missing:
        flags = " ".join(f"--input {n}=FILE.npy" for n in missing)
        raise UsageError(f"no data for {', '.join(missing)}; give {flags}")
    return feeds


def _arrays(path: str, name: str, expected: list[str]) -> dict[str, Array]:
    try:
        loaded: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if isinstance(loaded, np.ndarray):
        if not name and len(expected) > 1:
            raise UsageError(f"say which input {path} is for: one of {', '.join(expected)}")
        return {name or expected[0]: loaded}
    with loaded:
        if name and name not in loaded.files:
            raise UsageError(f"{path} has no array {name!r}. {did_you_mean(name, loaded.files)}")
        return {n: loaded[n] for n in ([name] if name else loaded.files)}


def random_feeds(interpreter: Interpreter) -> dict[str, Array]:
    """The same numbers every time: uniform in [-1, 1) for floats, 0 or 1 for everything else."""
    rng = np.random.default_rng(SEED)
    feeds = {}
    for details in interpreter.get_input_details():
        shape, dtype = tuple(details["shape"]), np.dtype(details["dtype"])
        drawn = rng.uniform(-1, 1, shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        feeds[details["name"]] = np.asarray(drawn).astype(dtype)
    return feeds


def set_inputs(interpreter: Interpreter, feeds: dict[str, Array]) -> None:
    """Resize the inputs to fit, allocate and copy."""
    details = {d["name"]: d for d in interpreter.get_input_details()}
    for name, array in feeds.items():
        interpreter.resize_tensor_input(details[name]["index"], array.shape, strict=True)
    interpreter.allocate_tensors()
    for name, array in feeds.items():
        interpreter.set_tensor(details[name]["index"], array)
