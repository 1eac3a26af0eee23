"""Minari in."""
