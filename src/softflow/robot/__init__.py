"""What runs beside a robot: loop, safety, recorder; the policy in a process beside. No torch."""
