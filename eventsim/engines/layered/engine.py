"""The layered engine: feed-forward networks, a window of time and a population at a time.

The spikes of a population depend only on those of the populations before it, so a window can be run population by population: its
incoming spikes in time order, its potentials and its weights in the cache. The result is that of the queue engine, spike for spike.
There are three ways to run one: tick by tick (:mod:`eventsim.engines.layered.ways.tick_kernels`), clocked from rasters
(:mod:`eventsim.engines.layered.ways.raster`), and at high resolution site by site (:mod:`eventsim.engines.layered.ways.site_kernels`).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from eventsim.engines.layered import tables
from eventsim.engines.layered.pipeline import BUFFERS, Pipeline, Plan
from eventsim.engines.layered.tables import DrivenLayout, Layout
from eventsim.engines.layered.ways import driven_kernels, raster, raster_kernels
from eventsim.engines.layered.ways import site_kernels as sites
from eventsim.engines.layered.ways import tick_kernels as k
from eventsim.engines.once import Once
from eventsim.engines.protocol import LeftToAnother, unknown_kind
from eventsim.job.job import DEFAULT_RESOLUTION, OPERATIONS, Counts, Job, NoRecorder, Recorder, check_room
from eventsim.job.preparation import prepare
from eventsim.kernels import order as order_kernels
from eventsim.kernels.compiled import entry
from eventsim.kernels.simd import LANES
from eventsim.kernels.simd_spikes import SORTED
from eventsim.kernels.stencils import ADDITIONS, SYNAPSES, TOOLBOX, aligned, aligned_zeros
from eventsim.model.network import Driven, Network, Projection, Readout, Spiking, feed_forward_order
from eventsim.model.tables import Conv2d, Dense, IntArray, spatial

# Spikes of driven neurons that a window is meant to have: enough to be worth its overhead. With several threads there have to be some
# windows for them to work on at a time, none with fewer than so many.
_WINDOW, _PARALLEL_WINDOW = 2**18, 2**15
# Spikes of a population in a window for which there is memory; with more, it is run in parts, shorter by so much.
_CROWD, _SHORTER = 2**21, 8
# Additions after which compiled code comes back from a population, about, so that Ctrl-C works.
_WORK = 2**30
# Clocked windows are as long as the rasters of all populations together have room for in so many bytes; with an exit rule they have so
# many ticks, since the last one may have to be run again.
_RASTER, _EXIT_WINDOW = 2**23, 8
# From this resolution on so few spikes share a tick that gathering them is not worth its tables.
_SPARSE = 2**10
# Room for the spikes that a population makes in a stretch, at first (see eventsim.engines.layered.ways.site_kernels and driven_kernels).
_KEYS = 2**12
# Spikes of a driven population that are put in order at a time, about, so that its keys stay in the cache; or one in so many neurons, if
# that is more, since each time all neurons are looked through.
_STRETCH, _STRETCH_OF = 2**14, 4
_NO_SIGNS, _NO_PROJECTIONS = np.zeros(0, np.int8), np.zeros(0, np.int16)
_NO_RASTER = np.zeros(0, np.uint32), np.zeros(0, np.uint32)
# The spikes of a population in a window.
Spikes = k.Train | raster.Raster


@dataclass
class Workspace:
    """Room for a thread to work in."""

    ticks: k.Scratch
    raster: raster_kernels.Scratch
    sites: sites.Room
    order: order_kernels.Room
    keys: IntArray
    most: int  # keys, about

    def more_keys(self, n: int) -> None:
        """Twice as much room for keys, of which there are n."""
        _check_crowd(n, self.most)
        bigger = np.empty(2 * len(self.keys), np.int64)
        bigger[:n] = self.keys[:n]
        self.keys = bigger


class Layouts:
    """A network that this engine can run (:func:`why_not`), compiled for it."""

    def __init__(self, network: Network):
        order = feed_forward_order(network)
        assert order is not None, why_not(network)
        self.network, self.order = network, order
        self.sparse = {
            name: tables.compile_layout(network, name) for name, p in network.populations.items() if isinstance(p, (Spiking, Readout))
        }
        self.driven = {name: DrivenLayout(p) for name, p in network.populations.items() if isinstance(p, Driven)}
        sources: dict[str, list[str]] = {name: [] for name in order}
        for projection in network.projections:
            sources[projection.target].append(projection.source)
        self.plan = Plan(sources)
        self._dense: dict[str, Layout] | None = None
        self._idle: list[_Run] = []

    def begin(self, job: Job) -> _Run:
        """The populations at the start of a run, in the arrays of the last one if they fit."""
        try:
            state = self._idle.pop()
        except IndexError:
            state = None
        if state is None or state.key != _Run.key_of(job):
            state = _Run(job, self)
        state.begin(job)
        return state

    def end(self, state: _Run) -> None:
        """Keep the arrays for the next run."""
        self._idle[:] = [state]

    @property
    def dense(self) -> dict[str, Layout]:
        """With the tables that gathering takes."""
        if self._dense is None:
            self._dense = {name: tables.for_many(self.network, name, layout) for name, layout in self.sparse.items()}
        return self._dense


class _Population:
    """A population during a run."""

    def __init__(self, name: str):
        self.name = name
        self._code: dict[tuple[Any, str], Any] = {}

    def _call(self, kernel: Any, kind: str, *arguments: Any) -> Any:
        """Run a kernel on arguments whose types depend on nothing but ``kind``."""
        try:
            code = self._code[kernel, kind]
        except KeyError:
            code = self._code[kernel, kind] = entry(kernel, arguments)
        return code(*arguments)


class _Layer(_Population):
    """A spiking or readout population during a run.

    ``spikes`` (2, steps) and ``operations`` (projections, steps, 5) are what it counts in.
    """

    def __init__(self, job: Job, name: str, layout: Layout, spikes: IntArray, operations: IntArray):
        super().__init__(name)
        self.incoming = layout.incoming
        scalars = layout.layer.scalars.copy()
        scalars[k.REFRACTORY], scalars[k.RESOLUTION], scalars[k.END] = job.refractory.get(name, 1), job.resolution, job.end
        if job.exit_rule is not None and name == job.network.output:
            scalars[k.EXIT_KIND] = {"potential": 1, "margin": 2}[job.exit_rule.kind]
            scalars[k.EXIT_LIMIT] = job.exit_rule.threshold
        # For running site by site, if it can be: ``sites`` for as long as a run does not need 64 bits.
        self.of_sites: sites.Sites | None = None
        self.sites: sites.Sites | None = None
        layer = layout.layer
        plain = scalars[k.ROLE] == k.NEURONS and not scalars[k.SIGNED] and not scalars[k.ZERO_RESET] and scalars[k.REFRACTORY] == 1
        if plain and job.resolution >= _SPARSE:
            layer, self.of_sites = layout.by_site()
        self.layer = layer._replace(scalars=scalars)
        size = int(scalars[k.SIZE])
        self.neurons = layout.v.size
        # Spikes that are delivered in one call.
        self.some = max(1, _WORK // layout.work)
        self.spiking = bool(scalars[k.ROLE] == k.NEURONS)
        self.signed = bool(scalars[k.SIGNED])
        self.parks = self.spiking and job.refractory[name] > 1
        self.summing = layout.summing if job.resolution == 1 and not self.parks else None
        self.start = layout.start(self.parks, self.summing is not None)
        lanes, signed = size if self.spiking else 0, size if self.signed else 0
        self.state = k.State(
            self.start.scalars.copy(),
            aligned(self.start.d, self.start.d.dtype),
            aligned(self.start.low, self.start.low.dtype),
            np.zeros(signed, np.int32),
            np.empty(lanes, np.int64),
            np.empty(lanes, np.int32),
            self.start.theta,
        )
        readout = np.zeros((0, 0) if self.spiking else (job.steps, self.neurons), np.int64)
        self.tally = k.Tally(spikes[0], spikes[1], operations, readout)
        self.out = _empty(size + 1024 if self.spiking else 0, self.signed)
        self.spare: list[k.Train] = []
        self.spatial = spatial(job.network.populations[name].shape)
        if self.summing is not None:
            self.costs = self._costs(self.summing, job.network)
        if self.of_sites is not None:
            of = self.of_sites
            copies = {field: np.empty_like(getattr(of, field)) for field in ("at", "again", "begins", "loads", "found")}
            self.of_sites = of._replace(**copies)
        self.rasters = [_NO_RASTER]
        # Whether who is due has been put into the ring.
        self.in_ring = True

    def _costs(self, summing: tables.Summing, network: Network) -> raster_kernels.Costs:
        """What is counted when this population runs from a raster."""
        layer, shape = self.layer, network.populations[summing.source.source].shape
        row = layer.projections[summing.row]
        locations, of_location = int(np.prod(spatial(shape)[:2])), raster.blocks(spatial(shape)[2])
        clocks = np.zeros((len(summing.clocks), 6), np.int64)
        for costs, clock in zip(clocks, layer.projections[summing.clocks], strict=True):
            synapses, additions, toolbox = layer.records[clock[k.RECORDS], [SYNAPSES, ADDITIONS, TOOLBOX]]
            effective = layer.effective[clock[k.NONZERO]] if clock[k.NONZERO] >= 0 else synapses
            costs[:] = clock[k.NUMBER], 1, synapses, additions, toolbox, effective
        scalars = [locations, of_location, row[k.RECORDS], row[k.NUMBER], row[k.NONZERO] < 0]
        return raster_kernels.Costs(np.array(scalars, np.int64), clocks)

    @property
    def _kind(self) -> str:
        """What the types of the state depend on."""
        return self.state.d.dtype.char

    def begin(self) -> None:
        """Go to the start of a run."""
        state, start = self.state, self.start
        if state.d.dtype != start.d.dtype:
            d, low = aligned(start.d, start.d.dtype), aligned(start.low, start.low.dtype)
            self.state = state = state._replace(d=d, low=low, theta=start.theta)
        state.scalars[:], state.d[:] = start.scalars, start.d
        if self.signed:
            state.low[:], state.net[:] = start.low, 0
        if len(start.due):
            state.ring_tick[: len(start.due)], state.ring_lane[: len(start.due)] = 1, start.due
        # 64 bits are checked at every tick.
        self.in_ring, self.sites = True, None if state.scalars[k.CHECKED] else self.of_sites
        if self.sites is not None:
            self._enter_sites()

    def alternate(self) -> None:
        """From now on leave the spikes of a window alone while the next ones run."""
        while len(self.spare) < BUFFERS - 1:
            self.spare.append(_empty(len(self.out.tick), self.signed))
            self.rasters.append(_NO_RASTER)

    def _begin_window(self) -> None:
        """The spikes of a window go where those of the longest time ago are."""
        scalars = self.state.scalars
        scalars[k.AT] = scalars[k.FIRED] = 0
        self.spare.append(self.out)
        self.out = self.spare.pop(0)

    def _widen(self) -> None:
        """Give d the next wider type."""
        old = self.state
        dtype = tables.TYPES[tables.TYPES.index(old.d.dtype.type) + 1]
        scalars = old.scalars
        d, low = aligned(old.d, dtype), aligned(old.low, dtype)
        low[old.low == np.iinfo(old.d.dtype).min] = np.iinfo(dtype).min
        park, waiting = int(scalars[k.PARK]), int(scalars[k.WAITING])
        tables.set_limits(scalars, dtype, self.parks, int(self.layer.scalars[k.HIGHEST]))
        if self.parks:
            parked = old.ring_lane[(int(scalars[k.HEAD]) + np.arange(waiting)) % len(old.ring_lane)]
            d[parked] += park - int(scalars[k.PARK])
        self.state = old._replace(d=d, low=low, theta=tables.theta_of(self.layer, dtype))

    def sums(self, ticks: int) -> bool:
        """Whether so many ticks can be run from a raster: potentials surely stay in 32 bits."""
        if self.summing is None or self.state.d.dtype != np.int32:
            return False
        s, rise = self.state.scalars, ticks * self.summing.compiled.rise
        if s[k.BOUND] + rise > s[k.LIMIT]:
            # A reset may leave |d| at the threshold.
            most = k.largest(self.state.d, False, 0, self.state.ring_lane, 0, 0)
            s[k.BOUND] = max(int(self.layer.scalars[k.HIGHEST]), most)
        return bool(s[k.BOUND] + rise <= s[k.LIMIT])

    def run_raster(self, source: raster.Raster, since: int, until: int, scratch: Workspace) -> raster.Raster:
        """Run to the end of a tick from the raster of the source; returns that of the population."""
        assert self.summing is not None
        of, state, ticks = self.summing.compiled, self.state, until - since
        state.scalars[k.BOUND] += ticks * of.rise
        height, width, channels = self.spatial
        if not self.spiking:
            self._call(
                raster_kernels.read_out, "", self.layer, self.costs, state, self.tally, self.summing.row, of.tables.constant, source.masks,
                source.negative, since, ticks, source.length, scratch.ticks.split, scratch.raster.counts,
            )  # fmt: skip
            return raster.Raster(since, ticks, source.length, height * width, channels, *_NO_RASTER)
        room = raster.room(ticks, height * width, channels)
        buffers = self.rasters.pop(0)
        if len(buffers[0]) < room:
            buffers = np.zeros(room, np.uint32), np.zeros(room if self.signed else 0, np.uint32)
        self.rasters.append(buffers)
        out = buffers[0][:room], buffers[1][:room]
        self._call(
            raster_kernels.advance, "", *of.tables, self.layer.records, self.costs, state.scalars, state.d, state.net, self.tally,
            source.masks, source.negative, since, ticks, source.length, *out, scratch.raster,
        )  # fmt: skip
        self.in_ring = False
        return raster.Raster(since, ticks, source.length, height * width, channels, *out)

    def _enter_ring(self, since: int) -> None:
        """From now on tick by tick: the neurons that are still due have to be in the ring."""
        state, s = self.state, self.state.scalars
        due = state.d >= 0
        if self.signed:
            state.low[:] = np.where(state.net > 0, -np.resize(state.theta, state.d.size), s[k.LOWEST])
            due |= state.d < state.low
        lanes = np.flatnonzero(due)
        state.ring_tick[: len(lanes)], state.ring_lane[: len(lanes)] = since + 1, lanes
        s[[k.HEAD, k.WAITING]] = 0, len(lanes)
        self.in_ring = True

    def run_sites(self, train: k.Train, until: int, scratch: Workspace) -> k.Train | None:
        """Run to the end of a tick, site by site; returns the spikes, or None if a potential left int32."""
        assert self.sites is not None
        scalars = self.state.scalars
        while True:
            status = self._call(
                sites.advance, self._kind, self.layer, self.state, self.sites, scratch.sites, scratch.order, train, self.out, scratch.keys,
                self.tally, until,
            )  # fmt: skip
            if status == k.DONE:
                return self._spikes()
            if status == k.WIDEN:
                self._widen()
                if scalars[k.CHECKED]:
                    self._enter_ring(int(self.sites.at[sites.REACHED]))
                    self.sites = None
                    return self._advance(train, until, scratch)
            elif status == sites.ROOM:
                scratch.sites = scratch.sites._replace(entries=np.empty(2 * int(self.sites.at[sites.NEEDED]), np.int64))
            else:
                n = int(self.sites.at[sites.KEYS])
                if not scratch.order.fits(n):
                    scratch.order = order_kernels.room_for(len(scratch.keys))
                elif scalars[k.FIRED] + n + SORTED > len(self.out.tick):
                    self._more_out(scratch.most)
                else:
                    scratch.more_keys(n)

    def _enter_sites(self) -> None:
        """Note the blocks with neurons that are due at the first tick."""
        of = self.sites
        assert of is not None
        of.at[:], of.again[:] = 0, k.FOREVER
        of.at[[sites.SITE, sites.SPIKES]] = -1, of.scalars[sites.STRETCH]
        due = self.start.due
        if len(due):
            of.again[due // int(of.scalars[sites.BLOCK])] = 1
        of.at[sites.PENDING] = 1 if len(due) else k.FOREVER

    def _spikes(self) -> k.Train:
        n = int(self.state.scalars[k.FIRED])
        return k.Train(self.out.tick[:n], self.out.neuron[:n], self.out.sign[:n], _NO_PROJECTIONS)

    def run(self, train: k.Train, since: int, until: int, scratch: Workspace) -> k.Train | None:
        """Run to the end of a tick; returns the spikes, or None if a potential left int32."""
        if not self.in_ring:
            self._enter_ring(since)
        self._begin_window()
        some, at = self.some, 0
        while len(train.tick) - at > some:
            # Up to the end of a tick.
            tick = int(train.tick[at + some - 1])
            at = int(np.searchsorted(train.tick, tick, "right"))
            if self._run_part(k.Train(*(a[:at] for a in train)), tick, scratch) is None:
                return None
            if self.state.scalars[k.EXITED]:
                return self._spikes()
        return self._run_part(train, until, scratch)

    def _run_part(self, train: k.Train, until: int, scratch: Workspace) -> k.Train | None:
        if self.sites is not None:
            return self.run_sites(train, until, scratch)
        return self._advance(train, until, scratch)

    def _advance(self, train: k.Train, until: int, scratch: Workspace) -> k.Train | None:
        while True:
            status = self._call(k.advance, self._kind, self.layer, self.state, scratch.ticks, train, self.out, self.tally, until)
            if status == k.DONE:
                return self._spikes()
            if status == k.OVERFLOW:
                return None
            if status == k.WIDEN:
                self._widen()
            else:
                self._more_out(scratch.most)

    def _more_out(self, most: int) -> None:
        _check_crowd(int(self.state.scalars[k.FIRED]), most)
        self.out = _grown(self.out, self.signed, 2 * len(self.out.tick))

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs to run on from here again."""
        state, of = self.state._replace(**{key: aligned(a, a.dtype) for key, a in self.state._asdict().items()}), self.sites
        if of is not None:
            of = of._replace(at=of.at.copy(), again=of.again.copy())
        return state, of, self.in_ring

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self.state, self.sites, self.in_ring = snapshot


class _Driven(_Population):
    """A driven population during a run; counts its spikes in ``spikes`` (steps,)."""

    def __init__(self, job: Job, name: str, layout: DrivenLayout, spikes: IntArray):
        super().__init__(name)
        self.resolution, self.refractory, self.layout = job.resolution, job.refractory[name], layout
        self.steps, self.end, self.spikes = job.steps, job.end, spikes
        self.scalars = np.zeros(driven_kernels.SCALARS, np.int64)
        kinds = driven_kernels.REFRACTORY, driven_kernels.RESOLUTION, driven_kernels.BITS
        self.scalars[list(kinds)] = self.refractory, self.resolution, layout.size.bit_length()
        # What a spike, and the first one, takes of ``rate * tick``.
        self.period, self.need = layout.threshold * self.resolution, (layout.threshold - layout.v0) * self.resolution
        self.trains = [_empty(0, False)]
        self.rasters = [_NO_RASTER[0]]
        self.v = np.zeros(0, np.int32)
        self.clocked = False
        self.periodic = driven_kernels.periodic_for(0, job.end)
        self.held = driven_kernels.held_for(0)

    def begin(self, current: IntArray, largest: int) -> None:
        """Go to the start of a run with these currents per step, none of them larger."""
        self.current = current
        self.first_tick, self._per_tick = 0, -1.0
        charge = current
        if self.resolution == 1 and self.refractory == 1:
            # Whether no potential leaves 32 bits, before or after a spike. Those that begin below their threshold and sink may stay there.
            self.clocked = self.layout.span + largest * self.steps < 2**31
            if not self.clocked and np.all(self.layout.v0 < self.layout.threshold):
                charge = np.maximum(current, 0)
                self.clocked = self.layout.span + int(charge.max()) * self.steps < 2**31
        if self.clocked:
            self.padded_current = charge
            if self.layout.padded > self.layout.channels:
                self.padded_current = self.layout.lanes(charge, 0)
            if not len(self.v):
                self.v = aligned(self.layout.v, np.int32)
            self.v[:] = self.layout.v
        else:
            if not len(self.periodic.following):
                self.periodic = driven_kernels.periodic_for(self.layout.size, self.end)
            held = self._call(driven_kernels.start, "", self.period, self.need, current, self.refractory, self.periodic)
            if held != len(self.held.neuron):
                self.held = driven_kernels.held_for(held)
            if held:
                threshold, v0 = self.layout.threshold, self.layout.v0
                self._call(driven_kernels.hold, "", threshold, v0, current, self.resolution, self.periodic, self.held)
            spikes, per_tick = max(_STRETCH, self.layout.size // _STRETCH_OF), self.per_tick()
            self.scalars[driven_kernels.STRETCH] = int(min(spikes / per_tick, k.FOREVER)) + 1 if per_tick else k.FOREVER

    def alternate(self) -> None:
        """From now on leave the spikes of a window alone while the next ones run."""
        while len(self.trains) < BUFFERS:
            self.trains.append(_empty(0, False))
            self.rasters.append(_NO_RASTER[0])

    def per_tick(self) -> float:
        """About how many spikes a tick to expect."""
        if self._per_tick < 0:
            # Some thousand neurons tell; an odd step, so that they are not all of the same columns.
            every, most = self.layout.size >> 13 | 1, self.resolution / self.refractory
            per_step = self._call(driven_kernels.expect, "", self.layout.inverse, self.current, most, every)
            self._per_tick = float(per_step) / self.resolution
        return self._per_tick

    def longest(self) -> int:
        """The longest window that this population can run."""
        return int(k.FOREVER) if self.clocked else 2 ** (62 - int(self.scalars[driven_kernels.BITS]))

    def run(self, since: int, until: int, scratch: Workspace) -> k.Train | raster.Raster:
        """The spikes of a window, sorted."""
        if self.clocked:
            return self._run_clocked(since, until, scratch)
        train = self._run(since, until, scratch)
        if len(train.tick):
            self.first_tick = self.first_tick or int(train.tick[0])
        return train

    def _run_clocked(self, since: int, until: int, scratch: Workspace) -> raster.Raster:
        ticks, layout = until - since, self.layout
        room = raster.room(ticks, layout.locations, layout.channels)
        buffer = self.rasters.pop(0)
        if len(buffer) < room:
            buffer = np.zeros(room, np.uint32)
        self.rasters.append(buffer)
        masks, length = buffer[:room], raster.chunks(ticks)[1]
        first = self._call(
            raster_kernels.drive, "", self.v, self.padded_current, layout.theta, layout.back, since, ticks, length, masks,
            scratch.raster.counts, self.spikes,
        )  # fmt: skip
        self.first_tick = self.first_tick or first
        return raster.Raster(since, ticks, length, layout.locations, layout.channels, masks, _NO_RASTER[1])

    def _run(self, since: int, until: int, scratch: Workspace) -> k.Train:
        layout, scalars, train = self.layout, self.scalars, self.trains[0]
        scalars[driven_kernels.REACHED :] = since, 0, 0, 0
        while True:
            status = self._call(
                driven_kernels.advance, "", layout.threshold, layout.v0, self.current, self.periodic, self.held, scalars, scratch.keys,
                scratch.order, train.tick, train.neuron, self.spikes, until,
            )  # fmt: skip
            if status != k.GROW:
                break
            fired, keys = int(scalars[driven_kernels.FIRED]), int(scalars[driven_kernels.KEYS])
            if scalars[driven_kernels.PLACE] < len(self.periodic.following) + len(self.held.neuron):
                scratch.more_keys(keys)
            elif not scratch.order.fits(keys):
                scratch.order = order_kernels.room_for(len(scratch.keys))
            else:
                _check_crowd(fired + keys, scratch.most)
                self.trains[0] = train = _grown(train, False, 2 * fired + keys + SORTED)
        self.trains.append(self.trains.pop(0))
        fired = int(scalars[driven_kernels.FIRED])
        return train._replace(tick=train.tick[:fired], neuron=train.neuron[:fired])

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs to run on from here again."""
        following, early = (aligned(a, a.dtype) for a in (self.periodic.following, self.periodic.early))
        held = self.held._replace(following=self.held.following.copy(), count=self.held.count.copy())
        return aligned(self.v, np.int32), self.periodic._replace(following=following, early=early), held, self.first_tick

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self.v, self.periodic, self.held, self.first_tick = snapshot


class _Crowded(Exception):
    """A population makes more spikes in a window than there is memory meant for."""


class _Overflow(Exception):
    """A potential has left int32 within a window, maybe behind the end of the run."""


@dataclass
class _Limit(Exception):
    """There are more spikes than allowed: by this tick, which comes before the window's last one; 0 if it is not known."""

    tick: int


def _check_crowd(spikes: int, most: int) -> None:
    if spikes > most:
        raise _Crowded


def _empty(room: int, signed: bool) -> k.Train:
    return k.Train(np.empty(room, np.int64), np.empty(room, np.int32), np.empty(room if signed else 0, np.int8), _NO_PROJECTIONS)


def _grown(train: k.Train, signed: bool, room: int) -> k.Train:
    bigger = _empty(room, signed)
    for old, new in zip(train[:3], bigger[:3], strict=True):
        new[: len(old)] = old
    return bigger


class _Run:
    """All populations of a run, what they count, and the spikes that are still on their way through delayed projections."""

    def __init__(self, job: Job, layouts: Layouts):
        check_room(job)
        network, self.order, self.plan, self.key = job.network, layouts.order, layouts.plan, self.key_of(job)
        self.compiled = layouts.sparse if job.resolution >= _SPARSE else layouts.dense
        # Per population, all and negative; per projection.
        self.spikes = np.zeros((len(network.populations), 2, job.steps), np.int64)
        self.operations = np.zeros((len(network.projections), job.steps, len(OPERATIONS)), np.int64)
        self.layers: dict[str, _Layer] = {}
        self.driven: dict[str, _Driven] = {}
        for name, counts in zip(network.populations, self.spikes, strict=True):
            if name in layouts.driven:
                self.driven[name] = _Driven(job, name, layouts.driven[name], counts[0])
            elif name in self.compiled:
                self.layers[name] = _Layer(job, name, self.compiled[name], counts, self.operations)
        sizes = [math.prod(p.shape) for p in network.populations.values() if isinstance(p, (Driven, Spiking))]
        self.neurons = sum(sizes)
        # Spikes of a population in a window: more than all of its neurons make in a tick.
        self.most = max([_CROWD, *(4 * size for size in sizes)])
        # Whether some populations may run from rasters.
        self.clocked = any(layer.summing is not None for layer in self.layers.values())
        self._scratch: list[Workspace] = []
        self._split = max([1, *(layout.room["source"] for layout in self.compiled.values())])
        self.populations: list[_Layer | _Driven] = [*self.layers.values(), *self.driven.values()]

    @staticmethod
    def key_of(job: Job) -> Any:
        """Runs of a network that agree in this can use the same arrays."""
        return job.steps, job.resolution, job.exit_rule

    def scratch(self, threads: int) -> list[Workspace]:
        """Room to work in, for each thread."""
        # A source of events may repeat a neuron in a tick; all others fire at most once.
        split = max([self._split, *(len(ticks) for ticks, _ in self.job.events.values())])
        if len(self._scratch) < threads or len(self._scratch[0].ticks.places) < split + 8:
            layouts = self.compiled.values()
            locations = max([1, *(layout.room["locations"] for layout in layouts)])
            largest = max([1, *(int(layout.layer.scalars[k.SIZE]) for layout in layouts)])
            by_site = [layer.of_sites for layer in self.layers.values() if layer.of_sites is not None]
            entries = max([0, *(int(of.scalars[sites.EXPECTED]) for of in by_site)])
            summed = [layout.summing.compiled for layout in layouts if layout.summing is not None]
            self._scratch = [
                Workspace(
                    k.Scratch(
                        np.empty(2 * largest + LANES, np.int32),
                        np.empty(locations + 2, np.int64),
                        np.empty(split + LANES, np.int32),
                        np.empty(split + 8, np.int64),
                        np.empty(k.MOST_ROWS + 8, np.int64),
                    ),
                    raster_kernels.Scratch(
                        aligned_zeros(max([0, *(of.current for of in summed)]), np.int16),
                        np.empty(max([0, *(of.words for of in summed)]), np.int64),
                        np.empty(raster.MOST_TAPS, np.int64),
                        np.empty(raster.CHUNK, np.int32),
                    ),
                    sites.Room(
                        np.empty(entries, np.int64),
                        np.zeros(2, np.int64),
                        np.array([0, -1]),
                    ),
                    order_kernels.room_for(_KEYS),
                    np.empty(_KEYS, np.int64),
                    self.most,
                )
                for _ in range(threads)
            ]
        return self._scratch[:threads]

    def begin(self, job: Job) -> None:
        """Go to the start of a run."""
        self.job = job
        self.late: dict[str, k.Train] = {}
        self._before = self._begun = 0
        self.spikes.fill(0)
        self.operations.fill(0)
        for name, driven in self.driven.items():
            driven.begin(job.currents[name], job.largest[name])

    def window(self, since: int, until: int, scratch: Workspace) -> dict[str, Spikes]:
        """Run all populations from after ``since`` to the end of ``until``; returns their spikes."""
        trains: dict[str, Spikes] = {}
        for name in self.order:
            trains[name] = self.population(name, since, until, trains, scratch)
        return trains

    def made(self, until: int) -> int:
        """Spikes of neurons up to the end of a tick, to which all populations have been run and none further."""
        step = until // self.job.resolution
        self._before += int(self.spikes[:, 0, self._begun : step].sum())
        self._begun = step
        part = int(self.spikes[:, 0, step].sum()) if until % self.job.resolution else 0
        return self._before + part

    def population(self, name: str, since: int, until: int, trains: Mapping[str, Spikes], scratch: Workspace) -> Spikes:
        """Run one of them, given the spikes of those that it reads; returns its own.

        Raises
        ------
        _Overflow, _Crowded
        """
        spikes = self._population(name, since, until, trains, scratch)
        if spikes is None:
            raise _Overflow
        return spikes

    def _population(self, name: str, since: int, until: int, trains: Mapping[str, Spikes], scratch: Workspace) -> Spikes | None:
        if name in self.driven:
            return self.driven[name].run(since, until, scratch)
        if name in self.layers:
            layer = self.layers[name]
            if not since:
                # Here rather than for all at the start: the thread that runs it has it in its cache then.
                layer.begin()
            if layer.summing is not None and layer.sums(until - since):
                source = layer.summing.source.source
                found = trains[source]
                # (A readout takes a list as it is: to make a raster of it takes longer than to add it up.)
                if isinstance(found, k.Train) and layer.spiking:
                    found = raster.of_train(found, since, until - since, self.job.network.populations[source].shape)
                if isinstance(found, raster.Raster):
                    return layer.run_raster(found, since, until, scratch)
            return layer.run(self._arrivals(layer.incoming, trains, until), since, until, scratch)
        ticks, neurons = self.job.events[name]
        here = slice(*np.searchsorted(ticks, (since, until), side="right"))
        tick, neuron = np.ascontiguousarray(ticks[here], np.int64), np.ascontiguousarray(neurons[here], np.int32)
        return k.Train(tick, neuron, _NO_SIGNS, _NO_PROJECTIONS)

    def _arrivals(self, incoming: list[Projection], trains: Mapping[str, Spikes], until: int) -> k.Train:
        """What reaches a population in the window, by tick of arrival; what arrives later is kept in ``late``."""
        if len(incoming) == 1 and not self.job.delay[incoming[0].name]:
            return _as_train(trains[incoming[0].source])
        parts = []
        for number, projection in enumerate(incoming):
            train, delay = _as_train(trains[projection.source]), self.job.delay[projection.name]
            if delay:
                train = train._replace(tick=train.tick + delay)
                before = self.late.get(projection.name)
                if before is not None:
                    train = k.Train(*(np.concatenate(pair) for pair in zip(before, train, strict=True)))
                n = int(np.searchsorted(train.tick, until, side="right"))
                self.late[projection.name] = k.Train(*(a[n:].copy() for a in train))
                train = k.Train(*(a[:n] for a in train))
            if len(incoming) > 1:
                train = train._replace(projection=np.full(len(train.tick), number, np.int16))
            parts.append(train)
        if not parts:
            return _empty(0, False)
        merged = parts[0]
        for part in parts[1:]:
            n = len(merged.tick) + len(part.tick)
            both = _empty(n, bool(len(merged.sign) or len(part.sign)))._replace(projection=np.empty(n, np.int16))
            k.merge(merged, part, both)
            merged = both
        return merged

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs to run a window again."""
        populations = [(population, population.snapshot()) for population in self.populations]
        return populations, dict(self.late), self.spikes.copy(), self.operations.copy()

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot; the readouts of the steps after it are written again."""
        populations, self.late, self.spikes[:], self.operations[:] = snapshot
        for population, state in populations:
            population.restore(state)


def why_not(network: Network) -> str | None:
    """Why the engine cannot run a network, or None if it can."""
    if feed_forward_order(network) is None:
        return "the layered engine runs feed-forward networks, and this one has a cycle; use engine 'queue' or 'auto'"
    return unknown_kind("layered", network, ("driven", "spiking", "readout", "source"))


def too_much(job: Job) -> str | None:
    """None: it runs jobs of any length."""
    return None


def compile_network(network: Network) -> Layouts:
    """What the engine needs to know of a network that it can run."""
    return Layouts(network)


@cache
def warm_up() -> None:
    """Compile, or load from the cache, the kernels for plain neurons, clocked and at high resolution."""
    network = Network()
    network.driven("input", (1, 1, 1), threshold=1)
    network.spiking("hidden", (1, 1, 1), threshold=1)
    network.readout("output", 1)
    one = np.ones((1, 1), np.int8)
    network.connect("input", "hidden", Conv2d(one.reshape(1, 1, 1, 1)))
    network.connect("hidden", "output", Dense(one))
    layouts = Layouts(network)
    for resolution in (1, DEFAULT_RESOLUTION):
        run(prepare(network, {"input": [1]}, steps=1, resolution=resolution), layouts, NoRecorder())


def run(job: Job, layouts: Layouts, recorder: Recorder, progress: Callable[[int], None] | None = None, threads: int = 1) -> Counts:
    """Run a job on a feed-forward network.

    Parameters
    ----------
    job : Job
    layouts : Layouts
        The job's network, compiled.
    recorder : Recorder
    progress : callable, optional
        Called now and then with the current tick.
    threads : int
        A run with an exit rule uses one.

    Raises
    ------
    LeftToAnother
        A potential has left int32, maybe behind the end of the run.
    RunError
        More steps than the counts have room for.
    """
    state, once = layouts.begin(job), Once(recorder, progress)
    ends = _window_ends(state, threads) if threads > 1 and job.exit_rule is None else [0, job.end]
    alone, careful, last = len(ends) == 2, False, job.end
    while True:
        try:
            end, stopped = _run_alone(state, once, last, careful) if alone else _run_threads(state, once, threads, ends)
            break
        except _Overflow:
            # An engine that goes tick by tick finds the tick and population that come first in time, or that the run ends before.
            once.again()
            raise LeftToAnother(once.given) from None
        except _Crowded:
            careful = True
        except _Limit as limit:
            last = limit.tick or last
        # From the start again, up to a known tick or in windows that can be made shorter.
        alone = True
        state.begin(job)
        once.again()
    counts = _counts(job, state, end, stopped)
    layouts.end(state)
    return counts


def _window_length(state: _Run) -> int:
    """Ticks of a window."""
    job = state.job
    if state.clocked:
        return _longest_window(state) if job.exit_rule is None else _EXIT_WINDOW
    windows = int(_expected_spikes(state) / _WINDOW) + 1
    length = min(_longest_window(state), -(-job.end // windows))
    if job.exit_rule is not None:
        return min(length, job.resolution)
    return -(-length // job.resolution) * job.resolution if length > job.resolution else length


def _window_ends(state: _Run, threads: int) -> list[int]:
    """The ticks after which windows begin, and the last one, for several threads; one window if the run is too short to be shared.

    The first one is half as long as the others, since all threads but one wait for it; the last one is a bit shorter, too: in the end
    one thread may have to wait for another.
    """
    end, longest = state.job.end, _longest_window(state)
    spikes = _expected_spikes(state)
    # Each window costs something, clocked at every location.
    most = threads + 1 if state.clocked else max(2 * threads, int(spikes / _WINDOW) + 1)
    windows = max(min(most, int(spikes / _PARALLEL_WINDOW) + 1), -(-end // longest))
    if windows < 3:
        first = length = -(-end // windows)
    else:
        length = min(longest, -(-8 * end // (8 * windows - 5)))
        first = max(1, length // 2)
    return [0, *range(first, end, length), end]


def _longest_window(state: _Run) -> int:
    """Ticks for which there is room: for the keys of driven neurons, and for the rasters of all populations (a bit a neuron and tick)."""
    longest = min([state.job.end, *(population.longest() for population in state.driven.values())])
    if not state.clocked:
        return longest
    places = sum(p.layout.v.size if isinstance(p, _Driven) else p.neurons for p in state.populations)
    return min(longest, max(raster.CHUNK, 8 * _RASTER // places))


def _expected_spikes(state: _Run) -> float:
    """About how many spikes driven neurons and sources make in the run."""
    rate = sum(population.per_tick() for population in state.driven.values())
    return rate * state.job.end + sum(len(ticks) for ticks, _ in state.job.events.values())


def _as_train(spikes: Spikes) -> k.Train:
    return spikes.train() if isinstance(spikes, raster.Raster) else spikes


def _record(recorder: Recorder, network: Network, name: str, spikes: Spikes) -> None:
    # Asked every time: the recorder may want to stop the run.
    if not recorder.wants(name) or not isinstance(network.populations[name], (Driven, Spiking)):
        return
    train = _as_train(spikes)
    if len(train.tick):
        signs = train.sign if len(train.sign) else np.ones(len(train.tick), np.int8)
        recorder.record(name, train.tick, train.neuron, signs)


def _run_alone(state: _Run, once: Once, last: int, careful: bool) -> tuple[int, bool]:
    """Window by window to the end of tick ``last``; returns the last tick, and whether there were too many spikes by then.

    If ``careful``, or with an exit rule, windows with too many spikes for the memory are run again in parts.

    Raises
    ------
    _Overflow, _Crowded, _Limit
    """
    job, network = state.job, state.job.network
    (scratch,), longest = state.scratch(1), _window_length(state)
    length = longest
    output = state.layers[network.output] if network.output is not None else None
    since, stopped = 0, False
    while since < last:
        until = min(since + length, last)
        before = state.snapshot() if careful or job.exit_rule is not None else None
        try:
            trains = state.window(since, until, scratch)
        except _Crowded:
            if before is None:
                raise
            state.restore(before)
            length = max(1, (until - since) // _SHORTER)
            continue
        length = min(2 * length, longest)
        exited = int(output.state.scalars[k.EXITED]) if output is not None else 0
        if exited and exited < until:
            # What the populations did after the exit has to be undone: run the window again, up to there.
            until = exited
            state.restore(before)
            trains = state.window(since, until, scratch)
        # (That each neuron spikes once a tick need not be asked where so many spikes are allowed.)
        beyond = state.made(until) - job.max_spikes if state.neurons * until > job.max_spikes else 0
        stopped = beyond > 0
        if stopped:
            tick = _tick_of(beyond, network, trains)
            if tick < until:
                raise _Limit(tick)
        for name, train in trains.items():
            _record(once, network, name, train)
        since = until
        once.reached(since)
        if exited or stopped:
            break
    return since, stopped


def _tick_of(number: int, network: Network, trains: Mapping[str, Spikes]) -> int:
    """The tick of one of the spikes that neurons made in a window: the last one in order of time is number 1, that before it 2."""
    ticks = [_as_train(train).tick for name, train in trains.items() if isinstance(network.populations[name], (Driven, Spiking))]
    together = np.concatenate(ticks)
    place = len(together) - number
    return int(np.partition(together, place)[place])


def _run_threads(state: _Run, once: Once, threads: int, ends: list[int]) -> tuple[int, bool]:
    """Several windows at the same time, each in other populations (:class:`Pipeline`); returns as :func:`_run_alone`.

    Raises
    ------
    _Overflow, _Crowded, _Limit
    """
    job, network = state.job, state.job.network
    for population in state.populations:
        population.alternate()
    scratches = state.scratch(threads)
    # Spikes of the last windows of each population.
    trains: list[dict[str, Spikes]] = [{} for _ in range(BUFFERS)]
    one_at_a_time = threading.Lock()
    # Of each window: spikes to be recorded once it is known that the run gets there, all spikes, and populations that are done.
    kept: list[list[tuple[str, Spikes]]] = [[] for _ in ends[1:]]
    made, done = [0] * len(kept), [0] * len(kept)
    column = {name: i for i, name in enumerate(network.populations)}
    total = 0

    def finish(window: int) -> None:
        nonlocal total
        total += made[window]
        if total > job.max_spikes:
            raise _Limit(0)
        for name, train in kept[window]:
            _record(once, network, name, train)
        kept[window].clear()
        once.reached(ends[window + 1])

    def work(name: str, window: int) -> bool:
        scratch, here = scratches.pop(), trains[window % BUFFERS]
        train = state.population(name, ends[window], ends[window + 1], here, scratch)
        scratches.append(scratch)
        here[name] = train
        spikes = 0
        if isinstance(network.populations[name], (Driven, Spiking)):
            # (Rasters are of whole steps.)
            clocked = isinstance(train, raster.Raster)
            spikes = int(state.spikes[column[name], 0, ends[window] : ends[window + 1]].sum()) if clocked else len(_as_train(train).tick)
        with one_at_a_time:
            if once.wants(name) and spikes:
                # Its arrays are used again for another window, maybe before the other populations are done with this one.
                copied = _as_train(train)
                kept[window].append((name, k.Train(*(a.copy() for a in copied))))
            made[window] += spikes
            done[window] += 1
            if done[window] == len(state.order):
                finish(window)
        return True

    Pipeline(state.plan, len(ends) - 1, work).run(threads)
    return job.end, False


def _counts(job: Job, state: _Run, end: int, stopped: bool) -> Counts:
    network = job.network
    steps = -(-end // job.resolution)
    spikes, negative = state.spikes[:, :, :steps].copy().transpose(1, 2, 0)
    operations = state.operations[:, :steps].copy().transpose(2, 1, 0)
    first_tick = np.zeros(len(network.populations), np.int64)
    readout = {}
    for column, name in enumerate(network.populations):
        if name in state.driven:
            first_tick[column] = state.driven[name].first_tick
        elif name in state.layers:
            layer = state.layers[name]
            first_tick[column] = layer.state.scalars[k.FIRST_TICK]
            if not layer.spiking:
                rows = layer.tally.readout[:steps].copy()
                channels, padded = (int(layer.layer.scalars[i]) for i in (k.CHANNELS, k.PADDED))
                rows[int(layer.state.scalars[k.STEP]) :] = layer.state.d.reshape(-1, padded)[:, :channels].ravel()
                readout[name] = rows
    output = state.layers[network.output].state.scalars if network.output is not None else None
    decision = decision_tick = None
    if output is not None and output[k.DECIDED_AT]:
        decision, decision_tick = int(output[k.DECISION]), int(output[k.DECIDED_AT])
    return Counts(
        end,
        output is not None and bool(output[k.EXITED]),
        spikes,
        negative,
        first_tick,
        **dict(zip(OPERATIONS, operations, strict=True)),
        readout=readout,
        decision=decision,
        decision_tick=decision_tick,
        stopped="max_spikes" if stopped else None,
        engine="layered",
    )
