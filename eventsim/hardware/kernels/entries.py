"""Compiled code of the priority queue of what happens on a chip, of the lists in which messages wait, and of items.

Entries of one picosecond come in the order of the population that they concern, in topological order of the projections without delay; of
one population, first what brings weights (messages by the core that they come from, as they were sent), then looks at neurons
(ascending), then updates. So on a chip that takes no time every population gets all that arrives in a picosecond before one of its
neurons fires.
"""

from __future__ import annotations

from eventsim.hardware.records import Phase
from eventsim.kernels.compiled import typed_inner, typed_part

# An order: rank, phase, number; what an entry is about: its kind, and a number.
WEIGHTS, LOOKS, UPDATES = int(Phase.WEIGHTS), int(Phase.LOOKS), int(Phase.UPDATES)
_PHASE, _RANK, KIND_BITS = 44, 46, 48
# A number of a message: core, and what it has sent. The last one is after all of them.
CORE_BITS, LAST = 26, (1 << 44) - 1


@typed_inner
def push(state, time, rank, phase, number, kind, item):
    """Queue what happens at a time."""
    s = state.progress[()]
    order = (rank << _RANK) | (phase << _PHASE) | number
    place = s["heap"]
    while place > 0:
        parent = (place - 1) >> 2
        if state.heap_time[parent] < time or (state.heap_time[parent] == time and state.heap_order[parent] <= order):
            break
        state.heap_time[place] = state.heap_time[parent]
        state.heap_order[place] = state.heap_order[parent]
        state.heap_item[place] = state.heap_item[parent]
        place = parent
    state.heap_time[place] = time
    state.heap_order[place] = order
    state.heap_item[place] = (kind << KIND_BITS) | item
    s["heap"] += 1


@typed_inner
def pop(state):
    """Take what comes first off the queue; it must have been read."""
    s = state.progress[()]
    s["heap"] -= 1
    size = s["heap"]
    time, order, item = state.heap_time[size], state.heap_order[size], state.heap_item[size]
    place = 0
    while True:
        child = 4 * place + 1
        if child >= size:
            break
        least = child
        for other in range(child + 1, min(child + 4, size)):
            if state.heap_time[other] < state.heap_time[least] or (
                state.heap_time[other] == state.heap_time[least] and state.heap_order[other] < state.heap_order[least]
            ):
                least = other
        if time < state.heap_time[least] or (time == state.heap_time[least] and order <= state.heap_order[least]):
            break
        state.heap_time[place] = state.heap_time[least]
        state.heap_order[place] = state.heap_order[least]
        state.heap_item[place] = state.heap_item[least]
        place = least
    state.heap_time[place] = time
    state.heap_order[place] = order
    state.heap_item[place] = item


@typed_part
def new_item(state):
    """An item that is not in use."""
    s = state.progress[()]
    s["free"] -= 1
    return state.free[s["free"]]


@typed_part
def release(state, m):
    """An item is not in use any more."""
    s = state.progress[()]
    state.free[s["free"]] = m
    s["free"] += 1


@typed_part
def append(state, server, m):
    """Put an item behind those that wait at a server."""
    queue = state.servers[server]
    state.items[m]["next"] = -1
    if queue["length"] == 0:
        queue["head"] = m
    else:
        state.items[queue["tail"]]["next"] = m
    queue["tail"] = m
    queue["length"] += 1


@typed_part
def take(state, server):
    """The first item that waits at a server, taken off."""
    queue = state.servers[server]
    m = queue["head"]
    queue["head"] = state.items[m]["next"]
    queue["length"] -= 1
    return m
