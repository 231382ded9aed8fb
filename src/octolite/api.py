"""Conversion in one call."""
