"""Episodes of a robot: how well its loop kept time, and who acted."""
