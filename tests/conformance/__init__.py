"""What suites of others say about ftnet."""
