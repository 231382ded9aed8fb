"""Every operator on drawn shapes, attributes and types: reference, compiled kernels and LiteRT."""
