"""From corners in a picture to a pose, and from poses to a smooth one. No torch in here."""
