"""Placed networks and their input as files for SANA-FE, written from its description of them; nothing of it is used or needed."""
