"""The part of the report that needs no simulator: the policy on recorded episodes."""
