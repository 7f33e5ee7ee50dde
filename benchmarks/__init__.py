"""Timings beside peers; ``python -m benchmarks`` lists them."""
