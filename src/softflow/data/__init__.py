"""Episodes on disk and chunk windows for training. Only two modules here import torch:
`chunk_sampler` and `preprocessing`; everything else also runs on a robot PC without it."""
