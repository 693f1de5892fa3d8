"""Compiled code of a replay: when messages leave, how far they go, and when cores have served them. Times are picoseconds, all int64.

Spikes and messages come in groups whose servers start idle: a core, or behind barriers a core in a step; ``group = step * cores + core``.
"""

from __future__ import annotations

import numpy as np

from eventsim.kernels.compiled import brief, compiled
from eventsim.kernels.records import record

# What everything takes: see :mod:`eventsim.hardware.architecture`.
#
# mesh, per_tile, cores: tiles in a row, cores of a tile, cores    barrier, together: 0 or 1
# reading: of a crossbar, with its conversions
COSTS = record(
    "mesh per_tile cores barrier east_west north_south within access update spike message_out message_in synapse together reading"
)
# Where the messages of a population's spikes are: its projections are out[first..end-1]; costly: 1 unless its spikes are given.
SENDER = record("first end costly")


@compiled
def gather(group, begins, order):
    """Indices by group, those of a group in the order in which they stand (a counting sort).

    Parameters
    ----------
    group : int64 array (n,)
    begins : int64 array (groups + 1,)
        Zeros; set: the indices of a group are ``order[begins[group] : begins[group + 1]]``.
    order : int64 array (n,)
        Set.
    """
    for i in range(len(group)):
        begins[group[i] + 1] += 1
    for g in range(1, len(begins)):
        begins[g] += begins[g - 1]
    # Each begin is moved up as its group fills, and put back afterwards.
    for i in range(len(group)):
        order[begins[group[i]]] = i
        begins[group[i]] += 1
    for g in range(len(begins) - 1, 0, -1):
        begins[g] = begins[g - 1]
    begins[0] = 0


@compiled
def sort_groups(begins, key, order, spare):
    """Sort the indices of every group by their keys; equal ones stay in their order. Runs that are sorted already are merged.

    Parameters
    ----------
    begins : int64 array (groups + 1,)
    key : int64 array (n,)
        By index.
    order, spare : int64 array (n,)
        ``order`` is sorted; ``spare`` is room.
    """
    for g in range(len(begins) - 1):
        first, last = begins[g], begins[g + 1]
        while True:
            # A pass over the group: every second run is merged with the one before it.
            runs, start = 0, first
            while start < last:
                middle = start + 1
                while middle < last and key[order[middle - 1]] <= key[order[middle]]:
                    middle += 1
                end = middle
                if middle < last:
                    end += 1
                    while end < last and key[order[end - 1]] <= key[order[end]]:
                        end += 1
                    i, j = start, middle
                    for k in range(start, end):
                        if j >= end or (i < middle and key[order[i]] <= key[order[j]]):
                            spare[k] = order[i]
                            i += 1
                        else:
                            spare[k] = order[j]
                            j += 1
                    for k in range(start, end):
                        order[k] = spare[k]
                start = end
                runs += 1
            if runs <= 1:
                break


@compiled
def count_messages(sender, neuron, senders, out, divisor, offset, begin):
    """How many messages spikes make.

    Parameters
    ----------
    sender, neuron : int32 or int64 array (spikes,)
        Number of the population, and the neuron in it.
    senders : SENDER array (populations,)
    out, divisor, offset, begin : int64 array
        Projections by source population, and :class:`eventsim.hardware.placement.Messages`.

    Returns
    -------
    int64
    """
    n = 0
    for i in range(len(sender)):
        of = senders[sender[i]]
        for j in range(of["first"], of["end"]):
            line = offset[out[j]] + neuron[i] // divisor[out[j]]
            n += begin[line + 1] - begin[line]
    return n


@compiled
def send(costs, spikes, senders, tables, messages, busy):
    """Have the cores send the messages of their spikes, one after the other.

    Without barriers a core takes spike after spike when it is free: the neuron's update, the spike, its messages. Behind barriers the
    updates of all neurons are in ``ready`` already, and what spikes and messages take comes on top of it.

    Parameters
    ----------
    costs : COSTS ()
    spikes : tuple of arrays (spikes,)
        sender, neuron, group (ascending), ready: picoseconds at which, or behind barriers after which part of its core's round, it fires.
    senders : SENDER array
    tables : tuple of int64 arrays
        out, divisor, offset, begin, core, synapses: see :func:`count_messages`.
    messages : tuple of int64 arrays (messages,)
        Set: spike, source core, target core, synapses, sent.
    busy : int64 array (groups,)
        Set: what spikes and messages took.
    """
    sender, neuron, group, ready = spikes
    out, divisor, offset, begin, core, synapses = tables
    of_spike, source, target, weights, sent = messages
    c = costs[()]
    n, free, before = 0, 0, -1
    for i in range(len(sender)):
        of, g = senders[sender[i]], group[i]
        if g != before:
            free, before = 0, g
        work = 0
        if of["costly"]:
            work = c["spike"] if c["barrier"] else c["update"] + c["spike"]
        start = ready[i] + free if c["barrier"] else max(ready[i], free)
        time = start + work
        for j in range(of["first"], of["end"]):
            line = offset[out[j]] + neuron[i] // divisor[out[j]]
            for m in range(begin[line], begin[line + 1]):
                time += c["message_out"]
                of_spike[n], source[n], target[n], weights[n], sent[n] = i, g % c["cores"], core[m], synapses[m], time
                n += 1
        busy[g] += time - start
        free = time - ready[i] if c["barrier"] else time


@compiled
def travel(costs, source, target, sent, arrived, links, hops):
    """Messages on free links: XY routing, east or west first.

    Parameters
    ----------
    costs : COSTS ()
    source, target, sent : int64 array (messages,)
        Cores, and when each leaves.
    arrived : int64 array (messages,)
        Set.
    links : int64 array (tiles, 4)
        Messages by tile and direction in which they leave it (east, west, south, north) are added.
    hops : int64 array (3,)
        East-west hops, north-south hops, and messages within a tile are added.
    """
    c = costs[()]
    for m in range(len(source)):
        first, last = source[m] // c["per_tile"], target[m] // c["per_tile"]
        row, last_row = first // c["mesh"], last // c["mesh"]
        column, last_column = first - row * c["mesh"], last - last_row * c["mesh"]
        if first == last:
            hops[2] += 1
            arrived[m] = sent[m] + c["within"]
            continue
        across, down = abs(last_column - column), abs(last_row - row)
        hops[0] += across
        hops[1] += down
        arrived[m] = sent[m] + across * c["east_west"] + down * c["north_south"]
        while column < last_column:
            links[row * c["mesh"] + column, 0] += 1
            column += 1
        while column > last_column:
            links[row * c["mesh"] + column, 1] += 1
            column -= 1
        while row < last_row:
            links[row * c["mesh"] + column, 2] += 1
            row += 1
        while row > last_row:
            links[row * c["mesh"] + column, 3] += 1
            row -= 1


@compiled
def serve(costs, order, group, arrived, weights, finished, wait, busy, reads):
    """Have every core serve its messages: one after the other as they come, or all that wait at once.

    Parameters
    ----------
    costs : COSTS ()
    order : int64 array (messages,)
        The messages by group, then in the order in which they arrive.
    group, arrived, weights : int64 array (messages,)
        Of the core that each goes to; synapses.
    finished, wait : int64 array (messages,)
        Set: when it has been served, and how long it waited before.
    busy, reads : int64 array (groups,)
        Added: what serving took, and how many times a core served.
    """
    c = costs[()]
    free, before, i, n = 0, -1, 0, len(order)
    while i < n:
        m = order[i]
        g = group[m]
        if g != before:
            free, before = 0, g
        start = max(arrived[m], free)
        taken = c["reading"] if c["together"] else c["message_in"] + weights[m] * c["synapse"]
        last = i + 1
        if c["together"]:
            while last < n and group[order[last]] == g and arrived[order[last]] <= start:
                last += 1
        free = start + taken
        for k in range(i, last):
            finished[order[k]] = free
            wait[order[k]] = start - arrived[order[k]]
        busy[g] += taken
        reads[g] += 1
        i = last


@compiled
def stamp(first, last, neuron, divisor, site_begin, start, stop, seen, mark, step):
    """Note which neurons get input in a step.

    Parameters
    ----------
    first, last : int64
        The spikes ``first..last-1`` of ``neuron`` arrive in it.
    neuron : int64 array
    divisor : int64
        Of the projection's reach.
    site_begin, start, stop : int64 array
        A site reaches the neurons of runs ``site_begin[site]..site_begin[site + 1] - 1``.
    seen : int64 array (sites,)
        The last step in which a site had a spike.
    mark : int32 array (neurons,)
        Set to the step.
    step : int64
    """
    for i in range(first, last):
        site = neuron[i] // divisor
        if seen[site] == step:
            continue
        seen[site] = step
        for run in range(site_begin[site], site_begin[site + 1]):
            for n in range(start[run], stop[run]):
                mark[n] = step


@brief
def count_marked(mark, first, end, step):
    """How many of the neurons first..end-1 have the mark of a step."""
    i, n = np.uint64(first), 0
    for k in range(np.uint64(end - first)):
        n += mark[i + k] == step
    return n


@compiled
def go_round(costs, blocks, mark, step, always, spikes, neuron, ready, rounds):
    """The round of every core of a population in a step: each neuron is accessed, those with input are updated.

    Parameters
    ----------
    costs : COSTS ()
    blocks : int64 array (blocks, 3)
        First neuron, end, and core.
    mark : int32 array (neurons,)
        See :func:`stamp`.
    step : int64
    always : bool
        Whether all are updated whatever arrives.
    spikes : (int64, int64)
        Spikes first..last-1 are of this step, neurons ascending.
    neuron, ready : int64 array (spikes,)
        ``ready`` is set: when the round has come to the spike's neuron and updated it.
    rounds : int64 array (cores,)
        Picoseconds of each core's round in this step so far; what this population takes is added.

    Returns
    -------
    int64
        Neurons updated.
    """
    c = costs[()]
    spike, last = spikes
    updated = 0
    for b in range(len(blocks)):
        core = blocks[b, 2]
        time, n = rounds[core], blocks[b, 0]
        # From neuron to neuron that fires.
        while n < blocks[b, 1]:
            stop = blocks[b, 1]
            if spike < last and neuron[spike] < stop:
                stop = neuron[spike]
            these = stop - n if always else count_marked(mark, n, stop, step)
            fires = stop < blocks[b, 1]
            these += fires
            time += (stop - n + fires) * c["access"] + these * c["update"]
            updated += these
            while fires and spike < last and neuron[spike] == stop:
                ready[spike] = time
                spike += 1
            n = stop + 1
        rounds[core] = time
    return updated
