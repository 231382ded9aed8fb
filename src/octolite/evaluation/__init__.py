"""Whether a quantized model is still good: on data, layer by layer, and what to do about it."""
