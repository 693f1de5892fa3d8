"""Compiled code for populations that leak, clocked: every tick is a step, and all of its neurons go through it together."""
