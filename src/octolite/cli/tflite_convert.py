"""``tflite_convert``, as the TensorFlow Lite documentation of 2018 has it."""

from __future__ import annotations

import click

from octolite.cli import conversion
from octolite.cli.console import fails_clearly
from octolite.errors import UsageError
from octolite.selection import Selection
from octolite.version import __version__


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--output_file", required=True, metavar="FILE", help="The .tflite file to write.")
@click.option(
    "--graph_def_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="A frozen GraphDef, binary (.pb) or text (.pbtxt).",
)
@click.option(
    "--saved_model_dir",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False),
    help="A SavedModel, of TensorFlow 1 or 2.",
)
@click.option(
    "--keras_model_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="A model that Keras saved: .h5, or .keras of version 3.",
)
@click.option(
    "--saved_model_tag_set",
    metavar="A,B",
    help="The tags of the MetaGraph in --saved_model_dir. [default: serve]",
)
@click.option(
    "--saved_model_signature_key",
    metavar="KEY",
    help="The signature of --saved_model_dir to convert. [default: all]",
)
@click.option(
    "--post_training_quantize",
    "--quantize_weights",
    is_flag=True,
    help="Store weights in 8 bits: about 4 times smaller, with hybrid int8 operators.",
)
@click.option(
    "--quantize_to_float16", is_flag=True, help="With --post_training_quantize: store halves."
)
@click.option("--input_arrays", metavar="A,B", help="Inputs. [default: the Placeholders]")
@click.option(
    "--output_arrays", metavar="A,B", help="Outputs. [default: the nodes that nothing consumes]"
)
@click.option(
    "--input_shapes",
    metavar="1,224,224,3:1,10",
    help="A shape for each of --input_arrays, -1 for an open extent.",
)
@click.option(
    "--allow_custom_ops",
    is_flag=True,
    help="Keep operators that are not known, as custom operators of the same name.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Explain what was rewritten, and what was not.")
@click.option("--json", "as_json", is_flag=True, help="Print the size ledger as JSON.")
@click.version_option(__version__, package_name="octolite")
@fails_clearly
def main(
    output_file: str,
    graph_def_file: str | None,
    saved_model_dir: str | None,
    keras_model_file: str | None,
    saved_model_tag_set: str | None,
    saved_model_signature_key: str | None,
    post_training_quantize: bool,
    quantize_to_float16: bool,
    input_arrays: str | None,
    output_arrays: str | None,
    input_shapes: str | None,
    allow_custom_ops: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Convert a trained TensorFlow model to a .tflite file."""
    sources = {
        "a frozen GraphDef": graph_def_file,
        "a SavedModel": saved_model_dir,
        "a Keras model": keras_model_file,
    }
    given = [(path, kind) for kind, path in sources.items() if path is not None]
    if len(given) != 1:
        raise UsageError(
            "give one model: --graph_def_file, --saved_model_dir or --keras_model_file"
        )
    ((source, kind),) = given
    names = conversion.parse_names(input_arrays)
    integers = "float16" if quantize_to_float16 else "dynamic"
    selection = Selection(
        names,
        conversion.parse_names(output_arrays),
        conversion.parse_shapes(input_shapes, names),
        conversion.parse_names(saved_model_tag_set),
        saved_model_signature_key,
        allow_custom_ops,
        kind,
    )
    recipe = integers if post_training_quantize else "none"
    conversion.run(
        conversion.Job(
            source, output_file, recipe, selection, quiet=quiet, verbose=verbose, as_json=as_json
        )
    )


if __name__ == "__main__":
    main()
