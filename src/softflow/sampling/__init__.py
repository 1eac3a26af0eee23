"""Windows of episodes as training batches: datasets, samplers, caches, prefetching."""
