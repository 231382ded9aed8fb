"""Mutants of models and graphs, each of which must end in a result or an OctoliteError.

``python -m tests.fuzz --help``; ``docs/robustness.md`` says more.
"""
