"""Record small Keras models for the tests: `python tools/record_keras.py [NAME…]`.

Writes in tests/data/keras, of each model and each version of Keras that has its layers, the files
that Keras saves (NAME.3.keras, NAME.3.h5, NAME.2.keras, NAME.2.h5, compressed), and NAME.npz: what
is fed, and what Keras computed. Needs TensorFlow, Keras 3 and tf_keras.
"""

from __future__ import annotations

import argparse
import lzma
import sys
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np
import tf_keras

import keras_models  # noqa: F401  (before TensorFlow is imported)
from keras_models import forward, sequences, structure  # noqa: F401  (they fill CASES)
from keras_models.case import CASES, Keras

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "data" / "keras"
VERSIONS = (Keras(tf_keras, 2), Keras(keras, 3))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="models to record (default: all)")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    for name in options.names or sorted(CASES):
        record(name)
    return 0


def record(name: str) -> None:
    case = CASES[name]
    feeds = case.feeds()
    arrays = {f"in/{k}": v for k, v in feeds.items()}
    for version in VERSIONS:
        if version.version not in case.versions:
            continue
        version.module.backend.clear_session()
        model = case.model(version)
        given = [feeds[t.name.split(":")[0]] for t in model.inputs] if len(feeds) > 1 else None
        results = model(given or next(iter(feeds.values())), training=False)
        flat = list(results.values()) if isinstance(results, dict) else results
        flat = flat if isinstance(flat, list | tuple) else [flat]
        for number, result in enumerate(flat):
            arrays[f"out{version.version}/{number:02}"] = np.asarray(result)
        for kind in ("keras", "h5"):
            save(model, f"{name}.{version.version}.{kind}", kind)
        print(f"{name}: Keras {version.version}: {len(flat)} outputs", file=sys.stderr)
    np.savez_compressed(FOLDER / f"{name}.npz", **arrays)


def save(model: object, name: str, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model.{kind}"
        model.save(path)  # type: ignore[attr-defined]
        content = path.read_bytes()
    (FOLDER / f"{name}.xz").write_bytes(lzma.compress(content, preset=9))


if __name__ == "__main__":
    sys.exit(main())
