"""A folder is all that learner and robot share. No torch, no clock, no lock, nothing pickled."""
