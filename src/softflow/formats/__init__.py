"""Other people's data, in and out: one folder or file per format."""
