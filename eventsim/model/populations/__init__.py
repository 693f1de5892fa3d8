"""Kinds of populations, a file each, and what they all answer."""

from eventsim.model.populations.driven import Driven
from eventsim.model.populations.event_input import EventInput
from eventsim.model.populations.leaky import CurrentLeaky, Leaky
from eventsim.model.populations.leaky_readout import CurrentLeakyReadout, LeakyReadout
from eventsim.model.populations.maximum import Maximum
from eventsim.model.populations.population import Population
from eventsim.model.populations.readout import Readout
from eventsim.model.populations.source import Source
from eventsim.model.populations.spiking import Spiking

__all__ = [
    "CurrentLeaky",
    "CurrentLeakyReadout",
    "Driven",
    "EventInput",
    "Leaky",
    "LeakyReadout",
    "Maximum",
    "Population",
    "Readout",
    "Source",
    "Spiking",
]
