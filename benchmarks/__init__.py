"""Octolite beside LiteRT, layer by layer: ``python -m benchmarks --help``."""
