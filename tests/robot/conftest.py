"""Runs that these tests read."""

from short_runs import imitated

__all__ = ["imitated"]
