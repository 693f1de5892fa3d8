"""Membrane potentials of chosen populations at the end of every step, derived from the spikes of a run.

No engine has to keep them. What a potential is follows from the spikes that reached the neuron and those that it fired (docs/semantics.md),
so a recorder keeps the spikes of the populations concerned, and the potentials are added up from them afterwards, step by step. They are
the same for every engine since its spikes are.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from importlib import import_module
from types import TracebackType
from typing import Literal, NamedTuple

import numpy as np

from eventsim.errors import RunError
from eventsim.job.job import Job, Recorder
from eventsim.model.network import Network, Projection
from eventsim.model.populations import Population
from eventsim.model.tables import Axis, IntArray, spatial

# Values of all potentials of a run together: 1 GiB of them.
MAX_POTENTIALS = 2**27
# Bytes of a population's spikes that stay in memory; more go to a temporary file.
IN_MEMORY = 2**24
_SPIKE = np.dtype([("tick", "i8"), ("neuron", "i4"), ("sign", "i1")])
# So many spikes are delivered one by one; more are summed first, and the whole table is applied to the sums.
ONE_BY_ONE = 16
_NO_SPIKES = np.zeros(0, _SPIKE)


class Potentials(NamedTuple):
    """Membrane potentials of one population.

    Attributes
    ----------
    values : int64 (steps, neurons)
        At the end of each step that began; the last row is the end of the run.
    threshold : int64 (channels,) or None
        None of a readout, which never fires.
    """

    values: IntArray
    threshold: IntArray | None


def chosen_populations(network: Network, wanted: Literal["all", "none"] | Iterable[str]) -> list[str]:
    """Populations whose potentials are to be kept, in the network's order.

    Raises
    ------
    RunError
        There is no such population, or it is a source.
    """
    if wanted == "none":
        return []
    having = [name for name, p in network.populations.items() if p.v0 is not None]
    if wanted == "all":
        return having
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in having:
            raise RunError(f"no membrane potentials of {name!r}; populations that have some: {', '.join(having)} (or 'all', 'none')")
    return [name for name in having if name in names]


class PotentialRecorder:
    """A recorder that passes spikes on and keeps those from which potentials follow; a context manager.

    Parameters
    ----------
    job : Job
    chosen : list of str
        Populations whose potentials are wanted.
    recorder : Recorder
        Is given the spikes that it wants.

    Raises
    ------
    RunError
        The potentials would be more than ``MAX_POTENTIALS`` values.
    """

    def __init__(self, job: Job, chosen: list[str], recorder: Recorder):
        populations = job.network.populations
        values = job.steps * sum(math.prod(populations[name].shape) for name in chosen)
        if values > MAX_POTENTIALS:
            raise RunError(
                f"the potentials of {', '.join(chosen)} in {job.steps} steps are {values:,} values, the limit is {MAX_POTENTIALS:,}; "
                "choose fewer populations or run fewer steps"
            )
        self._job, self._chosen, self._recorder = job, chosen, recorder
        # A readout's are among the counts of every run.
        self._derived = [name for name in chosen if not populations[name].reads_out]
        needed = set(self._derived) | {p.source for p in job.network.projections if p.target in self._derived}
        self._spikes = {name: _Spool(job) for name in needed if populations[name].fires}

    def __enter__(self) -> PotentialRecorder:
        self._open = ExitStack()
        for spool in self._spikes.values():
            self._open.callback(spool.close)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def wants(self, population: str) -> bool:
        """Whether the population's spikes are needed here or wanted by the recorder."""
        return self._recorder.wants(population) or population in self._spikes

    def record(self, population: str, ticks: IntArray, neurons: IntArray, signs: IntArray) -> None:
        """Pass spikes on, and keep them if they are needed."""
        if self._recorder.wants(population):
            self._recorder.record(population, ticks, neurons, signs)
        if population in self._spikes:
            self._spikes[population].append(ticks, neurons, signs)

    def potentials(self, end_tick: int, readout: dict[str, IntArray]) -> dict[str, Potentials]:
        """The potentials of a run that ended after this tick, by population.

        Parameters
        ----------
        end_tick : int
        readout : dict of str to int64 (steps, neurons)
            Potentials of the readouts, as the run counted them.
        """
        out = {}
        for name in self._chosen:
            population = self._job.network.populations[name]
            threshold = None if population.threshold is None else population.threshold.astype(np.int64)
            if name in readout:
                values = readout[name]
            elif name in self._job.currents:
                values = self._of_currents(name, population, end_tick)
            else:
                values = self._of_spikes(name, population, end_tick)
            out[name] = Potentials(values, threshold)
        return out

    def _step_ends(self, end_tick: int) -> Iterator[tuple[int, int]]:
        """For each step that began: the last tick before it, and its last tick."""
        resolution = self._job.resolution
        for start in range(0, end_tick, resolution):
            yield start, min(start + resolution, end_tick)

    def _of_currents(self, name: str, population: Population, end_tick: int) -> IntArray:
        """Of neurons that a constant current drives."""
        size, threshold, v0 = population.size, _thresholds(name, population), population.initial_potentials()
        current = self._job.currents[name].astype(np.int64)
        out = np.empty((-(-end_tick // self._job.resolution), size), np.int64)
        fired = np.zeros(size, np.int64)
        for row, (start, end) in enumerate(self._step_ends(end_tick)):
            fired += _sums(self._spikes[name].between(start, end), size)
            out[row] = v0 + current * end // self._job.resolution - threshold * fired
        return out

    def _of_spikes(self, name: str, population: Population, end_tick: int) -> IntArray:
        """Of neurons that keep what spikes bring them."""
        job, size = self._job, population.size
        v, current = population.initial_potentials(), np.zeros(size, np.int64)
        reached, amount = current if population.has_current else v, _amounts(name, population)
        incoming = [
            (_Delivery(p, job.network), job.delay[p.name], self._spikes_of(p.source)) for p in job.network.projections if p.target == name
        ]
        out = np.empty((-(-end_tick // job.resolution), size), np.int64)
        for row, (start, end) in enumerate(self._step_ends(end_tick)):
            if row:
                v[:], current[:] = population.decayed(v), population.decayed_current(current)
            flowing = current if end % job.resolution == 0 else 0
            own = self._spikes[name].between(start, end)
            arriving = [(deliver, delay, spikes.between(start - delay, end - delay)) for deliver, delay, spikes in incoming]
            if population.reset == "subtract":
                for deliver, _, spikes in arriving:
                    deliver.add(reached, spikes)
                v += flowing
                v -= amount * _sums(own, size)
            elif population.reset in ("zero", "value"):
                # What is delivered in the tick of a spike is forgotten with the rest; between two such ticks the order does not matter.
                last = start
                for tick in sorted({*own["tick"].tolist(), end}):
                    whole = last == start and tick == end
                    for deliver, delay, spikes in arriving:
                        deliver.add(reached, spikes if whole else _cut(spikes, last - delay, tick - delay))
                    if tick == end:
                        v += flowing
                    fired = (own if whole and job.resolution == 1 else _cut(own, tick - 1, tick))["neuron"]
                    v[fired] = amount[fired]
                    last = tick
            else:
                raise RunError(f"{name}: potentials with reset {population.reset!r} cannot be told from the spikes")
            out[row] = v
        return out

    def _spikes_of(self, name: str) -> _Spool | _Given:
        return _Given(*self._job.events[name], self._job.signs.get(name)) if name in self._job.events else self._spikes[name]


def _thresholds(name: str, population: Population) -> IntArray:
    if population.threshold is None:
        raise RunError(f"the membrane potentials of {name!r} cannot be derived: nothing is known of those of {population.kind} populations")
    return population.per_neuron(population.threshold)


def _amounts(name: str, population: Population) -> IntArray:
    """What a spike takes from each potential, or sets it to."""
    amount = population.reset_amount
    if amount is None:
        raise RunError(f"the membrane potentials of {name!r} cannot be derived: nothing is known of those of {population.kind} populations")
    return population.per_neuron(amount)


def _cut(spikes: IntArray, after: int, last: int) -> IntArray:
    """Those with ``after < tick <= last``; spikes are in the order of their ticks."""
    low, high = np.searchsorted(spikes["tick"], [after, last], side="right")
    return spikes[low:high]


def _sums(spikes: IntArray, size: int) -> IntArray:
    """Net spikes of each neuron: int64."""
    # Signs are summed in float64, which is exact.
    return np.bincount(spikes["neuron"], weights=spikes["sign"], minlength=size).astype(np.int64)


class _Spool:
    """Spikes of a population as they come, in memory if they are few, and found again by step."""

    def __init__(self, job: Job):
        self._resolution = job.resolution
        self._per_step = np.zeros(job.steps, np.int64)
        self._first: IntArray | None = None
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed by close()

    def close(self) -> None:
        self._file.close()

    def append(self, ticks: IntArray, neurons: IntArray, signs: IntArray) -> None:
        spikes = np.empty(len(ticks), _SPIKE)
        spikes["tick"], spikes["neuron"], spikes["sign"] = ticks, neurons, signs
        counts = np.bincount((spikes["tick"] - 1) // self._resolution)
        self._per_step[: len(counts)] += counts
        try:
            self._file.write(spikes.tobytes())
        except OSError as error:
            raise RunError(
                f"the spikes that potentials follow from cannot be kept in {tempfile.gettempdir()} ({error.strerror})"
            ) from error

    def between(self, after: int, last: int) -> IntArray:
        """Spikes with ``after < tick <= last``."""
        if self._first is None:
            self._first = np.concatenate(([0], np.cumsum(self._per_step)))
        if last < 1:
            return _NO_SPIKES
        low = int(self._first[max(0, after) // self._resolution])
        high = int(self._first[(last - 1) // self._resolution + 1])
        self._file.seek(low * _SPIKE.itemsize)
        spikes = np.frombuffer(self._file.read((high - low) * _SPIKE.itemsize), _SPIKE)
        # Of whole steps, which these are.
        return _cut(spikes, after, last) if after % self._resolution or last % self._resolution else spikes


class _Given:
    """Spikes of a source, which the job holds."""

    def __init__(self, ticks: IntArray, neurons: IntArray, signs: IntArray | None):
        self._ticks, self._neurons, self._signs = ticks, neurons, signs

    def between(self, after: int, last: int) -> IntArray:
        low, high = np.searchsorted(self._ticks, [after, last], side="right")
        spikes = np.ones(high - low, _SPIKE)
        spikes["tick"], spikes["neuron"] = self._ticks[low:high], self._neurons[low:high]
        if self._signs is not None:
            spikes["sign"] = self._signs[low:high]
        return spikes


class _Delivery:
    """Adds what spikes deliver through a projection.

    Sums are taken modulo 2^64, so that it does not matter what they pass through: a potential fits 32 bits at the end of a tick.
    """

    def __init__(self, projection: Projection, network: Network):
        source, target = network.populations[projection.source].shape, network.populations[projection.target].shape
        self._table, self._target = projection.table, target
        self._source, self._size = spatial(source), math.prod(source)
        weights = projection.table.weights
        # A bound of what the table makes of values of 1 (see its apply).
        largest = max(int(weights.max(initial=0)), -int(weights.min(initial=0)))
        self._gain = largest * math.prod(weights.shape[:3])
        self._rows, self._stencil = self._table.to_rows(source, target), self._table.to_stencil(source, target)
        if self._rows is not None:
            # When it is needed, as engines are: compiled code takes a while to load.
            self._add_rows = import_module("eventsim.kernels.rows").add_rows

    def add(self, v: IntArray, spikes: IntArray) -> None:
        """Add sign x weight of all synapses of these spikes to the target's potentials, int64 (neurons,)."""
        if self._rows is not None:
            self._add_rows(v, *self._rows, np.ascontiguousarray(spikes["neuron"]), np.ascontiguousarray(spikes["sign"]))
            return
        if len(spikes) > ONE_BY_ONE:
            sums = _sums(spikes, self._size)
            if int(np.abs(sums).max()) * self._gain < 2**62:
                v += self._table.apply(sums.reshape(self._source), self._target)
                return
        for neuron, sign in zip(spikes["neuron"].tolist(), spikes["sign"].tolist(), strict=True):
            self._add_one(v, neuron, sign)

    def _add_one(self, v: IntArray, neuron: int, sign: int) -> None:
        if self._stencil is None:
            for reached, weight in self._table.synapses_from(neuron, self._source, self._target):
                v[reached] += sign * weight
            return
        weights, rows, columns, out_shape, begins = self._stencil
        location, channel = divmod(neuron, self._source[2])
        begin = 0 if begins is None else int(begins[channel])
        if begin < 0:
            return
        (down, taps_y), (across, taps_x) = (
            _reached(axis, position) for axis, position in zip((rows, columns), divmod(location, self._source[1]), strict=True)
        )
        part = v.reshape(out_shape)[down, across, begin : begin + weights.shape[3]]
        part += sign * weights[np.ix_(taps_y, taps_x)][:, :, channel].astype(np.int64)


def _reached(axis: Axis, position: int) -> tuple[slice, IntArray]:
    """Of a source position along one axis: the target positions, and the tap that reaches each."""
    first, count, tap = int(axis.first[position]), int(axis.count[position]), int(axis.tap[position])
    return slice(first, first + count * axis.step, axis.step), tap - axis.stride * np.arange(count)
