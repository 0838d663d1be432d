"""Measurements of the kernel against its peers, on the same mutator programs; `python -m benchmarks` runs them."""
