"""A small classifier that learns from labels, and proposes events: the only part with torch."""
