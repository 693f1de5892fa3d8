"""How a network lies in an HDF5 file: the seal, groups written, and groups read of files that may come from anywhere."""
