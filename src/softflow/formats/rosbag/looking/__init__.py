"""What a bag holds, before and beside its import: topics, rates, and a mapping to start from."""
