"""Populations that leak: clocked, step by step, all neurons of a step together; asynchronous, along the spikes that reach them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from eventsim.engines.layered.limits import Overflow
from eventsim.engines.layered.tables import Layout
from eventsim.engines.layered.trains import Train
from eventsim.engines.layered.ways.leak_kernels import advance as kernels
from eventsim.engines.layered.ways.leak_kernels import along
from eventsim.engines.layered.ways.leak_kernels.records import PROGRESS, Leaking
from eventsim.engines.layered.ways.records import Status
from eventsim.engines.layered.ways.ticks import Ticks
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job
from eventsim.kernels.stencils import aligned
from eventsim.model.tables import IntArray

if TYPE_CHECKING:
    from eventsim.engines.layered.populations.layer import Layer

_NEVER = -(2**62)


class Leaks(Ticks):
    """See :mod:`eventsim.engines.layered.ways.leak_kernels`. Spikes are delivered as they are tick by tick."""

    clocked = True
    parks = False
    _kernels: ClassVar[tuple[Callable[..., Any], Callable[..., Any]]] = kernels.advance, kernels.read_out

    def __init__(self, population: Layer, job: Job, layout: Layout):
        super().__init__(population, job, layout)
        self.leaking = _leaking(layout, population.constants.refractory > 1)
        self._bound = int(self.leaking.progress["bound"])

    @classmethod
    def why_not(cls, layout: Layout, job: Job, name: str) -> str | None:
        """Whether a step has one tick."""
        return None if job.resolution == 1 else f"steps of {job.resolution} ticks"

    def begin(self, job: Job) -> None:
        """Nothing has leaked, and nothing flows."""
        leaking = self.leaking
        leaking.progress["done"] = leaking.progress["current_bound"] = 0
        leaking.progress["bound"] = self._bound
        if leaking.current is not None:
            leaking.current[:] = 0
        if leaking.last is not None:
            leaking.last[:] = _NEVER

    def advance(self, train: Train, until: int, scratch: Workspace) -> int:
        """Run up to the end of a tick, or an exit before."""
        population, room, leaking = self.population, scratch.rooms[type(self)], self.leaking
        neurons, readout = self._kernels
        if population.state.d.dtype != np.int32:
            raise Overflow  # so far from their thresholds that 32 bits may not do
        while True:
            state, tally = population.state, population.tally
            if population.spiking:
                status = self._call(neurons, "", self.layer, leaking, state, room, train, population.out, tally, until)
            else:
                status = self._call(readout, "", self.layer, leaking, state, room, train, tally, until)
            if status == Status.DONE:
                return until
            if status == Status.OVERFLOW:
                raise Overflow
            population.more_out(scratch.most)

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs, beside the population's state, to run on from here again."""
        changing = ("progress", "current", "last")
        copies = {name: getattr(self.leaking, name).copy() for name in changing if getattr(self.leaking, name) is not None}
        return self.leaking._replace(**copies)

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self.leaking = snapshot


class LeaksAlong(Leaks):
    """See :mod:`eventsim.engines.layered.ways.leak_kernels.along`."""

    clocked = False
    wide = True
    _kernels = along.advance_along, along.read_along

    @classmethod
    def why_not(cls, layout: Layout, job: Job, name: str) -> str | None:
        """Whether a step has more ticks than one."""
        return None if job.resolution > 1 else "steps of one tick"

    def begin(self, job: Job) -> None:
        """Nothing has leaked, and nothing flows; who is due at the first tick enters the ring."""
        super().begin(job)
        if self.population.spiking:
            Ticks.begin(self, job)


def _leaking(layout: Layout, periods: bool) -> Leaking:
    """A population before a run; ``periods``: its refractory period is longer than a tick."""
    population, constants = layout.population, layout.layer.constants
    leaks, currents, amount = population.leaks(), population.current_decays(), population.reset_amount
    assert leaks is not None

    def lanes(values: IntArray, padding: int = 0) -> IntArray:
        """Values of neurons, as they lie in the state."""
        out = np.full((constants.size // constants.padded, constants.padded), padding, np.int32)
        out[:, : constants.channels] = values.reshape(-1, constants.channels)
        return aligned(out.ravel(), np.int32)

    after_reset, sets = 0, population.reset in ("zero", "value")
    if amount is not None:
        after_reset = int(np.abs(amount - layout.layer.threshold if sets else amount).max())
    progress = np.zeros((), PROGRESS)
    progress["bound"] = max(int(np.abs(layout.v - layout.layer.threshold).max()), constants.highest, after_reset)
    return Leaking(
        progress,
        after_reset,
        sets,
        lanes(population.per_neuron(layout.layer.threshold), 1),
        lanes(leaks[0]),
        lanes(leaks[1]),
        None if amount is None else lanes(population.per_neuron(amount)),
        None if currents is None else lanes(np.zeros_like(currents)),
        None if currents is None else lanes(currents),
        np.full(constants.size, _NEVER, np.int64) if periods else None,
    )
