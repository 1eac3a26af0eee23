"""Benchmarks: what this machine reaches, as ratios measured in one run (`make bench`)."""
