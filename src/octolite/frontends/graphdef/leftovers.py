"""What training leaves in a graph and inference does without: dropout, decided conditions."""

from __future__ import annotations

from collections.abc import Sequence

from octolite.frontends.graphdef.nodes import Ref, TfNode
from octolite.frontends.graphdef.source import Source, see_through

_WALK = 2_000
"""Nodes looked at to find the condition of a branch."""

_RANDOM = {"RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2"}


# -- conditions of TensorFlow 1 --------------------------------------------------------------------


@see_through("Switch")
def switch(source: Source, node: TfNode) -> Sequence[Ref] | None:
    """A decided Switch hands its data on; which side is alive matters to Merge alone."""
    if len(node.inputs) != 2 or source.scalar(node.inputs[1]) is None:
        return None
    return [node.inputs[0]] * 2


@see_through("Merge")
def merge(source: Source, node: TfNode) -> Sequence[Ref] | None:
    """The one input that a decided Switch has not cut off."""
    alive = [ref for ref in node.inputs if not _is_dead(source, ref)]
    return alive if len(alive) == 1 else None


def _is_dead(source: Source, ref: Ref) -> bool:
    """Whether ``ref`` depends on the side of a Switch that its condition does not take."""
    seen: set[Ref] = set()
    stack = [ref]
    while stack and len(seen) < _WALK:
        ref = stack.pop()
        node = source.nodes.get(ref.name)
        if node is None or ref in seen or ref in source.feeds:
            continue
        seen.add(ref)
        if node.op_type == "Switch" and len(node.inputs) == 2:
            taken = source.scalar(node.inputs[1])
            if taken is not None and ref.output != bool(taken):
                return True
            continue
        if node.op_type != "Merge":
            stack += node.inputs
            stack += map(Ref, node.controls)
    return False


# -- dropout ---------------------------------------------------------------------------------------


@see_through("Mul", "SelectV2")
def dropout(source: Source, node: TfNode) -> Sequence[Ref] | None:
    """The input of dropout, when ``node`` is the end of one.

    Old graphs write ``x / keep * floor(keep + noise)``, then ``x * scale * cast(noise >= rate)``,
    and today's ``select(noise >= rate, x * scale, 0)``.
    """
    if node.op_type == "SelectV2" and len(node.inputs) == 3:
        mask, scaled = node.inputs[:2]
        return [_unscaled(source, scaled)] if _is_mask(source, mask) else None
    if node.op_type == "Mul" and len(node.inputs) == 2:
        for scaled, mask in (node.inputs, node.inputs[::-1]):
            if _is_mask(source, mask):
                return [_unscaled(source, scaled)]
    return None


def _is_mask(source: Source, ref: Ref) -> bool:
    node = source.origin(ref)
    if node is not None and node.op_type == "Cast" and node.inputs:
        node = source.origin(node.inputs[0])
    if node is None or node.op_type not in ("Floor", "GreaterEqual") or not node.inputs:
        return False
    return _is_noise(source, node.inputs[0])


def _is_noise(source: Source, ref: Ref) -> bool:
    """Uniform random numbers, perhaps scaled and shifted."""
    stack = [ref]
    for _ in range(16):
        if not stack:
            break
        node = source.origin(stack.pop())
        if node is not None and node.op_type in _RANDOM:
            return True
        if node is not None and node.op_type in ("Add", "AddV2", "Mul"):
            stack += node.inputs
    return False


def _unscaled(source: Source, ref: Ref) -> Ref:
    """Without the division by the probability of being kept."""
    node = source.origin(ref)
    if node is not None and len(node.inputs) == 2:
        a, b = node.inputs
        if node.op_type in ("RealDiv", "Div") and _is_number(source, b):
            return a
        if node.op_type == "Mul" and _is_number(source, b):
            return a
        if node.op_type == "Mul" and _is_number(source, a):
            return b
    return ref


def _is_number(source: Source, ref: Ref) -> bool:
    """A scalar, as far as can be seen: a constant, a fed scalar, or what is computed of those."""
    stack, steps = [ref], 0
    while stack:
        steps += 1
        ref = stack.pop()
        if source.scalar(ref) is not None:
            continue
        node = source.nodes.get(source.behind(ref).name)  # which may be fed
        if node is None or steps > 16:
            return False
        if node.op_type in ("Sub", "RealDiv", "Reciprocal", "Cast"):
            stack += node.inputs
        elif not (node.op_type.startswith("Placeholder") and node.shape("shape") == ()):
            return False
    return True
