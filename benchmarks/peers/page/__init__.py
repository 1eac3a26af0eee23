"""docs/results.md from the rows: its figure and its tables."""
