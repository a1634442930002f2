"""What ftnet costs: a demonstration, micro benchmarks, and a side-by-side run against its peers."""
