"""What neurons do: a class for each kind of population (leaky ones stand beside), and all that the loop asks of it.

Times are ticks, potentials int32 in value; neurons are numbered from 0 in their population.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from eventsim.job.job import Job
from eventsim.model.populations import Maximum as MaximumModel
from eventsim.model.populations import Population


class Neurons(ABC):
    """The neurons of one population during a run.

    Attributes
    ----------
    size : int
    v : list of int
        Membrane potentials.
    """

    def __init__(self, name: str, population: Population, job: Job):
        self.name, self.size = name, population.size
        self.v: list[int] = [0] * self.size if population.v0 is None else population.initial_potentials().tolist()

    def given(self) -> Iterable[tuple[int, int, int]]:
        """(tick, neuron, sign) of the spikes that are known before the run."""
        return ()

    def deliver(self, sender: int, sign: int, synapses: Iterable[tuple[int, int]]) -> None:
        """A spike of a neuron of another population arrives: ``V += sign * weight`` for each (neuron, weight) that it reaches."""
        for neuron, weight in synapses:
            self.v[neuron] += sign * weight

    def flow(self, neuron: int, tick: int) -> None:  # noqa: B027 - most have nothing to do
        """What else changes the potential at a tick, once all has been delivered."""

    def state(self, neuron: int) -> tuple[int, ...]:
        """What has to fit int32 after that."""
        return (self.v[neuron],)

    def end_step(self) -> None:  # noqa: B027 - likewise
        """The last tick of a step is over, and the first of the next one has not begun."""

    @abstractmethod
    def fire(self, neuron: int, tick: int) -> int:
        """Have the neuron fire if it is due and may; returns the sign of the spike, 0 if there is none."""

    @abstractmethod
    def next_look(self, neuron: int, tick: int) -> int | None:
        """The first later tick at which the neuron fires if nothing arrives before; None if it does not fire then."""

    def potentials(self, tick: int) -> list[int]:
        """Membrane potentials at the end of a tick that has been run."""
        return list(self.v)


class Source(Neurons):
    """Emits what it is given; has no potentials."""

    def __init__(self, name: str, population: Population, job: Job):
        super().__init__(name, population, job)
        ticks, neurons = job.events[name]
        signs = job.signs[name].tolist() if name in job.signs else [1] * len(ticks)
        self._given = list(zip(ticks.tolist(), neurons.tolist(), signs, strict=True))

    def given(self) -> Iterable[tuple[int, int, int]]:
        return self._given

    def fire(self, neuron: int, tick: int) -> int:
        return 0

    def next_look(self, neuron: int, tick: int) -> int | None:
        return None


class Readout(Neurons):
    """Accumulates, never fires."""

    def fire(self, neuron: int, tick: int) -> int:
        return 0

    def next_look(self, neuron: int, tick: int) -> int | None:
        return None


class Firing(Neurons):
    """Fires when it is due, but no sooner than its refractory period after its last spike."""

    def __init__(self, name: str, population: Population, job: Job):
        super().__init__(name, population, job)
        assert population.threshold is not None
        self.threshold: list[int] = population.per_neuron(population.threshold).tolist()
        self.refractory = job.refractory[name]
        self.net = [0] * self.size  # positive minus negative spikes so far
        self.last = [job.last_spike(name)] * self.size  # tick of the last spike

    @abstractmethod
    def due(self, neuron: int, tick: int) -> int:
        """Sign of the spike that the neuron is due to emit at a tick, 0 if none."""

    def reset(self, neuron: int, sign: int) -> None:
        """What a spike does to the potential."""

    def fire(self, neuron: int, tick: int) -> int:
        sign = self.due(neuron, tick)
        if not sign or tick < self.last[neuron] + self.refractory:
            return 0
        self.reset(neuron, sign)
        self.net[neuron] += sign
        self.last[neuron] = tick
        return sign


class Driven(Firing):
    """``V(t) = v0 + floor(I * t / R) - threshold * (spikes so far)``, in 64 bits: nothing is added up, so nothing can overflow.

    V may sink below int32 without any effect, or rise above it where a refractory period holds back spikes.
    """

    def __init__(self, name: str, population: Population, job: Job):
        super().__init__(name, population, job)
        self.current, self.resolution = job.currents[name].tolist(), job.resolution

    def potential(self, neuron: int, tick: int) -> int:
        """V(t)."""
        return self.v[neuron] + self.current[neuron] * tick // self.resolution - self.threshold[neuron] * self.net[neuron]

    def potentials(self, tick: int) -> list[int]:
        return [self.potential(neuron, tick) for neuron in range(self.size)]

    def due(self, neuron: int, tick: int) -> int:
        return int(self.potential(neuron, tick) >= self.threshold[neuron])

    def next_look(self, neuron: int, tick: int) -> int | None:
        allowed = max(tick + 1, self.last[neuron] + self.refractory)
        if self.due(neuron, allowed):
            return allowed
        if self.current[neuron] <= 0:
            return None
        # Due once floor(I * t / R) >= need, that is, at t = ceil(need * R / I).
        need = self.threshold[neuron] * (self.net[neuron] + 1) - self.v[neuron]
        return -(-need * self.resolution // self.current[neuron])


class Spiking(Firing):
    """Integrates and fires at ``V >= threshold``.

    A signed neuron also takes back a spike: it fires with sign -1 where V < 0 and it has fired more positive than negative spikes.
    """

    def __init__(self, name: str, population: Population, job: Job):
        super().__init__(name, population, job)
        assert population.reset is not None
        self.signed, self.after_spike = population.signed, RESETS[population.reset]

    def due(self, neuron: int, tick: int) -> int:
        if self.v[neuron] >= self.threshold[neuron]:
            return 1
        return -1 if self.signed and self.v[neuron] < 0 and self.net[neuron] > 0 else 0

    def reset(self, neuron: int, sign: int) -> None:
        self.v[neuron] = self.after_spike(self.v[neuron], sign * self.threshold[neuron])

    def next_look(self, neuron: int, tick: int) -> int | None:
        return max(tick + 1, self.last[neuron] + self.refractory) if self.due(neuron, tick) else None


class Maximum(Neurons):
    """Follows the maximum (or minimum) of the net counts of the neurons in its windows; they change by one a tick at most, and so does it.

    It has no potentials.
    """

    def __init__(self, name: str, population: Population, job: Job):
        super().__init__(name, population, job)
        assert isinstance(population, MaximumModel)
        self.best = [max if sense > 0 else min for sense in population.per_neuron(population.senses).tolist()]
        (projection,) = (p for p in job.network.projections if p.target == name)
        source = job.network.populations[projection.source]
        self.count = [0] * source.size  # net count of each input, as far as it has arrived
        self.net = [0] * self.size  # of each neuron's own spikes
        self.window: list[list[int]] = [[] for _ in range(self.size)]
        for sender in range(source.size):
            for neuron, _ in projection.table.synapses_from(sender, source.shape, population.shape):
                self.window[neuron].append(sender)

    def deliver(self, sender: int, sign: int, synapses: Iterable[tuple[int, int]]) -> None:
        """A spike arrives: it is counted."""
        self.count[sender] += sign

    def fire(self, neuron: int, tick: int) -> int:
        sign = self.best[neuron](self.count[sender] for sender in self.window[neuron]) - self.net[neuron]
        assert -1 <= sign <= 1
        self.net[neuron] += sign
        return sign

    def next_look(self, neuron: int, tick: int) -> int | None:
        return None


# The potential after a spike, from what it was and an amount: the threshold times the sign, or that of leaky neurons.
RESETS: dict[str, Callable[[int, int], int]] = {
    "subtract": lambda v, amount: v - amount,
    "zero": lambda v, amount: 0,
    "value": lambda v, amount: amount,
}
