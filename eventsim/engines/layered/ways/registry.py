"""All ways to run a population, the best first. The last one takes what no other does."""

from __future__ import annotations

from eventsim.engines.layered.ways.driven import DrivenClosedForm
from eventsim.engines.layered.ways.driven_clocked import DrivenClocked
from eventsim.engines.layered.ways.leaks import Leaks, LeaksAlong
from eventsim.engines.layered.ways.maximum import MaximumClocked, MaximumTrains
from eventsim.engines.layered.ways.periods import Periods
from eventsim.engines.layered.ways.raster import Rasters
from eventsim.engines.layered.ways.sites import Sites
from eventsim.engines.layered.ways.ticks import Ticks

# Of a spiking or readout population, of one that leaks, of a driven one, and of a maximum.
WAYS = (Rasters, Sites, Periods, Ticks)
LEAKY_WAYS = (Leaks, LeaksAlong)
DRIVEN_WAYS = (DrivenClocked, DrivenClosedForm)
MAXIMUM_WAYS = (MaximumClocked, MaximumTrains)
