"""Time on a robot: ticks of a fixed rate, and how well they were kept."""
