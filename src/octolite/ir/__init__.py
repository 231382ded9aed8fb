"""The intermediate form: types, graph, rules, text and the arithmetic of quantization."""

from octolite.ir.graph import Graph, Model, Node, Signature, Value
from octolite.ir.text import dump
from octolite.ir.types import Activation, Array, DType, Operand, Padding, Quant, Shape, TensorType
from octolite.ir.verify import verify

__all__ = [
    "Activation", "Array", "DType", "Graph", "Model", "Node", "Operand", "Padding", "Quant",
    "Shape", "Signature", "TensorType", "Value", "dump", "verify",
]  # fmt: skip
