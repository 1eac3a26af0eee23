"""Pictures of a cube in a hand from below, made by MuJoCo, with what is where in them."""
