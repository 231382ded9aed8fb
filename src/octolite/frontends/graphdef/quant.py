"""FakeQuant: ranges of values, without an operator."""
