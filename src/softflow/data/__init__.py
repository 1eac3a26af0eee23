"""Episodes on disk and chunk windows for training. torch is imported by `preprocessing` and by the
`chunk_*` modules; everything else also runs on a robot PC without it."""
