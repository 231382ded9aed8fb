"""``octolite``: convert, inspect, run and time models."""

from __future__ import annotations

from importlib import import_module

import click

from octolite.version import __version__

COMMANDS = {
    "convert": "Convert a trained TensorFlow model to a .tflite file.",
    "inspect": "Show a model: operators, tensors, what is quantized.",
    "run": "Run a model on arrays from files.",
    "evaluate": "Judge models on labelled data.",
    "bench": "Time a model, operator by operator.",
    "compare": "Show layer by layer what quantization cost; or compare with LiteRT.",
    "sensitivity": "Find the layers that a model cannot bear to have quantized.",
    "report": "Show on one page of HTML what quantization cost.",
    "tune": "Find the recipe that meets a budget of accuracy, size or latency.",
    "operators": "List the supported TFLite operators.",
    "layers": "List the supported Keras layers.",
}


class LazyGroup(click.Group):
    """Loads a command's module only when it is called: converting never loads a compiler."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"octolite.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="octolite")
def main() -> None:
    """8-bit TensorFlow models on ordinary CPUs."""


if __name__ == "__main__":
    main()
