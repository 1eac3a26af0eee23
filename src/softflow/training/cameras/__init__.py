"""What cameras saw: whether it is anything, and where in it networks look."""
