"""Models as graphs of layers: how a configuration is read, and how layers are called in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from octolite.errors import InvalidGraphError, UnsupportedError
from octolite.frontends.keras.engine import (
    LAYERS,
    Assembly,
    Call,
    Layer,
    Nest,
    flat,
    layer,
    run,
    unknown,
)
from octolite.ir.graph import Value

DEPTH = 64
"""How many models and wrappers may lie in each other."""

_INSIDE = ("layer", "forward_layer", "backward_layer", "cell", "cells")
"""Fields of a configuration that hold layers."""


@dataclass(frozen=True, slots=True)
class Ref:
    """Result number ``tensor`` of the call number ``node`` of the layer called ``layer``."""

    layer: str
    node: int
    tensor: int


@dataclass
class Step:
    """One call of a layer: its arguments, in which a :class:`Ref` stands for a value."""

    args: list[Any]
    kwargs: dict[str, Any]


@dataclass
class Structure:
    """A model: its layers, their calls, and where values come in and go out."""

    layers: dict[str, Layer]
    steps: dict[tuple[str, int], Step]
    inputs: Nest
    outputs: Nest


# -- reading ----------------------------------------------------------------------------------


def read(spec: Any, keras: int, above: str = "", depth: int = 0) -> Layer:
    """A layer with all layers inside, from ``{"class_name": …, "config": …}``.

    Raises :class:`InvalidGraphError` for a configuration that breaks a rule.
    """
    if not isinstance(spec, Mapping) or not isinstance(spec.get("class_name"), str):
        raise InvalidGraphError(f"{above or 'the model'}: a layer is described without class_name")
    if depth > DEPTH:
        raise InvalidGraphError(f"{above!r}: more than {DEPTH} models lie in each other")
    class_name = spec["class_name"]
    data = spec.get("config", {})
    if class_name == "Sequential" and isinstance(data, list):
        data = {"name": "sequential", "layers": data}  # as the first versions wrote it
    if not isinstance(data, Mapping):
        raise InvalidGraphError(f"{above or 'the model'}: {class_name} without a configuration")
    name = str(data.get("name") or spec.get("name") or class_name.lower())
    found = Layer(
        name, class_name, data, f"{above}/{name}" if above else name,
        _names(spec, class_name, name, keras), keras,
    )  # fmt: skip
    found.name = name
    inner = found.path if depth else ""
    if "layers" in data and class_name in ("Sequential", "Functional", "Model"):
        _read_model(found, keras, inner, depth)
    for key in _INSIDE:
        _read_part(found, key, keras, depth)
    if class_name == "Bidirectional":
        _complete(found)
    return found


def _names(spec: Mapping[str, Any], class_name: str, name: str, keras: int) -> tuple[str, ...]:
    """What a layer may be registered by; the last is the name among those that are known."""
    module, registered = str(spec.get("module") or ""), spec.get("registered_name")
    builtin = class_name
    config = spec.get("config", {})
    # Files of the older kind do not say what is a layer and what an operation of the same name.
    bare = keras >= 3 and not module and f"ops.{class_name}" in LAYERS and "trainable" not in config
    if ".ops." in module or module.endswith(".ops") or bare:
        builtin = f"ops.{class_name}"
    elif class_name in ("TFOpLambda", "SlicingOpLambda"):
        builtin = f"tf.{config.get('function')}"
    elif module and not module.startswith(("keras", "tf_keras", "tensorflow", "builtins")):
        builtin = f"{module}>{class_name}"  # of the same name as a layer of Keras, maybe
    exact = [f"{class_name}:{name}"]
    if isinstance(registered, str) and registered != class_name:
        exact.append(registered)
        if ">" in registered and not registered.startswith(("Custom>keras", "keras")):
            builtin = registered
    return (*exact, class_name, builtin)


def _read_part(found: Layer, key: str, keras: int, depth: int) -> None:
    spec = found.data.get(key)
    if isinstance(spec, Mapping) and "class_name" in spec:
        attribute = (
            "forward_layer" if (found.class_name, key) == ("Bidirectional", "layer") else key
        )
        found.parts[attribute] = read(spec, keras, found.path, depth + 1)
    elif isinstance(spec, list) and key in ("cells", "cell"):
        cells = [read(item, keras, found.path, depth + 1) for item in spec]
        found.parts["cells"] = cells


def _complete(found: Layer) -> None:
    """Files that say nothing of the backward layer mean the forward one, turned round."""
    forward = found.parts.get("forward_layer")
    if isinstance(forward, Layer) and "backward_layer" not in found.parts:
        config = {**forward.data, "name": f"backward_{forward.name}"}
        config["go_backwards"] = not forward.flag("go_backwards", False)
        spec = {"class_name": forward.class_name, "config": config}
        found.parts["backward_layer"] = read(spec, forward.keras, found.path, 1)


def _read_model(found: Layer, keras: int, path: str, depth: int) -> None:
    specs = found.get("layers")
    if not isinstance(specs, list) or not specs:
        raise InvalidGraphError(f"{found!r} has no layers")
    layers: dict[str, Layer] = {}
    for spec in specs:
        inner = read(spec, keras, path, depth + 1)
        outer_name = spec.get("name") if isinstance(spec.get("name"), str) else inner.name
        if outer_name in layers:
            raise InvalidGraphError(f"{found!r} has two layers called {outer_name!r}")
        layers[outer_name] = inner
    found.parts["layers"] = list(layers.values())
    if found.class_name == "Sequential":
        found.structure = _chain(found, layers)
    else:
        found.structure = _functional(found, specs, layers)


def _chain(found: Layer, layers: dict[str, Layer]) -> Structure:
    """The calls of a Sequential model."""
    first, (name, head) = [], next(iter(layers.items()))
    if head.class_name != "InputLayer":
        first = [f"{name}_input"]
        layers = {first[0]: _implied_input(found, first[0], head), **layers}
    order = list(layers)
    steps = {(b, 0): Step([Ref(a, 0, 0)], {}) for a, b in pairwise(order)}
    return Structure(layers, steps, Ref(order[0], 0, 0), Ref(order[-1], 0, 0))


def _implied_input(found: Layer, name: str, head: Layer) -> Layer:
    """The input of a Sequential model that has no layer for it."""
    shape, dtype = None, "float32"
    for source, key in ((head, "batch_input_shape"), (head, "batch_shape"),
                        (found, "build_input_shape")):  # fmt: skip
        if shape is None:
            shape = source.get(key)
    inner = head.parts.get("layers")
    if shape is None and isinstance(inner, list) and inner[0].class_name == "InputLayer":
        shape = inner[0].get("batch_input_shape", inner[0].get("batch_shape"))
        dtype = inner[0].get("dtype", dtype)
    if head.class_name == "Embedding":
        dtype = "float32" if head.keras == 2 else "int32"
    elif isinstance(head.get("dtype"), str) and head.has("batch_input_shape"):
        dtype = head.get("dtype")
    data = {"name": name, "batch_shape": shape, "dtype": dtype}
    path = f"{found.path}/{name}"
    return Layer(name, "InputLayer", data, path, ("InputLayer",), found.keras)


def _functional(
    found: Layer, specs: Sequence[Mapping[str, Any]], layers: dict[str, Layer]
) -> Structure:
    steps: dict[tuple[str, int], Step] = {}
    for spec, name in zip(specs, layers, strict=True):
        nodes = spec.get("inbound_nodes", [])
        first = _first_call(layers[name], nodes)
        if not isinstance(nodes, list):
            raise InvalidGraphError(f"{layers[name]!r}: inbound_nodes is no list")
        for number, node in enumerate(nodes, first):
            try:
                steps[name, number] = _step(node, layers)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise InvalidGraphError(
                    f"{layers[name]!r}: its call number {number} cannot be read: {error}"
                ) from error
    inputs, outputs = (_ends(found, key) for key in ("input_layers", "output_layers"))
    return Structure(layers, steps, inputs, outputs)


def _first_call(its: Layer, nodes: Any) -> int:
    """The number of a layer's first call. Keras 2 counts the call by which a model was made."""
    inner = its.parts.get("layers")
    legacy = isinstance(nodes, list) and nodes and not isinstance(nodes[0], Mapping)
    if not legacy or not isinstance(inner, list) or its.structure is None:
        return 0
    given = inner[0].class_name == "InputLayer" or inner[0].has("batch_input_shape")
    return int(given)


def _ends(found: Layer, key: str) -> Nest:
    """Nested ``[layer, call, result]`` as references."""

    def convert(item: Any, depth: int = 0) -> Nest:
        if _is_ref(item):
            return Ref(item[0], item[1], item[2])
        if isinstance(item, Mapping) and item and depth < DEPTH:
            return {str(k): convert(v, depth + 1) for k, v in item.items()}
        if isinstance(item, list) and item and depth < DEPTH:
            return [convert(v, depth + 1) for v in item]
        raise InvalidGraphError(f"{found!r}: {key} is not a list of [layer, call, result]")

    return convert(found.get(key))


def _is_ref(item: Any) -> bool:
    return (
        isinstance(item, list | tuple)
        and len(item) in (3, 4)
        and isinstance(item[0], str)
        and type(item[1]) is int
        and type(item[2]) is int
    )


# -- the two ways to write a call -------------------------------------------------------------


def _step(node: Any, layers: Mapping[str, Layer]) -> Step:
    if isinstance(node, Mapping):
        args, named = _value(node.get("args", [])), _value(node.get("kwargs", {}))
        return Step(list(args), {k: v for k, v in named.items() if v is not None})
    kwargs: dict[str, Any] = {}
    first = _legacy(node, kwargs)
    if isinstance(first, list) and len(first) == 1 and not isinstance(first[0], list):
        first = first[0]
    given = {k: _legacy_argument(v, layers) for k, v in kwargs.items() if v is not None}
    return Step([first], given)


def _value(item: Any, depth: int = 0) -> Any:
    """An argument as Keras 3 writes it."""
    if depth > DEPTH:
        raise ValueError("arguments lie too deep in each other")
    if isinstance(item, list):
        return [_value(v, depth + 1) for v in item]
    if not isinstance(item, Mapping):
        return item
    kind, config = item.get("class_name"), item.get("config")
    if kind == "__keras_tensor__":
        name, node, tensor = config["keras_history"]  # type: ignore[index]
        return Ref(str(name), int(node), int(tensor))
    if kind in ("__tensor__", "__numpy__"):
        return np.asarray(config["value"], config["dtype"])  # type: ignore[index]
    if kind == "__slice__":
        parts = (_value(config[k], depth + 1) for k in ("start", "stop", "step"))  # type: ignore[index]
        return slice(*parts)
    if kind == "__ellipsis__":
        return Ellipsis
    return {k: _value(v, depth + 1) for k, v in item.items()}


def _legacy(item: Any, kwargs: dict[str, Any], depth: int = 0) -> Any:
    """The first argument as Keras 2 writes it; the others go to ``kwargs``."""
    if depth > DEPTH:
        raise ValueError("arguments lie too deep in each other")
    if _is_ref(item):
        if len(item) == 4:
            kwargs.update(item[3])
        return Ref(item[0], item[1], item[2])
    if isinstance(item, list) and len(item) == 4 and item[0] == "_CONSTANT_VALUE":
        kwargs.update(item[3])
        return item[2]
    if isinstance(item, Mapping):
        return {k: _legacy(v, kwargs, depth + 1) for k, v in item.items()}
    if isinstance(item, list):
        return [_legacy(v, kwargs, depth + 1) for v in item]
    raise ValueError(f"{item!r} is not [layer, call, result, arguments]")


def _legacy_argument(item: Any, layers: Mapping[str, Layer], depth: int = 0) -> Any:
    if depth > DEPTH:
        raise ValueError("arguments lie too deep in each other")
    if _is_ref(item) and len(item) == 3 and item[0] in layers:
        return Ref(*item)
    if isinstance(item, list):
        return [_legacy_argument(v, layers, depth + 1) for v in item]
    if isinstance(item, Mapping):
        return {k: _legacy_argument(v, layers, depth + 1) for k, v in item.items()}
    return item


# -- calling ----------------------------------------------------------------------------------


class IncompleteError(UnsupportedError):
    """Something inside cannot be converted, which has been noted."""


@layer("Sequential", "Functional", "Model", masks="own")
def model(n: Call, *inputs: Nest) -> Nest:
    """Its layers, one after the other; a model may be called several times."""
    structure = n.layer.structure
    if structure is None:
        raise UnsupportedError(f"{n.op_type} that says nothing of its layers")
    given = inputs[0] if len(inputs) == 1 else list(inputs)
    known = dict(zip(flat(structure.inputs), _arguments(structure, given), strict=True))
    found = evaluate(n.target, structure, known)
    results = substitute(structure.outputs, found)
    if None in list(_leaves(results)):
        raise IncompleteError
    return results


def _arguments(structure: Structure, given: Nest) -> list[Value]:
    """The values of a call in the order of the model's inputs."""
    names = [r.layer for r in flat(structure.inputs)]
    if isinstance(given, Mapping):
        keys = structure.inputs if isinstance(structure.inputs, Mapping) else names
        return [v for k in keys for v in flat(given[k])]
    return flat(given)


def evaluate(
    target: Assembly, structure: Structure, known: Mapping[Ref, Value], on_step: Any = None
) -> dict[Ref, Value | None]:
    """Results of layers as far as the model's outputs need them; ``None`` for what fails.

    What cannot be converted is noted in the target. Raises :class:`InvalidGraphError` for calls
    that need each other, or results that no layer gives.
    """
    values: dict[Ref, Value | None] = dict(known)
    called: set[tuple[str, int]] = {(r.layer, r.node) for r in known}
    remaining = Counter(name for name, _ in structure.steps)
    for key in _order(structure, called):
        its, step = structure.layers[key[0]], structure.steps[key]
        results = _called(target, its, step, values)
        called.add(key)
        for number, value in enumerate(results):
            values[Ref(*key, number)] = value
        remaining[key[0]] -= 1
        if on_step is not None:  # the whole model, of which no part is called again
            on_step()
            for inner in its.everything() if not remaining[key[0]] else ():
                target.release(inner)
    return values


def _order(structure: Structure, given: set[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """The calls that the outputs need, each behind those that it needs."""
    state: dict[tuple[str, int], int] = dict.fromkeys(given, 2)  # 1: being visited, 2: placed
    stack = [((r.layer, r.node), False) for r in reversed(flat(structure.outputs))]
    while stack:
        key, done = stack.pop()
        if done:
            state[key] = 2
            yield key
            continue
        if state.get(key) == 2:
            continue
        if key not in structure.steps:
            raise InvalidGraphError(
                f"call {key[1]} of layer {key[0]!r} is used, which there is not"
            )
        state[key] = 1
        stack.append((key, True))
        step = structure.steps[key]
        for ref in reversed([r for r in flat([step.args, step.kwargs]) if isinstance(r, Ref)]):
            needed = (ref.layer, ref.node)
            if state.get(needed) == 1:
                raise InvalidGraphError(f"layers {key[0]!r} and {ref.layer!r} need each other")
            if state.get(needed) != 2:
                stack.append((needed, False))


def _called(
    target: Assembly, its: Layer, step: Step, values: Mapping[Ref, Value | None]
) -> Sequence[Value | None]:
    if its.entry is None:
        target.note(unknown(its), its.path)
    refs = [r for r in flat([step.args, step.kwargs]) if isinstance(r, Ref)]
    for ref in refs:
        if ref not in values and (ref.layer, ref.node, 0) in {
            (r.layer, r.node, 0) for r, v in values.items() if v is not None
        }:
            raise InvalidGraphError(f"{its!r} reads result {ref.tensor} of layer {ref.layer!r}, "
                                    "which has not so many")  # fmt: skip
    if its.entry is None or any(values.get(r) is None for r in refs):
        return []
    try:
        args, kwargs = substitute(step.args, values), substitute(step.kwargs, values)
        return flat(run(target, its, args, kwargs))
    except IncompleteError:
        return []
    except UnsupportedError as error:
        target.note(str(error), its.path)
        return []


def substitute(nest: Any, values: Mapping[Ref, Value | None]) -> Any:
    """``nest`` with values in place of references."""
    if isinstance(nest, Ref):
        return values.get(nest)
    if isinstance(nest, Mapping):
        return {k: substitute(v, values) for k, v in nest.items()}
    if isinstance(nest, list | tuple):
        return [substitute(v, values) for v in nest]
    return nest


def _leaves(nest: Any) -> Iterator[Any]:
    """As :func:`flat`, with what is ``None``."""
    if isinstance(nest, Mapping | list | tuple):
        for item in nest.values() if isinstance(nest, Mapping) else nest:
            yield from _leaves(item)
    else:
        yield nest
