"""Compiled code of a replay: when messages leave, and when cores have served them. Times are picoseconds, all integers int64.

Spikes and messages come in *groups* whose servers start idle: a core, or behind barriers a core in a step. Tables are those of
:mod:`eventsim.hardware.tables`; cores have their places there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.hardware.kernels.waiting import fill_from, serve_all
from eventsim.kernels.compiled import compiled, typed_part
from eventsim.kernels.vector import count

_ONE = np.uint64(1)


class Spikes(NamedTuple):
    """The spikes of a run.

    Attributes
    ----------
    neuron : int64 (spikes,)
        Of its population; in order of ``first``.
    ready : int64 (spikes,)
        Without barriers: when it fires.
    first, last : int64 (steps, blocks)
        The spikes of a block in a step of the network are ``first..last-1``; without barriers all of them are in one step.
    stage : int64 (populations,)
        By how many steps of the chip a population lags behind.
    decided : int
        When the decision was made, -1 without one.
    """

    neuron: Any
    ready: Any
    first: Any
    last: Any
    stage: Any
    decided: int


class Arrivals(NamedTuple):
    """Spikes as they come to their targets: of all populations, one after the other, by tick.

    Attributes
    ----------
    neuron : int64 (spikes,)
    bounds : int64 (projections, steps + 1)
        By projection (Tables.into): in a step of the network, ``bounds[step]..bounds[step + 1] - 1`` arrive.
    seen : int64 (sites,)
        Room, -1: the last step in which a site had a spike.
    marked : uint64
        Room, a bit for each unit (POPULATION.mark): whether it got input in a step, or is updated for another reason.
    before : int64
        Room: how many bits are set in the words before each one of ``marked``, those of its population.
    active : uint64 (steps, words)
        Where neurons are updated whose potential is not 0: which those are, as in ``marked``. Else without steps.
    """

    neuron: Any
    bounds: Any
    seen: Any
    marked: Any
    before: Any
    active: Any


@compiled
def spread(tables, bounds, neuron, tick, by_block, ready, first, last):
    """Sort the spikes of a run without barriers by block; those of a block stay in their order.

    Parameters
    ----------
    tables : Tables
    bounds : int64 (populations + 1,)
        Of a population: spikes ``bounds[p]..bounds[p + 1] - 1``.
    neuron, tick : int64 (spikes,)
        By population, and by time within it; ``tick`` in picoseconds.
    by_block, ready : int64 (spikes,)
        Set: the same, sorted.
    first, last : int64 (1, blocks)
        ``last`` is zero. Set: the spikes of a block.
    """
    for p in range(len(tables.populations)):
        at = tables.populations[p]["first"]
        for i in range(bounds[p], bounds[p + 1]):
            last[0, tables.block_of[at + neuron[i]]] += 1
    total = 0
    for b in range(len(tables.blocks)):
        first[0, b] = total
        total += last[0, b]
        last[0, b] = first[0, b]
    for p in range(len(tables.populations)):
        at = tables.populations[p]["first"]
        for i in range(bounds[p], bounds[p + 1]):
            b = tables.block_of[at + neuron[i]]
            by_block[last[0, b]] = neuron[i]
            ready[last[0, b]] = tick[i]
            last[0, b] += 1


@compiled
def divide(tables, bounds, neuron, first, last):
    """Find the spikes of every block in every step, where those of a population in a step are sorted by neuron.

    Parameters
    ----------
    tables : Tables
    bounds : int64 (2, steps, populations)
        First and end of the spikes of a population in a step.
    neuron : int64 (spikes,)
    first, last : int64 (steps, blocks)
        Set.
    """
    for step in range(bounds.shape[1]):
        for p in range(len(tables.populations)):
            i, end = bounds[0, step, p], bounds[1, step, p]
            for b in range(tables.populations[p]["block"], tables.populations[p]["end_block"]):
                first[step, b] = i
                while i < end and neuron[i] < tables.blocks[b]["end"]:
                    i += 1
                last[step, b] = i


@typed_part
def list_of(tables, send, neuron):
    """The list of messages that a spike of a neuron sends."""
    return tables.lists[np.uint64(send["base"] + (neuron * send["factor"] >> send["shift"]))]


@typed_part
def entries_of(tables, messages):
    """Where the messages of a list begin and end: unsigned, so that they are no indices from the end."""
    return np.uint64(tables.begin[np.uint64(messages)]), np.uint64(tables.begin[np.uint64(messages + 1)])


@compiled
def count_messages(tables, spikes, counts, sent):
    """Count the messages that spikes make. Neighbours that send the same ones are counted together.

    Parameters
    ----------
    tables : Tables
    spikes : Spikes
    counts : int64 (steps of the chip, cores)
        Messages by group are added.
    sent : int64 (lists,)
        See :class:`Found`; added.
    """
    for step in range(spikes.first.shape[0]):
        for b in range(len(tables.blocks)):
            block = tables.blocks[b]
            into = counts[step + spikes.stage[block["population"]]]
            first, last = spikes.first[step, b], spikes.last[step, b]
            if first == last:
                continue
            for s in range(block["send"], block["end_send"]):
                send = tables.sends[s]
                messages, i = list_of(tables, send, spikes.neuron[first]), first
                while i < last:
                    n, following = i, messages
                    while following == messages:
                        i += 1
                        if i == last:
                            break
                        following = list_of(tables, send, spikes.neuron[i])
                    sent[messages] += i - n
                    for e in range(*entries_of(tables, messages)):
                        into[np.uint64(tables.core[e])] += i - n
                    messages = following


@typed_part
def send_all(tables, room, b, neuron, time, part):
    """Send the messages of a spike of block ``b``, one after the other from ``time`` on; returns when the last has been sent.

    ``part`` is 1 if the spike came before the decision; those of its messages have a part in it that go to the output.
    """
    block, message_out, bits = tables.blocks[b], tables.costs[()]["message_out"], tables.costs[()]["bits"]
    for s in range(block["send"], block["end_send"]):
        decides = part & tables.sends[s]["decides"]
        for e in range(*entries_of(tables, list_of(tables, tables.sends[s], neuron))):
            time += message_out
            core = np.uint64(tables.core[e])
            at = np.uint64(room.filled[core])
            room.filled[core] = at + _ONE
            room.key[0, at] = (time << bits) + tables.key[e] + decides
    return time


@compiled
def replay_freely(tables, spikes, counts, cursor, output, room, found):
    """What a run takes on a chip without barriers: cores take spike after spike as they are ready, by population where two are at once.

    Parameters
    ----------
    tables : Tables
    spikes : Spikes
    counts : int64 (1, cores)
        See :func:`count_messages`.
    cursor : int64 (blocks,)
        Room: the spikes before it are sent. It begins as ``spikes.first[0]``.
    output : uint8 (cores,)
        Whether a core has neurons of the output.
    room : Room
    found : Found
        Zeros; set.
    """
    costs, latest = tables.costs[()], 0
    fill_from(room, counts[0])
    for core in range(len(tables.cores)):
        free, work = 0, 0
        while True:
            b, earliest = -1, 0
            for i in range(tables.on_core[core], tables.on_core[core + 1]):
                other = tables.by_core[i]
                if cursor[other] < spikes.last[0, other] and (b < 0 or spikes.ready[cursor[other]] < earliest):
                    b, earliest = other, spikes.ready[cursor[other]]
            if b < 0:
                break
            # Its spikes until one of another block may come first.
            alone = tables.on_core[core + 1] - tables.on_core[core] == 1
            last = spikes.last[0, b] if alone else cursor[b] + 1
            given = tables.populations[tables.blocks[b]["population"]]["given"]
            making = 0 if given else costs["update"] + costs["spike"]
            for i in range(cursor[b], last):
                start = max(spikes.ready[i], free)
                free = send_all(tables, room, b, spikes.neuron[i], start + making, spikes.ready[i] <= spikes.decided)
                work += free - start
                found.totals[()]["updates"] += 1 - given
            cursor[b] = last
        found.busy[core, 1] = work
        latest = max(latest, free)
    if latest > costs["latest"]:
        found.totals[()]["end"] = -1
        return
    serve_all(tables.costs, room, counts[0], output, found, 0)


@typed_part
def mark(tables, arrivals, p, step):
    """Find which neurons of a population are updated in a step whether they fire or not: ``Arrivals.marked`` and ``before``."""
    population, marked = tables.populations[p], arrivals.marked
    first, end = population["mark"], population["mark"] + (population["units"] >> 6) + 1
    for word in range(first, end):
        marked[word] = tables.biased[word]
    if len(arrivals.active):
        for word in range(first, end):
            marked[word] |= arrivals.active[step, word]
    for j in range(population["into"], population["end_into"]):
        into = tables.into[j]
        first_site, factor, shift = into["site"], into["factor"], into["shift"]
        for i in range(np.uint64(arrivals.bounds[j, step]), np.uint64(arrivals.bounds[j, step + 1])):
            site = np.uint64(first_site + (arrivals.neuron[i] * factor >> shift))
            if arrivals.seen[site] == step:
                continue
            arrivals.seen[site] = step
            for k in range(np.uint64(tables.site_begin[site]), np.uint64(tables.site_begin[site + _ONE])):
                marked[np.uint64(tables.word[k])] |= tables.mask[k]
    total = 0
    for word in range(first, end):
        arrivals.before[word] = total
        total += count(marked[word])


@typed_part
def unit_of(population, neuron):
    """The period of a population in which a neuron is, its unit there, and its place in that."""
    period = neuron * population["period_factor"] >> population["period_shift"]
    place = neuron - period * population["period"]
    unit = place * population["factor"] >> population["shift"]
    return period, unit, place - unit * population["unit"]


@typed_part
def is_marked(population, arrivals, neuron):
    """1 if a neuron is marked, else 0."""
    _, unit, _ = unit_of(population, neuron)
    return np.int64(arrivals.marked[np.uint64(population["mark"] + (unit >> 6))] >> np.uint64(unit & 63) & _ONE)


@typed_part
def units_before(population, arrivals, unit):
    """How many units of a period are marked before one."""
    word = np.uint64(population["mark"] + (unit >> 6))
    return arrivals.before[word] + count(arrivals.marked[word] & ((_ONE << np.uint64(unit & 63)) - _ONE))


@typed_part
def marked_before(population, arrivals, neuron):
    """How many neurons before one are marked."""
    period, unit, place = unit_of(population, neuron)
    units = period * units_before(population, arrivals, population["units"]) + units_before(population, arrivals, unit)
    return units * population["unit"] + (place * is_marked(population, arrivals, neuron) if place else 0)


@typed_part
def go_round(tables, spikes, arrivals, room, found, b, step, begun, sending):
    """A block in a core's round: each neuron is accessed; those with input, and those that fire, are updated; these send.

    Returns when the round is through it, if it began at ``begun``, and what the core's messages have taken so far, ``sending`` before.
    ``step`` is that of the network, -1 outside of the run.
    """
    costs, block = tables.costs[()], tables.blocks[b]
    population = tables.populations[block["population"]]
    first, size = block["first"], block["end"] - block["first"]
    if population["given"]:
        if step >= 0:
            for i in range(spikes.first[step, b], spikes.last[step, b]):
                ready = begun + sending
                sending += send_all(tables, room, b, spikes.neuron[i], ready, 0) - ready
        return begun, sending
    updated = 0
    if step >= 0:
        always, unmarked, before, ready = population["always"], 0, -1, 0
        outside = 0 if always else marked_before(population, arrivals, first)
        for i in range(spikes.first[step, b], spikes.last[step, b]):
            neuron = spikes.neuron[i]
            if neuron != before:
                so_far = neuron - first
                if not always:
                    so_far = marked_before(population, arrivals, neuron) - outside
                ready = begun + (neuron + 1 - first) * costs["access"] + (so_far + unmarked + 1) * costs["update"]
                if not always and not is_marked(population, arrivals, neuron):
                    unmarked += 1
                before = neuron
            sent = send_all(tables, room, b, neuron, ready + sending + costs["spike"], 0)
            sending = sent - ready
        updated = size if always else marked_before(population, arrivals, block["end"]) - outside + unmarked
        found.totals[()]["updates"] += updated
    return begun + size * costs["access"] + updated * costs["update"], sending


@compiled
def replay_steps(tables, spikes, arrivals, counts, output, room, found):
    """What a run takes on a chip whose cores wait for each other at the end of every step.

    Parameters
    ----------
    tables : Tables
    spikes : Spikes
    arrivals : Arrivals
    counts : int64 (steps of the chip, cores)
        See :func:`count_messages`.
    output : uint8 (cores,)
    room : Room
    found : Found
        Zeros; set.
    """
    steps = spikes.first.shape[0]
    for chip_step in range(len(found.steps)):
        for p in range(len(tables.populations)):
            step = chip_step - spikes.stage[p]
            if 0 <= step < steps and tables.populations[p]["units"]:
                mark(tables, arrivals, p, step)
        fill_from(room, counts[chip_step])
        longest = 0
        for core in range(len(tables.cores)):
            time, sending = 0, 0
            for i in range(tables.on_core[core], tables.on_core[core + 1]):
                b = tables.by_core[i]
                step = chip_step - spikes.stage[tables.blocks[b]["population"]]
                step = step if 0 <= step < steps else -1
                time, sending = go_round(tables, spikes, arrivals, room, found, b, step, time, sending)
            found.busy[core, 1] += time + sending
            longest = max(longest, time + sending)
        if longest > tables.costs[()]["latest"]:
            found.totals[()]["end"] = -1
            return
        found.totals[()]["end"] = 0
        serve_all(tables.costs, room, counts[chip_step], output, found, found.totals[()]["messages"])
        found.steps[chip_step] = max(longest, found.totals[()]["end"])


@compiled
def walk(tables, sent, flow, links, counts):
    """The ways that messages take: XY routing, east or west first.

    Parameters
    ----------
    tables : Tables
    sent : int64 (lists,)
        See :class:`Found`.
    flow : int64 (pairs,)
        Room, zeros: messages between two cores.
    links : int64 (tiles, 4)
        Messages by tile and direction in which they leave it (east, west, south, north) are added.
    counts : int64 (4,)
        East-west hops, north-south hops, messages within a tile, and synapses that messages bring are added.
    """
    mesh, per_tile = tables.costs[()]["mesh"], tables.costs[()]["per_tile"]
    for messages in range(len(sent)):
        n = sent[messages]
        if not n:
            continue
        for e in range(*entries_of(tables, messages)):
            flow[tables.entries[e]["pair"]] += n
            counts[3] += tables.entries[e]["synapses"] * n
    for i in range(len(flow)):
        n = flow[i]
        if not n:
            continue
        tile, last = tables.pairs[i]["source"] // per_tile, tables.pairs[i]["target"] // per_tile
        counts[2] += n if tile == last else 0
        across, down = last % mesh - tile % mesh, last // mesh - tile // mesh
        counts[0] += abs(across) * n
        counts[1] += abs(down) * n
        for _ in range(abs(across)):
            links[tile, 0 if across > 0 else 1] += n
            tile += 1 if across > 0 else -1
        for _ in range(abs(down)):
            links[tile, 2 if down > 0 else 3] += n
            tile += mesh if down > 0 else -mesh
