"""On the robot and beside it: what acts, what keeps it safe, and what it shares with a learner."""
