"""A teacher's actions learned by a policy of chunks that sees less, through noise (App. B5)."""
