"""Replay buffers of Diffusion Policy and UMI (Zarr format 2, a folder or a zip), in."""
