"""A picture as a graph collection in JSON, which Model Explorer opens.

The format is the one that its `graph_builder.py` and `input_graph.ts` describe: a collection has a
label and graphs, a graph an id and nodes, a node an id, a label, a namespace, which is a path,
attributes, incoming edges, and metadata for each input and output.
"""

from __future__ import annotations

import json
from typing import Any

from octolite.drawing.picture import Arrow, Box, Sheet, Tensor, describe
from octolite.drawing.text import size_text
from octolite.ir.graph import Model


def model_explorer(model: Model, label: str = "model") -> str:
    """``model`` as JSON for Model Explorer, under ``label``; the same model gives the same text."""
    picture = describe(model)
    # Graphs are told apart by their ids alone, which people see.
    ids = {sheet.key: f"{sheet.name} ({sheet.key})" for sheet in picture.sheets[1:]}
    ids[picture.sheets[0].key] = picture.sheets[0].name
    if list(ids.values()).count(picture.sheets[0].name) > 1:
        ids[picture.sheets[0].key] += " (main)"
    graphs = [_graph(sheet, ids) for sheet in picture.sheets]
    return json.dumps({"label": label, "graphs": graphs}, separators=(",", ":")) + "\n"


def _graph(sheet: Sheet, ids: dict[str, str]) -> dict[str, Any]:
    incoming: dict[str, list[Arrow]] = {}
    for arrow in sheet.arrows:
        incoming.setdefault(arrow.target, []).append(arrow)
    return {
        "id": ids[sheet.key],
        "nodes": [_node(box, incoming.get(box.key, []), ids) for box in sheet.boxes],
    }


def _node(box: Box, incoming: list[Arrow], ids: dict[str, str]) -> dict[str, Any]:
    fill, line = box.family.light
    attributes = [("name", box.name), *box.attributes]
    if box.end:
        attributes += [("signature", text) for text in box.settings]
    if box.mark:
        attributes.append(("arithmetic", box.mark))
    if box.nbytes:
        attributes.append(("constants", size_text(box.nbytes)))
    attributes += [(t.role or "constant", t.stored) for t in box.inputs if t.stored]
    node: dict[str, Any] = {
        "id": box.key,
        "label": box.title,
        "namespace": _namespace(box),
        "attrs": _pairs(attributes),
        "incomingEdges": [
            {
                "sourceNodeId": arrow.source,
                "sourceNodeOutputId": str(arrow.output),
                "targetNodeInputId": str(arrow.input),
            }
            for arrow in sorted(incoming, key=lambda a: a.input)
        ],
        "inputsMetadata": [_metadata(i, t) for i, t in enumerate(box.inputs)],
        "outputsMetadata": [_metadata(i, t) for i, t in enumerate(box.outputs)],
        "style": {"backgroundColor": fill, "borderColor": line},
    }
    if box.calls:
        node["subgraphIds"] = [ids[key] for key in dict.fromkeys(box.calls)]
    return node


def _namespace(box: Box) -> str:
    """The name's scopes: of ``a/b/conv;a/b/bias``, as fused operators are called, ``a/b``."""
    if box.end:
        return ""
    return "/".join(part for part in box.name.split(";")[0].split("/")[:-1] if part)


def _metadata(number: int, tensor: Tensor) -> dict[str, Any]:
    pairs = [("__tensor_tag", tensor.name), ("tensor_shape", tensor.type)]
    if tensor.quant:
        pairs.append(("quantization", tensor.quant))
    return {"id": str(number), "attrs": _pairs(pairs)}


def _pairs(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in pairs]
