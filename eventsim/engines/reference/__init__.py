"""The specification: an event queue in plain Python."""
