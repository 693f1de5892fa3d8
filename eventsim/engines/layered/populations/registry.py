"""Which class runs which kind of population."""

from __future__ import annotations

from eventsim.engines.layered.populations.driven import Driven
from eventsim.engines.layered.populations.layer import Layer
from eventsim.engines.layered.populations.maximum import Maximum
from eventsim.engines.layered.populations.population import Population
from eventsim.engines.layered.populations.source import Source

KINDS: dict[str, type[Population]] = {
    "driven": Driven,
    "spiking": Layer,
    "leaky": Layer,
    "current_leaky": Layer,
    "maximum": Maximum,
    "readout": Layer,
    "leaky_readout": Layer,
    "current_leaky_readout": Layer,
    "source": Source,
    "event_input": Source,
}
