"""What a run leaves: results, traces, potentials."""
