"""What `softflow data` does: with stores, with files of other formats, with pictures."""
