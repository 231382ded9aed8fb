"""Record saved models for the tests: `python tools/saved_models.py [NAME…]`.

Writes tests/data/saved_models/NAME/, a small model as TensorFlow or Keras saves it, and NAME.npz:
what each signature gives for two calls, one after the other. Needs TensorFlow, keras and tf_keras.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from recording import saved_v1, saved_v2  # noqa: F401  (they fill SAVED)
from recording.saving import SAVED

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "data" / "saved_models"
WORDS = [b"cat", b"mat", b"dog", b"a", b"b", b""]
DROPPED = ("fingerprint.pb", "keras_metadata.pb")  # nobody reads them here


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="models to save (default: all)")
    for name in parser.parse_args().names or sorted(SAVED):
        path = FOLDER / name
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as here, contextlib.chdir(here):
            SAVED[name](path)
        for file in DROPPED:
            (path / file).unlink(missing_ok=True)
        for empty in (path / "assets", path / "variables"):
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()
        is_saved_model = (path / "saved_model.pb").exists()
        calls = record(path) if is_saved_model else record_checkpoint(path)
        np.savez_compressed(FOLDER / f"{name}.npz", **calls)
        print(name, sum(f.stat().st_size for f in path.rglob("*") if f.is_file()))


def record(path: Path) -> dict[str, np.ndarray]:
    """``KEY/CALL/in/NAME`` and ``KEY/CALL/out/NAME`` for each signature."""
    model = tf.saved_model.load(str(path), tags=["serve"])
    found = {}
    for key, function in model.signatures.items():
        _, specs = function.structured_input_signature
        for call in range(2):
            feeds = {name: feed(spec, call) for name, spec in specs.items()}
            results = function(**{n: tf.constant(a) for n, a in feeds.items()})
            for kind, arrays in (("in", feeds), ("out", results)):
                found |= {f"{key}/{call}/{kind}/{n}": plain(a) for n, a in arrays.items()}
    return found


def record_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """The same for what a MetaGraph computes from ``x``, as if it were a signature."""
    tf1 = tf.compat.v1
    found = {}
    with tf.Graph().as_default(), tf1.Session() as session:
        (meta,) = path.glob("*.meta")
        tf1.train.import_meta_graph(str(meta)).restore(session, str(meta).removesuffix(".meta"))
        for call in range(2):
            x = session.graph.get_tensor_by_name("x:0")
            given = feed(tf.TensorSpec(x.shape, x.dtype), call)
            result = session.run("probabilities:0", {x: given})
            found |= {f"serving_default/{call}/in/x": given}
            found |= {f"serving_default/{call}/out/probabilities": result}
    return found


def feed(spec: tf.TensorSpec, call: int) -> np.ndarray:
    shape = [3 + call if d is None else d for d in spec.shape]
    rng = np.random.default_rng(call + len(shape))
    if spec.dtype == tf.string:
        return np.array(rng.choice(WORDS, shape), object)
    if spec.dtype.is_integer:
        return rng.integers(0, 5, shape).astype(spec.dtype.as_numpy_dtype)
    return (np.round(rng.standard_normal(shape) * 16) / 16).astype(spec.dtype.as_numpy_dtype)


def plain(array: np.ndarray | tf.Tensor) -> np.ndarray:
    """Without objects, so that the file can be read without pickle."""
    array = np.asarray(array)
    return array.astype(bytes) if array.dtype == object else array


if __name__ == "__main__":
    main()
