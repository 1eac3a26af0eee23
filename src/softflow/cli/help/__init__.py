"""What --help says: a page a command, with the examples that one wants first."""
