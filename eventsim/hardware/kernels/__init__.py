"""Compiled code of the chip: :mod:`eventsim.hardware.kernels.loop` is where it begins."""
