"""What a policy is worth on demonstrations that it has not learned from, without a simulator."""
