"""From decisions of a policy to actions of a robot. No torch, no clock."""
