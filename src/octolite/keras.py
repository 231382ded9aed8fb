"""What becomes of custom Keras layers: programs say it here, before they convert a model.

::

    import octolite
    from octolite import keras


    @keras.lowering("Scale", weights="factor")
    def scale(call, x):
        return call.op("MUL", x, call.weight("factor"))


    octolite.convert("model.keras")

A lowering gets a :class:`Call` and what the layer is called on, and returns its results: values
that ``call.op(name, …)`` makes by adding the TFLite operator of that name. ``call.number("rate")``
and the like read the layer's configuration, ``call.weight(name)`` its weights.
"""

from octolite.frontends.keras.activations import activation
from octolite.frontends.keras.engine import Call, lowering

__all__ = ["Call", "activation", "lowering"]
