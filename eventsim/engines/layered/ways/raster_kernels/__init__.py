"""Compiled code of :mod:`eventsim.engines.layered.ways.raster`."""
