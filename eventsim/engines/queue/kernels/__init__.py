"""Compiled code of the queue engine; :mod:`eventsim.engines.queue.kernels.loop` is where it begins."""
