"""The ring of neurons that wait for a tick.

A neuron that has fired and has a refractory period of more than a tick is *parked*: ``park`` is taken off its distance, so that no test
sees it, and put back when the period is over. The ring holds the parked neurons by the tick of their release; without a period it
holds those that were due again right after they had fired.
"""

from __future__ import annotations

from eventsim.engines.layered.ways.parts import divided
from eventsim.kernels.compiled import part


@part
def enter(constants, state, lane, tick):
    """Put a lane into the ring, for the end of the refractory period of a spike at ``tick``."""
    s = state.progress[()]
    tail = s["head"] + s["waiting"]
    if tail >= constants.size:
        tail -= constants.size
    state.ring_tick[tail] = tick + constants.refractory
    state.ring_lane[tail] = lane
    s["waiting"] += 1


@part
def release(layer, state, candidates, tick):
    """Take the neurons of a tick out of the ring; returns how many there are.

    Parameters
    ----------
    layer, state : Layer, State
    candidates : int32 array
        Takes their lanes.
    tick : int64
    """
    c, s = layer.constants, state.progress[()]
    head, waiting, n = s["head"], s["waiting"], 0
    while waiting and state.ring_tick[head] == tick:
        lane = state.ring_lane[head]
        head = head + 1 if head + 1 < c.size else 0
        waiting -= 1
        if c.refractory > 1:
            unpark(c, layer.threshold, state.d, state.low, state.net, lane, s)
        candidates[n] = lane
        n += 1
    s["head"], s["waiting"] = head, waiting
    return n


@part
def unpark(constants, threshold, d, low, net, lane, progress):
    """Let a neuron be seen again: arrays as in :class:`State`, and ``threshold`` (int64) by channel."""
    d[lane] += progress["park"]
    if low is not None:
        channel = lane - divided(lane, constants.padded, constants.padded_shift) * constants.padded
        low[lane] = -threshold[channel] if net[lane] > 0 else progress["lowest"]
