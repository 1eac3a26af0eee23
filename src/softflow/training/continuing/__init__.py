"""A run that grows: what may change when it goes on, what it starts from, and its history."""
