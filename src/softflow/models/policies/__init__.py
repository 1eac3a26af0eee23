"""Policies over action chunks, one file each; `models/policy.py` says what they share."""
