"""Rewards from a person: what may happen in an episode, and a page in the browser to say it."""
