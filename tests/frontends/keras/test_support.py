"""What is said to be supported: the documentation's tables, and that each layer was recorded."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from click.testing import CliRunner

from octolite.cli.layers import markdown_lines
from octolite.cli.main import main
from octolite.frontends.keras import LAYERS
from octolite.frontends.keras.activations import ACTIVATIONS
from octolite.frontends.keras.archive import open_archive
from octolite.frontends.keras.network import read
from tests.frontends.keras.recorded import ALL

PAGE = Path(__file__).parents[3] / "docs" / "keras.md"

UNRECORDED = {
    "SyncBatchNormalization",  # the class that BatchNormalization has taken the place of
    "Model",  # what old files call Functional
    "StringLookup",  # of texts, which test_lookup has
    "tf.__operators__.eq", "tf.__operators__.ne", "tf.math.divide", "tf.math.floordiv",
    "tf.transpose", "tf.squeeze", "tf.pad", "tf.gather",  # other names of the same functions
}  # fmt: skip


def test_the_page_is_current() -> None:
    """`octolite layers --markdown` printed it."""
    lines = "\n".join(markdown_lines())
    assert PAGE.read_text().endswith(lines.rstrip("\n") + "\n")


def test_every_layer_has_been_recorded() -> None:
    seen: set[str] = set()
    for recording in ALL:
        with ExitStack() as close:
            archive = open_archive(recording.content, close)
            root = read(archive.config, archive.keras)
        seen |= {layer.names[-1] for layer in root.everything()}
    inactive = {n for n, e in LAYERS.items() if e.lowering is LAYERS["Dropout"].lowering}
    assert set(LAYERS) - seen - inactive == UNRECORDED


def test_every_activation_has_been_recorded() -> None:
    seen: set[str] = set()
    for recording in ALL:
        with ExitStack() as close:
            archive = open_archive(recording.content, close)
            root = read(archive.config, archive.keras)
        layers = list(root.everything())
        seen |= {str(layer.get("activation")) for layer in layers}
        seen |= {"threshold"} if any(e.names[-1] == "ops.Threshold" for e in layers) else set()
    assert set(ACTIVATIONS) <= seen | {"hard_swish", "swish"}


def test_the_command_prints_tables() -> None:
    for flags in ([], ["--markdown"], ["--json"]):
        result = CliRunner().invoke(main, ["layers", *flags])
        assert result.exit_code == 0
        assert "Conv2DTranspose" in result.output
