"""RoboMimic and robosuite HDF5 in and out."""
