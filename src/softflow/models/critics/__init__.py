"""Architectures of critics, one file each; `models/critic.py` says what they share."""
