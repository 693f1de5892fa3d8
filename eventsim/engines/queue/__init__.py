"""The compiled event queue."""
