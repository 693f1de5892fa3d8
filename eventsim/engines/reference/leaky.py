"""What leaky neurons do: those that fire and those that read out, each with and without a synaptic current.

Everything is done when it happens: at the end of a step every potential and every current decays, whether the neuron is silent or not.
"""

from __future__ import annotations

from collections.abc import Iterable

from eventsim.engines.reference.neurons import RESETS, Firing, Neurons
from eventsim.job.job import Job
from eventsim.model.populations import CurrentLeaky as CurrentLeakyModel
from eventsim.model.populations import CurrentLeakyReadout as CurrentLeakyReadoutModel
from eventsim.model.populations import Leaky as LeakyModel
from eventsim.model.populations import LeakyReadout as LeakyReadoutModel
from eventsim.model.populations import Population


def after_step(value: int, decay: int, leak: int) -> int:
    """What a step leaves of a potential or a current; its magnitude is rounded, so nothing depends on the sign."""
    magnitude = abs(value)
    magnitude = max(0, magnitude - (magnitude * decay >> 12) - leak)
    return magnitude if value > 0 else -magnitude


class _Leaking(Neurons):
    """Decays at the end of each step."""

    def __init__(self, name: str, population: Population, job: Job):
        super().__init__(name, population, job)
        assert isinstance(population, LeakyModel | LeakyReadoutModel)
        self.decay: list[int] = population.per_neuron(population.decay).tolist()
        self.leak: list[int] = population.per_neuron(population.leak).tolist()

    def end_step(self) -> None:
        self.v[:] = map(after_step, self.v, self.decay, self.leak)


class _WithCurrent(_Leaking):
    """Spikes change a synaptic current, which flows into the potential in the last tick of each step."""

    def __init__(self, name: str, population: Population, job: Job):
        super().__init__(name, population, job)
        assert isinstance(population, CurrentLeakyModel | CurrentLeakyReadoutModel)
        self.resolution = job.resolution
        self.current = [0] * self.size
        self.current_decay: list[int] = population.per_neuron(population.current_decay).tolist()

    def deliver(self, sender: int, sign: int, synapses: Iterable[tuple[int, int]]) -> None:
        for neuron, weight in synapses:
            self.current[neuron] += sign * weight

    def flow(self, neuron: int, tick: int) -> None:
        if tick % self.resolution == 0:
            self.v[neuron] += self.current[neuron]

    def state(self, neuron: int) -> tuple[int, ...]:
        return self.v[neuron], self.current[neuron]

    def end_step(self) -> None:
        super().end_step()
        self.current = [after_step(current, decay, 0) for current, decay in zip(self.current, self.current_decay, strict=True)]

    def next_flow(self, neuron: int, tick: int) -> int | None:
        """The next last tick of a step, if a current flows then."""
        return (tick // self.resolution + 1) * self.resolution if self.current[neuron] else None


class Leaky(Firing, _Leaking):
    """Integrates, leaks, and fires at ``V >= threshold``."""

    def __init__(self, name: str, population: Population, job: Job):
        super().__init__(name, population, job)
        assert isinstance(population, LeakyModel)
        self.after_spike, self.amount = RESETS[population.reset], population.per_neuron(population.amount).tolist()

    def due(self, neuron: int, tick: int) -> int:
        return int(self.v[neuron] >= self.threshold[neuron])

    def reset(self, neuron: int, sign: int) -> None:
        self.v[neuron] = self.after_spike(self.v[neuron], self.amount[neuron])

    def next_look(self, neuron: int, tick: int) -> int | None:
        # By then it may have decayed, and is not due any more.
        return max(tick + 1, self.last[neuron] + self.refractory) if self.due(neuron, tick) else None


class CurrentLeaky(Leaky, _WithCurrent):
    """The same with a synaptic current."""

    def next_look(self, neuron: int, tick: int) -> int | None:
        return min((t for t in (super().next_look(neuron, tick), self.next_flow(neuron, tick)) if t is not None), default=None)


class LeakyReadout(_Leaking):
    """Leaks, never fires. What decays may decide otherwise, from the first tick of the next step on."""

    def __init__(self, name: str, population: Population, job: Job):
        super().__init__(name, population, job)
        self.resolution = job.resolution

    def fire(self, neuron: int, tick: int) -> int:
        return 0

    def next_look(self, neuron: int, tick: int) -> int | None:
        # (The first tick after the end of the step in which the given one lies.)
        return (-(-tick // self.resolution) or 1) * self.resolution + 1 if self.v[neuron] else None


class CurrentLeakyReadout(LeakyReadout, _WithCurrent):
    """The same with a synaptic current."""

    def next_look(self, neuron: int, tick: int) -> int | None:
        return min((t for t in (super().next_look(neuron, tick), self.next_flow(neuron, tick)) if t is not None), default=None)
