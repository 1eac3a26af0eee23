"""Learning: returns, losses, the learner, the four stages, rollouts and evaluation."""
