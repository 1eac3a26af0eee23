"""Other people's data, in and out: one file per format."""
