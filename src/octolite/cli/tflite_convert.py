"""``tflite_convert``, with the flags that TensorFlow's command had from 1.10 on.

What the flags are called and what they take is in :data:`GROUPS`, which of them belong together in
:data:`RELATIONS`; the rest of this file makes a :class:`~octolite.cli.conversion.Job` of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from octolite.cli import conversion
from octolite.cli.console import fails_clearly
from octolite.cli.flags import (
    FILE,
    FOLDER,
    NAMES,
    NEW_FILE,
    NEW_FOLDER,
    NUMBER,
    NUMBERS,
    SHAPES,
    SWITCH,
    TEXT,
    ExactlyOne,
    Excludes,
    Flag,
    Group,
    Needs,
    Relation,
    TableCommand,
    check,
    one_of,
)
from octolite.cli.numbers import Numbers
from octolite.errors import UsageError
from octolite.selection import Selection
from octolite.version import __version__

TYPE = one_of("FLOAT", "QUANTIZED_UINT8", UINT8="QUANTIZED_UINT8", INT8="INT8")
OPERATORS = ("TFLITE_BUILTINS", "SELECT_TF_OPS")

GROUPS: tuple[Group, ...] = (
    Group(
        "The model, one of three",
        (
            Flag(
                "--graph_def_file", FILE, "source",
                "A frozen GraphDef, binary (.pb) or text (.pbtxt): variables are constants in it.",
            ),
            Flag("--saved_model_dir", FOLDER, "source", "A SavedModel of TensorFlow 1 or 2."),
            Flag(
                "--keras_model_file", FILE, "source",
                "A model that Keras saved: .h5, or .keras of version 3.",
            ),
            Flag(
                "--saved_model_tag_set", NAMES, "selection.tags",
                "The tags of the graph in --saved_model_dir, all of them; serve where not given.",
            ),
            Flag(
                "--saved_model_signature_key", TEXT, "selection.signature",
                "The one signature of --saved_model_dir to convert; all where not given.",
            ),
        ),
    ),
    Group(
        "The result",
        (
            Flag("--output_file", NEW_FILE, "job.output", "The file to write. Required."),
            Flag(
                "--output_format", one_of("TFLITE", "GRAPHVIZ_DOT"), "job.form",
                "TFLITE (default), or GRAPHVIZ_DOT: a drawing of the converted graph in Graphviz' "
                "language in place of the model.",
            ),
        ),
    ),
    Group(
        "Where the graph begins and ends",
        (
            Flag(
                "--input_arrays", NAMES, "selection.input_arrays",
                "Names of the inputs, in the order that the file is to have them. A name in the "
                "middle of the graph cuts it there. Where not given: the placeholders, or the "
                "arguments of the signature.",
                also=("--input_array",),
            ),
            Flag(
                "--output_arrays", NAMES, "selection.output_arrays",
                "Names of the outputs. Where not given: what nothing in the graph consumes, or "
                "the results of the signature.",
                also=("--output_array",),
            ),
            Flag(
                "--input_shapes", SHAPES, "selection.input_shapes",
                "A shape for each of --input_arrays: extents separated by commas, shapes by "
                "colons, -1 for an extent that stays open.",
                also=("--input_shape",),
            ),
        ),
    ),
    Group(
        "Weights in fewer bits, after training",
        (
            Flag(
                "--post_training_quantize", SWITCH, "numbers.weights",
                "Store weights in 8 bits: a quarter of the size, and hybrid operators that "
                "compute in int8. Inputs and outputs stay float.",
                also=("--quantize_weights",),
            ),
            Flag(
                "--quantize_to_float16", SWITCH, "numbers.weights",
                "With --post_training_quantize: store weights in 16 bits, as halves.",
            ),
        ),
    ),
    Group(
        "Models trained with simulated quantization",
        (
            Flag(
                "--inference_type", TYPE, "numbers.throughout",
                "FLOAT (default), or QUANTIZED_UINT8 (also UINT8): codes of 8 bits throughout, "
                "with the ranges that the graph's FakeQuant nodes state.",
            ),
            Flag(
                "--inference_input_type", TYPE, "numbers.coded_inputs",
                "What the inputs are, where they differ from --inference_type: FLOAT puts a "
                "QUANTIZE behind them, QUANTIZED_UINT8 a DEQUANTIZE.",
            ),
            Flag(
                "--inference_output_type", TYPE, "numbers.coded_outputs",
                "What the outputs are, where they differ from --inference_type: FLOAT puts a "
                "DEQUANTIZE in front of them.",
            ),
            Flag(
                "--mean_values", NUMBERS, "numbers.means",
                "The code that stands for 0, for each input: "
                "real = (code - mean) / deviation. 128 and 127 for images in -1…1.",
                also=("--mean_value",),
            ),
            Flag(
                "--std_dev_values", NUMBERS, "numbers.means",
                "How many codes make 1, for each input; with --mean_values.",
                also=("--std_dev_value",),
            ),
            Flag(
                "--default_ranges_min", NUMBER, "numbers.default_range",
                "The least value of every tensor whose range nothing states: for trying out what "
                "speed a model would have, not for its results.",
            ),
            Flag(
                "--default_ranges_max", NUMBER, "numbers.default_range",
                "The largest value, likewise.",
            ),
            Flag(
                "--change_concat_input_ranges", SWITCH, "numbers.join_ranges",
                "Let all that is concatenated have the range that holds them all, so that codes "
                "are copied as they are.",
            ),
            Flag(
                "--reorder_across_fake_quant", SWITCH, "numbers.move_ranges",
                "Where a FakeQuant lies between a layer and the bias, factor or activation that "
                "becomes part of it, give the whole the range that follows. Without this flag "
                "such a layer has no range.",
            ),
        ),
    ),
    Group(
        "Operators",
        (
            Flag(
                "--allow_custom_ops", SWITCH, "selection.allow_custom_ops",
                "Keep operators that are not known, as custom operators of the same name; "
                "whoever runs the file defines them. Without this flag they are an error.",
            ),
            Flag(
                "--custom_opdefs", TEXT, "",
                "Accepted with --allow_custom_ops, and not needed: an operator's attributes are "
                "read from the graph, without its definition.",
            ),
            Flag(
                "--target_ops", NAMES, "",
                "TFLITE_BUILTINS (default). With SELECT_TF_OPS beside it the conversion is the "
                "same and fails where an operator is not TFLite's: TensorFlow's own kernels are "
                "not there when the file runs.",
            ),
            Flag(
                "--experimental_select_user_tf_ops", NAMES, "",
                "Not possible here, see --target_ops; --allow_custom_ops keeps operators.",
            ),
            Flag(
                "--drop_control_dependency", SWITCH, "",
                "Accepted: control edges are always dropped, save where one orders what is "
                "written to a variable.",
            ),
        ),
    ),
    Group(
        "Pictures of the conversion",
        (
            Flag(
                "--dump_graphviz_dir", NEW_FOLDER, "job.pictures",
                "Write drawings to this folder: the graph as it was read, after each pass that "
                "changed it, and as it is written.",
            ),
            Flag(
                "--dump_graphviz_video", SWITCH, "job.every_change",
                "With --dump_graphviz_dir: a drawing after each change that a rule makes, numbered "
                "as the frames of a film.",
            ),
            Flag(
                "--conversion_summary_dir", NEW_FOLDER, "job.summary",
                "Write to this folder what --json prints, and drawings of the graph as it was "
                "read and as it is written.",
            ),
        ),
    ),
    Group(
        "Accepted; there is one converter, and it gives the same file with any value",
        (
            Flag("--experimental_new_converter", SWITCH, "", "In TensorFlow: MLIR or TOCO."),
            Flag("--experimental_new_quantizer", SWITCH, "", "In TensorFlow: MLIR or not."),
            Flag("--enable_v1_converter", SWITCH, "", "In TensorFlow 2: take version 1's flags."),
        ),
    ),
)  # fmt: skip

FLAGS: dict[str, Flag] = {flag.name: flag for group in GROUPS for flag in group.flags}

SOURCES = {
    "--graph_def_file": "a frozen GraphDef",
    "--saved_model_dir": "a SavedModel",
    "--keras_model_file": "a Keras model",
}
"""Flag → what its model has to be."""

UINT8 = "--inference_type=QUANTIZED_UINT8"
UINT8_INPUT = "--inference_input_type=QUANTIZED_UINT8"

RELATIONS: tuple[Relation, ...] = (
    ExactlyOne(tuple(SOURCES), "one model"),
    Needs(
        ("--saved_model_tag_set", "--saved_model_signature_key"), ("--saved_model_dir",),
        "only a SavedModel has tags and signatures",
    ),
    Needs(("--input_shapes",), ("--input_arrays",), "shapes follow the order of names"),
    Needs(("--quantize_to_float16",), ("--post_training_quantize",), "it says in which format"),
    Excludes(
        "--post_training_quantize", UINT8,
        "the first stores the weights of a float model, the second makes everything codes",
    ),
    Needs(("--mean_values",), ("--std_dev_values",), "each input has both"),
    Needs(("--std_dev_values",), ("--mean_values",), "each input has both"),
    Needs(
        ("--inference_output_type=QUANTIZED_UINT8",), (UINT8,), "a float model gives floats",
    ),
    Needs(
        ("--mean_values",), (UINT8, UINT8_INPUT),
        "they tell what the codes of an input mean, and without it the inputs are float",
    ),
    Needs(("--default_ranges_min",), ("--default_ranges_max",), "a range has both ends"),
    Needs(("--default_ranges_max",), ("--default_ranges_min",), "a range has both ends"),
    Needs(
        (
            "--default_ranges_min", "--change_concat_input_ranges", "--reorder_across_fake_quant",
        ),
        (UINT8,), "in a float model nothing has a range",
    ),
    Needs(("--dump_graphviz_video",), ("--dump_graphviz_dir",), "it says where to draw"),
    Needs(("--custom_opdefs",), ("--allow_custom_ops",), "it is about custom operators"),
)  # fmt: skip

RENAMED = {
    "--batch_size": "--input_shapes",
    "--default_range_max": "--default_ranges_max",
    "--default_range_min": "--default_ranges_min",
    "--dump_graphviz": "--dump_graphviz_dir",
    "--input_file": "--graph_def_file",
    "--mean": "--mean_values",
    "--savedmodel_directory": "--saved_model_dir",
    "--std_value": "--std_dev_values",
    "--std_values": "--std_dev_values",
}
"""Flags of the commands before this one."""


@click.command(
    cls=TableCommand,
    groups=GROUPS,
    renamed=RENAMED,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Explain what was rewritten, and what was not.")
@click.option("--json", "as_json", is_flag=True, help="Print the size ledger as JSON.")
@click.version_option(__version__, package_name="octolite")
@fails_clearly
def main(quiet: bool, verbose: bool, as_json: bool, **values: Any) -> None:
    """Convert a trained TensorFlow model to a .tflite file.

    Flags are written --name=value or --name value; those without a value may have =true or =false.
    """
    given = {name: values[name.lstrip("-")] for name in FLAGS}
    check(given, RELATIONS)
    _check_operators(given)
    source, kind = next((given[flag], kind) for flag, kind in SOURCES.items() if given[flag])
    job, numbers = _asked(given, "job."), _numbers(given)
    if "output" not in job:
        raise UsageError("--output_file is missing: give the file to write")
    conversion.run(
        conversion.Job(
            source,
            recipe=numbers.recipe(),
            selection=_selection(given, kind),
            edits=numbers.edits(),
            quiet=quiet,
            verbose=verbose,
            as_json=as_json,
            **job,
        )
    )


def _asked(given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """What the flags that are given set of ``what``, by its own names."""
    return {
        flag.sets.removeprefix(what): given[name]
        for name, flag in FLAGS.items()
        if flag.sets.startswith(what) and given[name] is not None
    }


def _selection(given: Mapping[str, Any], kind: str) -> Selection:
    asked = _asked(given, "selection.")
    if "input_shapes" in asked:
        asked["input_shapes"] = conversion.shapes_by_name(
            asked["input_shapes"], asked["input_arrays"]
        )
    return Selection(kind=kind, **asked)


def _numbers(given: Mapping[str, Any]) -> Numbers:
    asked = _asked(given, "numbers.")
    for flag in ("--inference_type", "--inference_input_type", "--inference_output_type"):
        if given[flag] == "INT8":
            raise UsageError(
                f"{flag}=INT8: models that compute with codes throughout have uint8 here, as "
                "QUANTIZED_UINT8 asks for; --post_training_quantize stores weights in int8"
            )
    for what in ("throughout", "coded_inputs", "coded_outputs"):
        if what in asked:
            asked[what] = asked[what] == "QUANTIZED_UINT8"
    if given["--post_training_quantize"]:
        asked["weights"] = "float16" if given["--quantize_to_float16"] else "dynamic"
    else:
        asked["weights"] = "none"
    if "default_range" in asked:
        asked["default_range"] = (given["--default_ranges_min"], given["--default_ranges_max"])
    return Numbers(**asked | {"means": _means(given)})


def _means(given: Mapping[str, Any]) -> Sequence[tuple[float, float]]:
    """Mean and deviation of each input, in order."""
    means, deviations = given["--mean_values"] or (), given["--std_dev_values"] or ()
    if len(means) != len(deviations):
        raise UsageError(
            f"--mean_values has {len(means)} numbers and --std_dev_values {len(deviations)}; "
            "each input has both"
        )
    names = given["--input_arrays"]
    if means and names and len(names) != len(means):
        raise UsageError(
            f"--mean_values has {len(means)} numbers and --input_arrays {len(names)} names; "
            "give a mean and a deviation for each input"
        )
    return tuple(zip(means, deviations, strict=True))


def _check_operators(given: Mapping[str, Any]) -> None:
    """Raises :class:`UsageError` for sets of operators that a file cannot have."""
    asked = given["--target_ops"] or ["TFLITE_BUILTINS"]
    for name in asked:
        if name not in OPERATORS:
            raise UsageError(f"--target_ops: {name!r} should be one of {', '.join(OPERATORS)}")
    if given["--experimental_select_user_tf_ops"] or asked == ["SELECT_TF_OPS"]:
        raise UsageError(
            "SELECT_TF_OPS alone, and --experimental_select_user_tf_ops, ask for a file that needs "
            "TensorFlow's kernels when it runs, which Octolite does not write: give "
            "--target_ops=TFLITE_BUILTINS, and --allow_custom_ops for operators that are not known"
        )
    if "SELECT_TF_OPS" in asked:
        click.echo(
            "note: SELECT_TF_OPS: only TFLite's operators are written, none is left to TensorFlow",
            err=True,
        )


if __name__ == "__main__":
    main()
