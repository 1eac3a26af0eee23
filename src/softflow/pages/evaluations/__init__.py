"""What a run's evaluations say, and how stages and rounds are called."""
