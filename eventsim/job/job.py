"""What stands between the world and the engines: a :class:`Job` goes in, :class:`Counts` come out, a :class:`Recorder` takes spikes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from eventsim.errors import RunError
from eventsim.model.exits import ExitRule
from eventsim.model.network import Network
from eventsim.model.tables import IntArray

DEFAULT_RESOLUTION = 2**20
# Ticks of a step.
MODES = {"clocked": 1, "asynchronous": DEFAULT_RESOLUTION}
MAX_STEPS = 10**6
# Ticks up to here are exact as float64 milliseconds in a trace, whatever the resolution.
MAX_TICKS = 2**50
# Spikes of neurons after which a run stops, unless it says otherwise: a network that excites itself would go on for ever.
DEFAULT_MAX_SPIKES = 2**28
# A tick before all runs, and their refractory periods.
_LONG_AGO = -(2**61)
# Values of all counts of a run.
_MAX_TALLY = 2**26

# What is counted per projection and step, in the order in which compiled code keeps it.
OPERATIONS = ("deliveries", "synaptic_events", "additions", "toolbox", "effective")


class Job(NamedTuple):
    """One run, ready for an engine. (A tuple: a frozen dataclass takes four times as long to make, which small runs notice.)

    Attributes
    ----------
    network : Network
    steps, resolution : int
        T and R; ticks run 1..T*R.
    order : list of str
        Populations in topological order of the zero-delay projections.
    delay, refractory : dict of str to int
        Ticks, by projection and by driven or spiking population; a refractory period is at least 1.
    onset : dict of str to int
        The first tick at which its neurons may fire, by spiking population; left out where that is tick 1.
    currents : dict of str to int32 array
        Current per step of each neuron, by driven population.
    largest : dict of str to int
        The largest magnitude of a current, by driven population.
    events : dict of str to (int64 array, int32 array)
        Ticks (ascending, at most T*R) and neurons (ascending within a tick) of the spikes, by source population.
    encoded : dict of str to int
        Synapses of each encoder used whose weight and input value are not zero, by driven population.
    exit_rule : ExitRule or None
    max_spikes : int
        The run stops after the first tick by which neurons have emitted more spikes, of either sign, than this. Those
        of sources are given and do not count.
    signs : dict of str to int8 array
        Signs of the ``events``, +1 before -1 where a neuron has several in a tick, by signed source population; those of others are +1.
    """

    network: Network
    steps: int
    resolution: int
    order: list[str]
    delay: dict[str, int]
    refractory: dict[str, int]
    onset: dict[str, int]
    currents: dict[str, IntArray]
    largest: dict[str, int]
    events: dict[str, tuple[IntArray, IntArray]]
    encoded: dict[str, int]
    exit_rule: ExitRule | None
    max_spikes: int
    signs: dict[str, IntArray]

    @property
    def end(self) -> int:
        """The last tick, T*R."""
        return self.steps * self.resolution

    def last_spike(self, name: str) -> int:
        """Tick at which the neurons of a driven or spiking population are taken to have fired before the run: long ago, or so that they
        may fire again at their onset."""
        return self.onset[name] - self.refractory[name] if name in self.onset else _LONG_AGO


class Recorder(Protocol):
    """Takes the spikes of a run as they come."""

    def wants(self, population: str) -> bool:
        """Whether this population's spikes are to be given."""

    def record(self, population: str, ticks: IntArray, neurons: IntArray, signs: IntArray) -> None:
        """Take spikes of one population, later than those given before; by tick, then by neuron."""


class NoRecorder:
    """Takes no spikes."""

    def wants(self, population: str) -> bool:
        return False

    def record(self, population: str, ticks: IntArray, neurons: IntArray, signs: IntArray) -> None:
        """Nothing."""


@dataclass(eq=False)
class Counts:
    """What an engine returns. Steps that began are rows; populations and projections are columns, in the network's order.

    Attributes
    ----------
    end_tick : int
        Last tick simulated: T*R, or the tick at which the run stopped before; that tick is complete.
    exited : bool
        Whether the exit rule ended the run.
    spikes, negative_spikes : int64 (steps, populations)
        All spikes, and those of sign -1 among them. An engine leaves the columns of sources (and their ``first_tick``) at 0;
        :class:`eventsim.record.recording.Recording` fills them in, since sources only repeat the job's events.
    first_tick : int64 (populations,)
        Tick of the first spike, 0 if there was none.
    deliveries : int64 (steps, projections)
        Spikes delivered through each projection.
    synaptic_events, additions, toolbox, effective : int64 (steps, projections)
        Operations by definition (docs/definitions.md).
    readout : dict of str to int64 (steps, neurons)
        Potentials of each readout at the end of each step (of the run, for the last row).
    decision : int or None
        Argmax of the output at the end; None without an output, and where no spike arrived at it and its initial potentials are all the
        same.
    decision_tick : int or None
        First tick from which the decision never changes again: of the first arrival or later, 1 if the initial potentials decided.
    stopped : "max_spikes" or None
        Whether there were more spikes than :attr:`Job.max_spikes` (at a tick at which the exit rule may have ended the run, too).
    engine : str
        The engine that made the counts: one may leave a run to another.
    """

    end_tick: int
    exited: bool
    spikes: IntArray
    negative_spikes: IntArray
    first_tick: IntArray
    deliveries: IntArray
    synaptic_events: IntArray
    additions: IntArray
    toolbox: IntArray
    effective: IntArray
    readout: dict[str, IntArray]
    decision: int | None
    decision_tick: int | None
    stopped: Literal["max_spikes"] | None
    engine: str


def check_room(job: Job) -> None:
    """Refuse a run whose counts per step would take gigabytes.

    Raises
    ------
    RunError
        Too many steps for a network of so many populations, projections and readout neurons.
    """
    network = job.network
    readouts = sum(p.size for p in network.populations.values() if p.reads_out)
    if job.steps * max(len(network.populations), len(network.projections), readouts) > _MAX_TALLY:
        raise RunError(f"{job.steps} steps are too many for the counts per step of this network; run fewer")
