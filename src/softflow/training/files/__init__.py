"""Documents of a checkpoint that say what the networks are."""
