"""A readout, tick by tick over a window of time: it adds up what it gets, and the output decides at the end of each tick."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import divided, end_of_tick, note_operations
from eventsim.engines.layered.ways.records import FOREVER, Exit, Role, Status
from eventsim.engines.layered.ways.tick_kernels.deliver import deliver, fits, out_of_range
from eventsim.engines.layered.ways.tick_kernels.few import FEW
from eventsim.engines.layered.ways.tick_kernels.scatter import scatter_columns
from eventsim.kernels import simd
from eventsim.kernels.compiled import compiled, inner, part
from eventsim.kernels.simd import LANES


@compiled
def advance(layer, state, scratch, train, tally, until):
    """Run a readout to the end of a tick, or, of the output, to that of its exit.

    Parameters
    ----------
    layer, state, scratch : Layer, State, Scratch
    train : Train
        Its incoming spikes, with the ticks of their arrival.
    tally : Tally
    until : int64

    Returns
    -------
    int64
        DONE; WIDEN: d needs a wider type, after which it is called again; OVERFLOW: a potential has left int32.
    """
    c, s, arrivals = layer.constants, state.progress[()], len(train.tick)
    if c.role == Role.OUTPUT and s["decided_at"] == 0 and s["at"] < arrivals and train.tick[s["at"]] <= until:
        # All potentials are still the same; from its first spike on a readout has a decision.
        s["decided_at"] = train.tick[s["at"]]
    while s["exited"] == 0 and s["at"] < arrivals and train.tick[s["at"]] <= until:
        at = s["at"]
        tick = train.tick[at]
        go_on_to(layer, state, tally, (tick - 1) // c.resolution)
        if s["checked"] == 0 and read_few(layer, state, train, tally, until):
            continue
        stop = end_of_tick(train.tick, at)
        if not fits(layer, state, train, at, stop):
            return np.int64(Status.WIDEN)
        if stop - at > FEW or not deliver_few(layer, state.d, train, tally.operations, s["step"], at, stop):
            deliver(layer, state.d, scratch, train, tally.operations, s["step"], at, stop)
        if s["checked"] and out_of_range(state.d, layer.threshold, c.padded, s["park"]):
            return np.int64(Status.OVERFLOW)
        s["at"] = stop
        if c.role == Role.OUTPUT:
            decide(s, state.d, c.channels, c.padded, tick, c.exit_kind, c.exit_limit)
    if s["exited"] == 0:
        go_on_to(layer, state, tally, (until - 1) // c.resolution)
    return np.int64(Status.DONE)


@part
def go_on_to(layer, state, tally, step):
    """Go on to a step (int64), unless it is an earlier one, and note the potentials at the end of those before it."""
    s = state.progress[()]
    if step > s["step"]:
        note_readout(state.d, layer.constants.channels, layer.constants.padded, tally.readout, s["step"], step)
        s["step"] = step


@inner
def read_few(layer, state, train, tally, until):
    """Deliver ticks with few spikes, of one projection and of int8 weights; returns whether there were some.

    It may stop within a tick (whose decision is then still to be made), for a bound that has to be found anew or another projection.

    Parameters
    ----------
    layer, state, train, tally, until
        As for :func:`advance`.
    """
    c, s, d = layer.constants, state.progress[()], state.d
    of = layer.projections[projection_of(train, s["at"])]
    if of["sparse"] or of["wide"]:
        return False
    first = counted = at = s["at"]
    arrivals, decides, few = len(train.tick), c.role == Role.OUTPUT, min(FEW, of["gather_from"] - 1)
    end = min(arrivals, at + (s["limit"] - s["bound"]) // max(1, of["largest"]))
    quick = decides and c.exit_kind == Exit.NONE and len(d) == c.padded
    # From here on, where all spikes reach all neurons, a loop of its own does it.
    alone = quick and len(d) == LANES and of["gather_from"] == FOREVER and reaches_all(layer.records, of)
    projection = projection_of(train, at)
    step_end = (s["step"] + 1) * c.resolution
    while at < end:
        tick = simd.peek(train.tick, at)
        if tick > until or (at + few < arrivals and simd.peek(train.tick, at + few) == tick) or projection_of(train, at) != projection:
            break
        if tick > step_end:
            note_read(layer.records, layer.effective, of, train.neuron, tally.operations, s["step"], counted, at)
            counted = at
            go_on_to(layer, state, tally, (tick - 1) // c.resolution)
            step_end = (s["step"] + 1) * c.resolution
        if alone:
            at += lead(layer, d, of, train, at, end, min(until, step_end), s["decision"])
            tick = simd.peek(train.tick, at - 1)
        else:
            deliver_one(layer, d, of, train, at)
            at += 1
        # Whether the tick is over is hard to predict, so it is asked only where it matters.
        if decides and not (quick and still_leads(d, c.channels, s["decision"])) and (at == arrivals or simd.peek(train.tick, at) != tick):
            decide(s, d, c.channels, c.padded, tick, c.exit_kind, c.exit_limit)
            if s["exited"]:
                break
    s["at"] = at
    s["bound"] += (at - first) * of["largest"]
    note_read(layer.records, layer.effective, of, train.neuron, tally.operations, s["step"], counted, at)
    return at > first


@part
def deliver_few(layer, d, train, operations, step, at, stop):
    """Deliver the spikes at..stop-1 of a tick, if all are of int8 stencils; returns whether they are.

    (Beside a bias clock, say, where spikes are of several projections: :func:`deliver` takes longer to call than to deliver one.)
    """
    for f in range(at, stop):
        of = layer.projections[train.projection[f] if len(train.projection) else 0]
        if of["sparse"] or of["wide"] or stop - at >= of["gather_from"]:
            return False
    for f in range(at, stop):
        of = layer.projections[train.projection[f] if len(train.projection) else 0]
        deliver_one(layer, d, of, train, f)
        neuron = np.int64(simd.peek(train.neuron, f))
        record = layer.records[of["records"] + divided(neuron, of["source_channels"], of["source_shift"])]
        nonzero = np.int64(layer.effective[of["nonzero"] + neuron]) if of["nonzero"] >= 0 else record["synapses"]
        note_operations(operations[of["number"], step], 1, record["synapses"], record["additions"], record["toolbox"], nonzero)
    return True


@part
def deliver_one(layer, d, of, train, at):
    """Deliver spike ``at`` of a train through the stencil ``of`` (PROJECTION) of int8 weights."""
    neuron = np.int64(simd.peek(train.neuron, at))
    location = divided(neuron, of["source_channels"], of["source_shift"])
    record = simd.peek(layer.records, of["records"] + location)
    w = of["weights"] + (neuron - location * of["source_channels"]) * of["channel_step"] + record["tap"]
    positive = len(train.sign) == 0 or simd.peek(train.sign, at) > 0
    scatter_columns(d, layer.w8, w, record, of, positive)


@part
def projection_of(train, at):
    """Of which projection the spike ``at`` of a train is."""
    return np.int64(simd.peek(train.projection, at)) if len(train.projection) else np.int64(0)


@part
def reaches_all(records, of):
    """Whether there are neurons in one location, of LANES lanes, and all source locations of a projection reach it."""
    for location in range(of["locations"]):
        record = simd.peek(records, of["records"] + location)
        if record["rows"] != 1 or record["columns"] != 1 or record["run"] != LANES:
            return False
    return True


@part
def lead(layer, d, of, train, at, end, last, best):
    """Deliver the spikes at..end of a projection that reaches all, up to tick ``last``, as long as ``best`` leads; returns how many."""
    if layer.constants.channels <= LANES // 2:
        return simd.lead_16(d, layer.constants.channels, layer.w8, of, layer.records, train, at, end, last, best)
    return simd.lead_32(d, layer.constants.channels, layer.w8, of, layer.records, train, at, end, last, best)


@inner
def note_read(records, effective, of, neurons, operations, step, first, last):
    """Count the operations of the spikes first..last-1 of a train, all of a step, through the stencil ``of`` (PROJECTION)."""
    synapses = additions = toolbox = nonzero = np.int64(0)
    if of["locations"] == 1:
        record, n = records[of["records"]], last - first
        synapses, additions, toolbox = n * record["synapses"], n * record["additions"], n * record["toolbox"]
    else:
        for f in range(first, last):
            location = divided(np.int64(simd.peek(neurons, f)), of["source_channels"], of["source_shift"])
            record = records[of["records"] + location]
            synapses += record["synapses"]
            additions += record["additions"]
            toolbox += record["toolbox"]
    if of["nonzero"] < 0:
        nonzero = synapses
    else:
        for f in range(first, last):
            nonzero += simd.peek(effective, of["nonzero"] + np.int64(simd.peek(neurons, f)))
    note_operations(operations[of["number"], step], last - first, synapses, additions, toolbox, nonzero)


@part
def still_leads(d, channels, best):
    """Whether no other of the first ``channels`` potentials is as large as that of ``best``: the usual case, and quickly told."""
    reach = np.int64(0)
    for first in range(0, channels, LANES):
        inside = np.uint32((np.int64(1) << min(channels - first, LANES)) - 1)
        reach += simd.count(simd.reaching(d, first, d[best]) & inside)
    return reach == 1


@part
def decide_here(progress, d, channels, padded, tick, exit_kind, limit):
    """Note the decision at the end of a tick and apply the exit rule.

    Parameters
    ----------
    progress : PROGRESS
        ``decision``, ``decided_at`` and ``exited`` are set.
    d : int16, int32 or int64 array
        The potentials.
    channels, padded : int64
        Of a location, without and with the lanes that stand for no neuron.
    tick : int64
    exit_kind, limit : int64
        As in :class:`Constants`.
    """
    best = number = 0
    top = second = np.int64(-FOREVER)
    begin = 0
    if exit_kind == Exit.NONE:
        if len(d) == padded and still_leads(d, channels, progress["decision"]):
            return
        if len(d) == LANES:
            best, begin = simd.leader(d, channels), len(d)
    for start in range(begin, len(d), padded):
        for lane in range(start, start + channels):
            value = np.int64(d[lane])
            if value > top:
                second, top, best = top, value, number
            else:
                second = max(second, value)
            number += 1
    if best != progress["decision"]:
        progress["decision"] = best
        progress["decided_at"] = tick
    if (exit_kind == Exit.POTENTIAL and top >= limit) or (exit_kind == Exit.MARGIN and top - second >= limit):
        progress["exited"] = tick


@inner
def decide(progress, d, channels, padded, tick, exit_kind, limit):
    """:func:`decide_here`, called: within a loop that has its potentials in registers it would be in the way."""
    decide_here(progress, d, channels, padded, tick, exit_kind, limit)


@part
def note_readout(d, channels, padded, rows, first, last):
    """Copy the potentials ``d`` into the rows first..last-1, of a step each: int64 (steps, neurons); else as :func:`decide_here`."""
    for step in range(first, last):
        number = 0
        for start in range(0, len(d), padded):
            for lane in range(start, start + channels):
                rows[step, number] = d[lane]
                number += 1
