"""Records a small TFRecord file with TensorFlow, which Octolite's reader is tested on.

    .venv-tf/bin/python tools/record_tfrecord.py

Three digits as PNG, their labels, and features of every kind. The pixels are written to the
``.npz`` beside it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "data" / "evaluation"


def example(image: np.ndarray, label: int) -> bytes:
    features = {
        "image/encoded": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[tf.io.encode_png(image).numpy()])
        ),
        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "pixels": tf.train.Feature(float_list=tf.train.FloatList(value=image.reshape(-1).tolist())),
        "parts": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a", b"", b"\xff"])),
        "extremes": tf.train.Feature(
            int64_list=tf.train.Int64List(value=[-(2**63), -1, 2**63 - 1])
        ),
        "none": tf.train.Feature(),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def main() -> None:
    with np.load(ROOT / "examples" / "digits" / "holdout.npz") as data:
        images, labels = data["images"][:3], data["labels"][:3]
    with tf.io.TFRecordWriter(str(FOLDER / "digits.tfrecord")) as writer:
        for image, label in zip(images, labels, strict=True):
            writer.write(example(image, int(label)))
    np.savez(FOLDER / "digits.npz", images=images, labels=labels)


if __name__ == "__main__":
    main()
