"""What turns observation keys into tokens, one file each; see `models/encoder.py`."""
