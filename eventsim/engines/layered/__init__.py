"""Feed-forward networks, a window and a population at a time."""
