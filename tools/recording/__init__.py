"""Small TensorFlow graphs and what TensorFlow makes of them, recorded for the tests.

`case` declares a graph, `freezing` freezes and runs it, `litert` has TensorFlow convert it and
LiteRT run the result; the other modules are the graphs themselves.
"""

import os

# Before TensorFlow is imported: quiet, and one order of summation on every machine.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
