"""The TFLite file format: the only folder that knows FlatBuffers."""

from octolite.tflite.read import read
from octolite.tflite.rewriting import open_file, rewrite
from octolite.tflite.write import write

__all__ = ["open_file", "read", "rewrite", "write"]
