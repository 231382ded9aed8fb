"""Freeze a published network: `python tools/freeze.py NAME -o OUT.pb [--input-size 224]`.

NAME is mobilenet_v2 or resnet50 (tf.keras.applications, random weights whose batch-norm statistics
come from data) or basic_pitch (the trained SavedModel of the PyPI package, Apache-2.0). Beside
OUT.pb come OUT.npz (one input and TensorFlow's outputs), OUT.dynamic.tflite (TensorFlow's own
quantized file), OUT.float.tflite with --float, and OUT's entry in index.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from recording import files, freezing, litert
from recording.freezing import tf  # with the environment that recording sets

APPLICATIONS = {
    "mobilenet_v2": (tf.keras.applications.MobileNetV2, 1.0),
    "resnet50": (tf.keras.applications.ResNet50, 100.0),  # images around ±100, as it expects
}
END_OF_BRANCH = ("_3_bn", "_project_BN")  # the batch norms before a residual addition
PITCH = "basic_pitch"
PITCH_PACKAGE = "basic-pitch==0.4.0"
PITCH_RATE, PITCH_SAMPLES = 22050, 43844  # Hz; the window the network was trained on


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", choices=[*APPLICATIONS, PITCH], metavar="NAME")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT.pb")
    parser.add_argument("--input-size", type=int, default=224, help="pixels of an image's side")
    parser.add_argument("--float", action="store_true", help="also write OUT.float.tflite")
    parser.add_argument(
        "--export", type=Path, metavar="PATH",
        help="write a SavedModel, or a .keras or .h5 file, nothing else",
    )  # fmt: skip
    options = parser.parse_args()
    if options.export is not None:
        model = application(options.name, options.input_size)
        if options.export.suffix in (".keras", ".h5"):
            model.save(options.export)
        else:
            model.export(options.export, verbose=False)
        return 0
    if options.output is None:
        parser.error("give -o OUT.pb, or --export PATH")
    if options.name == PITCH:
        frozen, feed, note = freeze_basic_pitch(), chord(), f"From {PITCH_PACKAGE}, Apache-2.0."
    else:
        frozen = freeze_application(options.name, options.input_size)
        feed = images(options.name, options.input_size, count=1, seed=1)
        note = "tf.keras.applications, random weights."
    feeds = {frozen.inputs[0]: feed}
    folder, name = options.output.parent, options.output.stem
    folder.mkdir(parents=True, exist_ok=True)
    entry = files.write(name, frozen, feeds, folder, note=note)
    files.update_index(folder / "index.json", {name: entry})
    if options.float:
        model = litert.convert(frozen, feeds, dynamic=False)
        (folder / f"{name}.float.tflite").write_bytes(model)
    print(f"{options.output}: {entry['tensorflow']}", file=sys.stderr)
    return 0


def application(name: str, size: int) -> tf.keras.Model:
    """A network with random weights that behave like trained ones."""
    tf.keras.utils.set_random_seed(0)
    make, _ = APPLICATIONS[name]
    model = make(weights=None, input_shape=(size, size, 3))
    settle_statistics(model, images(name, size, count=8, seed=0))
    return model


def freeze_application(name: str, size: int) -> freezing.Frozen:
    model = application(name, size)
    spec = tf.TensorSpec((None, size, size, 3), tf.float32, name="input")
    return freezing.freeze_function(lambda image: model(image, training=False), [spec])


def settle_statistics(model: tf.keras.Model, batch: np.ndarray) -> None:
    """Make random weights behave like trained ones.

    Scales and shifts vary; residual branches add little to their shortcut, without which depth
    amplifies every rounding error; moving statistics are those of one batch; the classifier's
    weights are scaled so that logits spread by 2 instead of giving all classes one probability.
    """
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.0  # moving statistics become those of the next batch
            scale = 0.3 if layer.name.endswith(END_OF_BRANCH) else 1.0
            layer.gamma.assign(scale * rng.uniform(0.7, 1.3, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.2, layer.beta.shape))
    model(batch, training=True)
    classifier = model.layers[-1]
    features = tf.keras.Model(model.input, classifier.input)(batch, training=False)
    logits = (features @ classifier.kernel).numpy()
    classifier.kernel.assign(classifier.kernel * (2 / logits.std()))


def images(name: str, size: int, count: int, seed: int) -> np.ndarray:
    """Smooth random colour fields with fine noise, in the network's input range."""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((count, 8, 8, 3))
    smooth = tf.image.resize(coarse, (size, size), method="bicubic").numpy()
    pixels = 0.5 * smooth + 0.1 * rng.standard_normal(smooth.shape)
    pixels = np.round(np.clip(pixels, -1, 1) * 64) / 64
    return (pixels * APPLICATIONS[name][1]).astype(np.float32)


def freeze_basic_pitch() -> freezing.Frozen:
    """Download the wheel without its dependencies and freeze the SavedModel inside."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--dest", folder, PITCH_PACKAGE], check=True)
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        model = tf.saved_model.load(str(Path(folder) / "basic_pitch/saved_models/icassp_2022/nmp"))
        signature = model.signatures["serving_default"]
        return freezing.freeze_concrete(signature)


def chord() -> np.ndarray:
    """Two seconds of plucked notes with six harmonics over faint noise; 22.05 kHz, ±1."""
    time = np.arange(PITCH_SAMPLES) / PITCH_RATE
    audio = np.zeros(PITCH_SAMPLES)
    for start, notes in ((0.0, [261.63]), (0.4, [329.63]), (0.8, [392.0]), (1.2, [261.63, 329.63])):
        since = np.maximum(time - start, 0)
        for frequency in notes:
            for harmonic in range(1, 7):
                tone = np.sin(2 * np.pi * harmonic * frequency * since)
                audio += (time >= start) * tone * np.exp(-3 * since * harmonic**0.5) / harmonic
    audio = 0.4 * audio / np.abs(audio).max()
    audio += 0.003 * np.random.default_rng(0).standard_normal(PITCH_SAMPLES)
    audio = np.round(audio * 2048) / 2048  # compresses well
    return audio.astype(np.float32)[None, :, None]


if __name__ == "__main__":
    sys.exit(main())
