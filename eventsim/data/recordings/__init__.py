"""Recordings of event cameras: a file for each format, and what is done to events before a network takes them (docs/events.md)."""
