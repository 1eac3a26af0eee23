"""Runs that these tests read."""

from short_runs import imitated, warmed_up

__all__ = ["imitated", "warmed_up"]
