"""Measuring sticks: other methods on the same episodes, in one harness (docs/peers.md)."""
