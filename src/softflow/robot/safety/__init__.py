"""What stands between a decision and the robot: limits, watchdogs, and what they did."""
