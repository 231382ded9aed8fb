"""Building, freezing and running graphs with TensorFlow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from .case import Case
from .twin import runnable_twin

tf1 = tf.compat.v1


class Frozen(NamedTuple):
    """A frozen graph; tensor names are without a trailing ":0"."""

    graph_def: Any
    inputs: list[str]
    outputs: list[str]


def short_name(tensor: tf.Tensor) -> str:
    return tensor.name.removesuffix(":0")


def freeze(case: Case) -> Frozen:
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(case.seed % 2**32)
    if case.style == "v2":
        specs = [
            tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in case.inputs.items()
        ]
        return freeze_function(case.build(), specs, lower=case.flow == 1)
    return _freeze_session(case)


def freeze_function(model: Any, specs: list[tf.TensorSpec], lower: bool = True) -> Frozen:
    """Trace a model for inference and freeze it."""
    traced = model if hasattr(model, "get_concrete_function") else tf.function(model)
    return freeze_concrete(traced.get_concrete_function(*specs), lower)


def freeze_concrete(function: Any, lower: bool = True) -> Frozen:
    """Turn a concrete function's variables into constants, as TensorFlow 2 does.

    By default TensorFlow lowers While and If to the nodes of control flow v1.
    """
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=lower)
    outputs = tf.nest.flatten(frozen.structured_outputs)
    return Frozen(
        frozen.graph.as_graph_def(),
        [short_name(tensor) for tensor in frozen.inputs],
        [short_name(tensor) for tensor in outputs],
    )


def _freeze_session(case: Case) -> Frozen:
    """Build in a graph, initialise its variables and freeze them, as TensorFlow 1 does."""
    with tf.Graph().as_default() as tf_graph, _tensorflow_1(case):
        tf1.set_random_seed(case.seed % 2**31)
        placeholders = {
            name: tf1.placeholder(spec.dtype, spec.declared, name=name)
            for name, spec in case.inputs.items()
        }
        outputs = [short_name(tensor) for tensor in _named(case.build(**placeholders))]
        nodes = list(dict.fromkeys(name.split(":")[0] for name in outputs))
        with tf1.Session(graph=tf_graph) as session:
            session.run(tf1.global_variables_initializer())
            if case.folder == "recurrent":
                _vary_biases(session)
            graph_def = tf1.graph_util.convert_variables_to_constants(
                session, tf_graph.as_graph_def(), nodes
            )
    if case.old_add:
        for node in graph_def.node:
            node.op = "Add" if node.op == "AddV2" else node.op
    return Frozen(graph_def, list(case.inputs), outputs)


@contextlib.contextmanager
def _tensorflow_1(case: Case) -> Iterator[None]:
    """Loops, conditionals and variables as TensorFlow 1 built them, where the case asks for it."""
    if case.flow == 1:
        tf1.disable_control_flow_v2()
    if not case.resource:
        tf1.disable_resource_variables()
    try:
        yield
    finally:
        tf1.enable_control_flow_v2()
        tf1.enable_resource_variables()


def _vary_biases(session: tf1.Session) -> None:
    """Recurrent cells start with biases of 0 or 1, which could hide where they are added."""
    rng = np.random.default_rng(0)
    for variable in tf1.global_variables():
        if "bias" in variable.op.name:
            noise = rng.normal(0, 0.1, variable.shape).astype(np.float32)
            variable.load(session.run(variable) + noise, session)


def _named(result: Any) -> list[tf.Tensor]:
    if isinstance(result, dict):
        return [tf.identity(tensor, name=name) for name, tensor in result.items()]
    return list(result) if isinstance(result, (list, tuple)) else [result]


def run(frozen: Frozen, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What TensorFlow computes, by output name; the graph is run as written, not optimised."""
    config = tf1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.Graph().as_default() as tf_graph:
        tf.import_graph_def(runnable_twin(frozen.graph_def), name="")
        with tf1.Session(graph=tf_graph, config=config) as session:
            values = session.run(
                [_full_name(name) for name in frozen.outputs],
                {_full_name(name): value for name, value in feeds.items()},
            )
    return dict(zip(frozen.outputs, values, strict=True))


def _full_name(name: str) -> str:
    return name if ":" in name else f"{name}:0"
