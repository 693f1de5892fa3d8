"""Compiled code for populations that leak: clocked, all neurons of a step together; asynchronous, along the spikes that reach them."""
