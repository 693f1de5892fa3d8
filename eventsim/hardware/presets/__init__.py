"""Architectures that come with the package: each number with its source, in the file."""
