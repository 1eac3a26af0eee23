"""A teacher that turns a cube in simulation, and students that learn from it (App. B4, B5)."""
