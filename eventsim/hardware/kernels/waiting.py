"""Compiled code of messages that wait at cores: sorted as they arrive, and served."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.kernels.compiled import typed_part
from eventsim.kernels.records import record

_ONE = np.uint64(1)

# What is counted: messages, neurons updated; end: when the last message is served, -1 if times do not fit keys; deciding: when the last is
# that had a part in the decision.
TOTALS = record("messages updates end deciding")


class Room(NamedTuple):
    """Room for the messages of a step, by core and then as they are served.

    Attributes
    ----------
    key : int64 (2, messages)
        When each arrives, ``time << bits | synapses << 1 | part``; ``part`` is 1 if it had a part in the decision, and ``bits`` see
        :func:`eventsim.hardware.times.key_of`. Messages are sorted from row to row.
    runs : int64 (messages + 1,)
    filled : int64 (cores,)
        Up to where a core's messages are.
    """

    key: Any
    runs: Any
    filled: Any


def room_for(cores: int, messages: int) -> Room:
    """Room for so many messages."""
    return Room(np.empty((2, messages), np.int64), np.empty(messages + 1, np.int64), np.zeros(cores, np.int64))


class Found(NamedTuple):
    """What is found of cores and messages.

    Attributes
    ----------
    totals : TOTALS ()
    waits : int64 (messages,)
    busy : int64 (cores, 2)
        What serving took, and what updating and sending.
    served, reads : int64 (cores,)
        Messages, and how many times a core served.
    sent : int64 (lists,)
        Spikes that sent each list of messages (Tables.begin).
    steps : int64 (steps,)
        Until the last core has sent and served everything.
    """

    totals: Any
    waits: Any
    busy: Any
    served: Any
    reads: Any
    sent: Any
    steps: Any


@typed_part
def fill_from(room, counts):
    """Where each core's messages go: one core after the other."""
    at = 0
    for core in range(len(counts)):
        room.filled[core] = at
        at += counts[core]


@typed_part
def merge(key, out, first, middle, end, time):
    """Merge two sorted runs, first..middle-1 and middle..end-1, into another array; of equals those of the first run come first.

    ``time`` are the bits of a key that say when. From both ends at once, as two chains that do not wait for each other; without branches,
    since which comes next cannot be foreseen. Indices have no sign, so that none can count from the end.
    """
    i, j, k = np.uint64(first), np.uint64(middle), np.uint64(first)
    p, q, last = np.uint64(middle - 1), np.uint64(end - 1), np.uint64(end - 1)
    while i < p and j < q:
        a, b, c, d = key[i], key[j], key[p], key[q]
        right, left = b < (a & time), d < (c & time)
        out[k] = b if right else a
        out[last] = c if left else d
        i, j, k = i + np.uint64(not right), j + np.uint64(right), k + _ONE
        p, q, last = p - np.uint64(left), q - np.uint64(not left), last - _ONE
    p += _ONE
    q += _ONE
    while i < p and j < q:
        a, b = key[i], key[j]
        right = b < (a & time)
        out[k] = b if right else a
        i, j, k = i + np.uint64(not right), j + np.uint64(right), k + _ONE
    while i < p:
        out[k] = key[i]
        i, k = i + _ONE, k + _ONE
    while j < q:
        out[k] = key[j]
        j, k = j + _ONE, k + _ONE


@typed_part
def sort_run(key, runs, first, end, time):
    """Sort messages first..end-1 of row 0 by their times; equal ones stay in their order. Returns the row in which they are sorted.

    Those from one core are sorted already: such runs are merged, two at a time. ``time`` as of :func:`merge`.
    """
    begun, before = _ONE, key[0, np.uint64(first)] & time
    runs[0] = first
    # Without a branch: where a run ends cannot be foreseen.
    for i in range(np.uint64(first + 1), np.uint64(end)):
        runs[begun] = i
        begun += np.uint64(key[0, i] < before)
        before = key[0, i] & time
    n = np.int64(begun)
    side = 0
    while n > 1:
        kept = 0
        for i in range(0, n, 2):
            middle = runs[i + 1] if i + 1 < n else end
            after = runs[i + 2] if i + 2 < n else end
            merge(key[side], key[1 - side], runs[i], middle, after, time)
            runs[kept] = runs[i]
            kept += 1
        n, side = kept, 1 - side
    return side


@typed_part
def serve_all(costs, room, counts, output, found, done):
    """Have every core serve its messages: one after the other as they come, or all that wait at once.

    Parameters
    ----------
    costs : record ()
        ``bits``, ``together``; ``message_in`` and ``synapse`` of event cores, ``reading`` of crossbars.
    room : Room
        Filled: the messages of a core end at ``room.filled[core]``.
    counts : int64 (cores,)
        Messages of each core.
    output : uint8 (cores,)
    found : Found
    done : int64
        Messages that were served before: their waits are there.
    """
    totals = found.totals[()]
    bits, together, reading = costs[()]["bits"], costs[()]["together"], costs[()]["reading"]
    message_in, synapse = costs[()]["message_in"], costs[()]["synapse"]
    rest = (1 << bits) - 1
    latest, deciding = totals["end"], totals["deciding"]
    for core in range(len(counts)):
        end = room.filled[core]
        i = end - counts[core]
        if i == end:
            continue
        key = room.key[sort_run(room.key, room.runs, i, end, ~rest)]
        free, work, decides = 0, 0, output[core]
        if not together:
            found.reads[core] += counts[core]
            further = np.uint64(done - i)
            done += end - i
            for k in range(np.uint64(i), np.uint64(end)):
                # A maximum with 0 is computed without a branch; whether a message waits cannot be foreseen.
                time, service = key[k] >> bits, message_in + ((key[k] & rest) >> 1) * synapse
                wait = max(free - time, 0)
                free = time + wait + service
                work += service
                found.waits[k + further] = wait
                if decides and key[k] & 1:
                    deciding = max(deciding, free)
            i = end
        while i < end:
            start = max(key[i] >> bits, free)
            last = i + 1
            while last < end and key[last] >> bits <= start:
                last += 1
            free = start + reading
            work += free - start
            found.reads[core] += 1
            for k in range(i, last):
                found.waits[done] = start - (key[k] >> bits)
                done += 1
                if decides and key[k] & 1:
                    deciding = max(deciding, free)
            i = last
        found.busy[core, 0] += work
        found.served[core] += counts[core]
        latest = max(latest, free)
    totals["messages"] = done
    totals["end"], totals["deciding"] = latest, deciding
