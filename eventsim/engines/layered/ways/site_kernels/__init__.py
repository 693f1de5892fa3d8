"""Compiled code of :mod:`eventsim.engines.layered.ways.sites`: a population of plain integrate-and-fire neurons site by site.

A site is a target location, or the whole target of a dense table: lanes that the same spikes reach. The neurons of a site depend only on
the spikes that reach it, so a stretch of the incoming spikes is first listed by site, each list in time order, and then the sites are run
one after the other, a block of lanes at a time, with the distances to threshold in registers from one spike of the site to the next. The
spikes of a stretch are sorted by time at its end. A stretch ends with a tick.

An entry of a list is ``tick << 32 | flags | place of the weights``, ticks counted from the stretch's begin. Plain neurons are unsigned,
reset by subtraction, and have no refractory period of more than a tick; a neuron that is still due after it fired fires again a tick later.
"""
