"""Which class runs which kind of population."""

from __future__ import annotations

from eventsim.engines.reference.leaky import CurrentLeaky, CurrentLeakyReadout, Leaky, LeakyReadout
from eventsim.engines.reference.neurons import Driven, Maximum, Neurons, Readout, Source, Spiking

KINDS: dict[str, type[Neurons]] = {
    "source": Source,
    "event_input": Source,
    "driven": Driven,
    "spiking": Spiking,
    "leaky": Leaky,
    "current_leaky": CurrentLeaky,
    "maximum": Maximum,
    "readout": Readout,
    "leaky_readout": LeakyReadout,
    "current_leaky_readout": CurrentLeakyReadout,
}
