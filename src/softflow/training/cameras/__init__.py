"""What cameras saw and where networks look, as pictures for people."""
