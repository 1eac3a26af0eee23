"""How a run came to be, for its report."""
