"""TensorArrays and TensorLists become tensors whose first axis counts the elements.

The resource handle of a TensorArray is forgotten: what it holds goes the way of its flow. So both
kinds are read and written by the same handlers. An array is made full of zeros; where the shape of
its elements is not declared, it is made when the first thing written to it tells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.errors import UnsupportedError
from octolite.frontends.graphdef.engine import Site, tf
from octolite.frontends.graphdef.loops import extent_of, make
from octolite.frontends.graphdef.nodes import Ref, TfNode
from octolite.frontends.graphdef.source import Source, see_through
from octolite.ir.graph import Value
from octolite.ir.origin import Extent
from octolite.ir.types import Array, DType, Shape, TensorType

# -- one vocabulary for both ---------------------------------------------------------------------

GROW = "TensorListGrow"
"""Writing that may be behind the last element; no operator of TensorFlow has this name."""


@see_through("TensorArrayReadV3", "TensorArrayReadV2")
def read(source: Source, node: TfNode) -> None:
    if len(node.inputs) == 3:
        _, index, flow = node.inputs
        node.op_type, node.inputs = "TensorListGetItem", [flow, index]


@see_through("TensorArrayWriteV3", "TensorArrayWriteV2")
def write(source: Source, node: TfNode) -> None:
    if len(node.inputs) == 4:
        handle, index, item, flow = node.inputs
        array = _array(source, handle, node)
        grows = array is not None and array.flag("dynamic_size", False)
        node.op_type, node.inputs = GROW if grows else "TensorListSetItem", [flow, index, item]


@see_through("TensorArrayGatherV3", "TensorArrayGatherV2")
def gather(source: Source, node: TfNode) -> None:
    if len(node.inputs) != 3:
        return
    handle, indices, flow = node.inputs
    array = _array(source, handle, node)
    limit = _counted(source, indices, node)
    if limit is not None and array is not None and _same(source, limit, array.inputs[0]):
        node.op_type, node.inputs = "TensorListStack", [flow]
    else:
        node.op_type, node.inputs = "TensorListGather", [flow, indices]


@see_through("TensorArrayScatterV3", "TensorArrayScatterV2")
def scatter(source: Source, node: TfNode) -> None:
    if len(node.inputs) != 4:
        return
    handle, indices, tensor, flow = node.inputs
    array = _array(source, handle, node)
    if array is None or source.resolve(flow, node).name != array.name:
        return  # written before: left as it is, and unsupported
    limit, size = _counted(source, indices, node), array.inputs[0]
    numbers = None if limit is None else (source.scalar(limit), source.scalar(size))
    if numbers is not None and (None in numbers or numbers[0] == numbers[1]):
        node.op_type, node.inputs = "TensorListFromTensor", [tensor]
    else:
        node.op_type, node.inputs = "TensorListScatter", [tensor, indices, size]


@see_through("TensorListScatterIntoExistingList")
def scatter_into(source: Source, node: TfNode) -> None:
    if len(node.inputs) != 3:
        return
    array, tensor, indices = node.inputs
    made = source.nodes.get(source.resolve(array, node).name)
    if made is not None and made.op_type == "TensorListReserve" and len(made.inputs) == 2:
        node.op_type, node.inputs = "TensorListScatter", [tensor, indices, made.inputs[1]]


@see_through("TensorListScatterV2")
def scatter_new(source: Source, node: TfNode) -> None:
    if len(node.inputs) == 4:
        tensor, indices, _, size = node.inputs
        node.op_type, node.inputs = "TensorListScatter", [tensor, indices, size]


@see_through("TensorArraySizeV3", "TensorArraySizeV2")
def size(source: Source, node: TfNode) -> Sequence[Ref] | None:
    if len(node.inputs) != 2:
        return None
    array = _array(source, node.inputs[0], node)
    if array is not None and not array.flag("dynamic_size", False):
        return [array.inputs[0]]
    node.op_type, node.inputs = "TensorListLength", [node.inputs[1]]
    return None


@see_through("TensorArrayConcatV3", "TensorArrayConcatV2")
def concat(source: Source, node: TfNode) -> None:
    if len(node.inputs) == 2:
        node.op_type, node.inputs = "TensorListConcatV2", [node.inputs[1]]


def _array(source: Source, handle: Ref, reader: TfNode) -> TfNode | None:
    """The node that made the TensorArray."""
    node = source.nodes.get(source.resolve(handle, reader).name)
    is_array = node is not None and node.op_type in ("TensorArrayV3", "TensorArrayV2")
    return node if is_array and node is not None and node.inputs else None


def _counted(source: Source, indices: Ref, reader: TfNode) -> Ref | None:
    """The limit of indices 0, 1, 2 …, where that is what they are."""
    node = source.nodes.get(source.resolve(indices, reader).name)
    if node is None or node.op_type != "Range" or len(node.inputs) != 3:
        return None
    start, limit, delta = node.inputs
    return limit if source.scalar(start) == 0 and source.scalar(delta) == 1 else None


def _same(source: Source, a: Ref, b: Ref) -> bool:
    number = source.scalar(a)
    if number is not None:
        return number == source.scalar(b)
    return source.resolve(a) == source.resolve(b)


# -- made ----------------------------------------------------------------------------------------


@tf("TensorArrayV3", "TensorArrayV2")
def array(n: Site, size: Value) -> tuple[Value, Value]:
    made = _made(n, size, n.shape("element_shape"), n.dtype("dtype"))
    return size, made


@tf("TensorListReserve")
def reserve(n: Site, element_shape: Value, size: Value) -> Value:
    return _made(n, size, _declared(element_shape), n.dtype("element_dtype"))


@tf("EmptyTensorList")
def empty(n: Site, element_shape: Value, most: Value) -> Value:
    nothing = n.constant(np.zeros((), np.int32))
    return _made(n, nothing, _declared(element_shape), n.dtype("element_dtype"))


def _declared(element_shape: Value) -> Shape | None:
    """The elements' shape as a TensorList has it, -1 for what is not known, also of the rank."""
    data, shape = element_shape.data, element_shape.shape
    if data is not None:
        if data.ndim == 0:
            return None
        return tuple(None if d < 0 else int(d) for d in data)
    if shape is not None and len(shape) == 1 and shape[0] is not None:
        return (None,) * shape[0]
    return None


def _made(n: Site, size: Value, element: Shape | None, dtype: DType) -> Value:
    """An array of ``size`` zeros, at once or when the elements' shape is known."""
    size = n.int32(size)
    count = None if size.data is None else int(size.data)
    shape = None if element is None else (count or None, *element)
    value = n.value(TensorType(dtype, shape))
    if element is None or None in element:
        n.leave_unsized(value, size)
    else:
        make(n, value, [size, *[d for d in element if d is not None]])
    return value


def _settle(n: Site, array: Value, item: Value) -> None:
    """Make ``array``, outside any loop, for elements such as ``item``."""
    unsized = n.unsized(array)
    if unsized is None or item.shape is None:
        return
    array.shape = (None if array.shape is None else array.shape[0], *item.shape)
    extents: list[int | Value] = [unsized.size]
    for axis, extent in enumerate(item.shape):
        extents.append(extent_of(n, Extent(item, axis)) if extent is None else extent)
    make(n, array, extents)


@tf("TensorListFromTensor")
def from_tensor(n: Site, x: Value, *element_shape: Value) -> Value:
    return x


@tf("TensorListScatter")
def scattered(n: Site, x: Value, indices: Value, size: Value) -> Value:
    extents = [size, *[extent_of(n, Extent(x, axis)) for axis in range(1, n.rank(x))]]
    shape = n.op("PACK", *map(n.int32, extents), values_count=len(extents), axis=0)
    return n.op("SCATTER_ND", n.op("EXPAND_DIMS", n.int32(indices), [1]), x, shape)


# -- written -------------------------------------------------------------------------------------


@tf("TensorListSetItem")
def set_item(n: Site, array: Value, index: Value, item: Value) -> Value:
    if n.flag("resize_if_index_out_of_bounds", False):
        result: Value = grow(n, array, index, item)
        return result
    _settle(n, array, item)
    at = position(n, n.int32(index), n.rank(item))
    result = n.op("DYNAMIC_UPDATE_SLICE", array, element(n, item), at)
    if result.shape is None and item.shape is not None:
        result.shape = (None, *item.shape)
    return result


@tf(GROW)
def grow(n: Site, array: Value, index: Value, item: Value) -> Value:
    """What is in front of ``index``, the item, and what is behind."""
    _settle(n, array, item)
    zeros, rest = [np.zeros((), np.int32)] * n.rank(item), [-np.ones((), np.int32)] * n.rank(item)
    index = n.int32(index)
    nothing = n.constant(np.zeros((), np.int32))
    front = n.op("SLICE", array, _vector(n, nothing, zeros), _vector(n, index, rest))
    length = extent_of(n, Extent(array, 0))
    behind = n.op("MINIMUM", n.op("ADD", index, 1), length)
    all_ = n.constant(np.asarray(-1, np.int32))
    back = n.op("SLICE", array, _vector(n, behind, zeros), _vector(n, all_, rest))
    result = n.op("CONCATENATION", front, element(n, item), back, axis=0)
    if item.shape is not None:
        result.shape = (None, *item.shape)
    return result


@tf("TensorListPushBack")
def push_back(n: Site, array: Value, item: Value) -> Value:
    _settle(n, array, item)
    result = n.op("CONCATENATION", array, element(n, item), axis=0)
    if item.shape is not None:
        result.shape = (None, *item.shape)
    return result


def _vector(n: Site, first: Value, others: Sequence[Array]) -> Value:
    return n.op("PACK", first, *others, values_count=1 + len(others), axis=0)


def position(n: Site, index: Value, rank: int) -> Value:
    """Where element ``index``, of that rank, begins in its array."""
    return _vector(n, index, [np.zeros((), np.int32)] * rank)


def element(n: Site, item: Value) -> Value:
    """``item`` as an array of one element."""
    return n.op("EXPAND_DIMS", item, np.zeros((), np.int32))


# -- read ----------------------------------------------------------------------------------------


@tf("TensorListGetItem")
def get_item(n: Site, array: Value, index: Value, *element_shape: Value) -> Value:
    return n.op("GATHER", array, n.int32(index), axis=0)


@tf("TensorListGather")
def gathered(n: Site, array: Value, indices: Value, *element_shape: Value) -> Value:
    return n.op("GATHER", array, n.int32(indices), axis=0)


@tf("TensorListStack")
def stack(n: Site, array: Value, *element_shape: Value) -> Value:
    return array


@tf("TensorListConcatV2")
def joined(n: Site, array: Value, *rest: Value) -> Value:
    """The elements one behind the other; all have the same length in a tensor."""
    if n.rank(array) < 2:
        raise UnsupportedError(f"{n.op_type} of scalars")
    ends = [extent_of(n, Extent(array, axis)) for axis in range(2, n.rank(array))]
    whole = n.constant(np.asarray(-1, np.int32))
    shape = n.op("PACK", whole, *ends, values_count=1 + len(ends), axis=0)
    if shape.data is not None:
        return n.reshape(array, n.int_list(shape, "its shape"))
    return n.op("RESHAPE", array, shape)


@tf("TensorListLength")
def length(n: Site, array: Value) -> Value:
    unsized = n.unsized(array)
    return extent_of(n, Extent(array, 0)) if unsized is None else unsized.size
