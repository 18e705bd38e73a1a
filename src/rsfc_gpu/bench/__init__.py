"""Benchmarks: inputs of named sizes, references, floors and timings that `rsfc bench` and `benchmarks/` share."""
