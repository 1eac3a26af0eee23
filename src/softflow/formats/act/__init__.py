"""Recordings of ACT and ALOHA (HDF5, one file an episode), in."""
