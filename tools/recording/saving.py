"""How a saved model is declared: a decorated function that writes it to a path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

Saver = Callable[[Path], None]

SAVED: dict[str, Saver] = {}
"""Name → a function that saves a model in the folder it is given, and is called in an empty one."""


def saved_model(save: Saver) -> Saver:
    SAVED[save.__name__] = save
    return save


def spec(*shape: int | None, name: str, dtype: tf.DType = tf.float32) -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name=name)
