"""HDF5 files of other people: read with care, walked through, their pictures decoded."""
