"""Small Keras models, one for each family of layers, recorded for the tests.

`case` declares a model; the other modules are the models themselves.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
