"""A step of a population that leaks: what is left of the step before, what arrives, and what flows in."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import end_of_tick, largest
from eventsim.engines.layered.ways.tick_kernels.deliver import deliver
from eventsim.kernels.compiled import inner, part
from eventsim.model.populations.leak import DECAY_BITS, DECAY_ONE


@inner
def leak(d, theta, decay, constant):
    """Have potentials undergo the end of a step, in 32 bits: |V| is taken apart so that no product is larger than |V| or 2**24.

    Parameters
    ----------
    d : int32 array (lanes,)
        V - theta.
    theta, decay, constant : int32 array (lanes,)
        As in :class:`Leaking`.
    """
    for i in range(np.uint64(len(d))):
        v = np.int32(d[i] + theta[i])
        magnitude = np.int32(v if v > 0 else -v)
        high, low = np.int32(magnitude >> DECAY_BITS), np.int32(magnitude & (DECAY_ONE - 1))
        share = np.int32(np.int32(high * decay[i]) + np.int32(np.int32(low * decay[i]) >> DECAY_BITS))
        left = np.int32(np.int32(magnitude - share) - constant[i])
        left = np.int32(left if left > 0 else 0)
        d[i] = np.int32(np.int32(left if v > 0 else -left) - theta[i])


@inner
def leak_currents(current, decay):
    """The same for synaptic currents, int32 (lanes,)."""
    for i in range(np.uint64(len(current))):
        value = current[i]
        magnitude = np.int32(value if value > 0 else -value)
        high, low = np.int32(magnitude >> DECAY_BITS), np.int32(magnitude & (DECAY_ONE - 1))
        left = np.int32(magnitude - np.int32(np.int32(high * decay[i]) + np.int32(np.int32(low * decay[i]) >> DECAY_BITS)))
        current[i] = np.int32(left if value > 0 else -left)


@inner
def flow(d, current):
    """Synaptic currents flow into potentials; both int32 (lanes,)."""
    for i in range(np.uint64(len(d))):
        d[i] = np.int32(d[i] + current[i])


@part
def undergo_end(d, leaking, current):
    """Everything leaks at the end of a step; ``current`` is that of ``leaking``."""
    leak(d, leaking.theta, leaking.decay, leaking.constant)
    if current is not None:
        leak_currents(current, leaking.current_decay)


@part
def receive(layer, d, current, scratch, train, operations, step, at, stop):
    """Add the spikes at..stop-1, those of a tick, to what they change; then currents flow. Arguments as for :func:`deliver`."""
    if current is None:
        if stop > at:
            deliver(layer, d, scratch, train, operations, step, at, stop)
    else:
        if stop > at:
            deliver(layer, current, scratch, train, operations, step, at, stop)
        flow(d, current)


@part
def fits(layer, d, leaking, current, limit, train, at, stop):
    """Whether the spikes at..stop-1 of a tick surely leave everything within 32 bits; then bounds rise. Loose ones are found anew.

    Parameters
    ----------
    layer, d, leaking, current
        As for :func:`receive`.
    limit : int64
        The largest |d| that leaves V within 32 bits, too.
    train : Train
    at, stop : int64
    """
    progress = leaking.progress[()]
    rise = np.int64(0)
    if len(train.projection) == 0 and stop > at:
        rise = (stop - at) * layer.projections[0]["largest"]
    else:
        for f in range(at, stop):
            rise += layer.projections[train.projection[f]]["largest"]
    if current is not None:
        if progress["current_bound"] + rise > limit:
            progress["current_bound"] = largest(current)
        progress["current_bound"] += rise
        rise = progress["current_bound"]
    if progress["bound"] + rise > limit:
        progress["bound"] = max(layer.constants.highest, leaking.after_reset, largest(d))
    progress["bound"] += rise
    return progress["bound"] <= limit


@part
def begin_step(layer, leaking, current, state, scratch, train, tally, tick):
    """Run a tick up to where neurons fire; returns how many spikes have arrived, -1 if 32 bits may not do."""
    s, at = state.progress[()], state.progress[()]["at"]
    stop = at
    if at < len(train.tick) and train.tick[at] == tick:
        stop = end_of_tick(train.tick, at)
    if not fits(layer, state.d, leaking, current, s["limit"], train, at, stop):
        return np.int64(-1)
    if tick > 1:
        undergo_end(state.d, leaking, current)
    s["step"], s["at"] = tick - 1, stop
    receive(layer, state.d, current, scratch, train, tally.operations, s["step"], at, stop)
    return np.int64(stop - at)
