"""Compiled code that brings messages from link to link: XY routing, and who waits for room."""

from __future__ import annotations

from eventsim.hardware.kernels.entries import WEIGHTS, append, push, release, take
from eventsim.hardware.records import Kind
from eventsim.kernels.compiled import typed_inner, typed_part

_ARRIVES, _LINK = int(Kind.ARRIVES), int(Kind.LINK)


@typed_part
def direction_of(plan, state, m):
    """In which direction a message leaves the tile where it is (east, west, south, north), -1 if it is there."""
    c = plan.chip[()]
    of = state.items[m]
    tile = plan.core[of["message"]] // c["per_tile"]
    row = tile // c["mesh"]
    column = tile - row * c["mesh"]
    way = -1
    if of["column"] < column:
        way = 0
    elif of["column"] > column:
        way = 1
    elif of["row"] < row:
        way = 2
    elif of["row"] > row:
        way = 3
    return way


@typed_part
def next_server(plan, state, m):
    """Where a message goes next: a link of the tile where it is, or its core. Links that hold nothing are none."""
    c = plan.chip[()]
    of = state.items[m]
    way = direction_of(plan, state, m)
    if way < 0 or c["hold"] == 0:
        return 4 * c["tiles"] + plan.core[of["message"]]
    return 4 * (of["row"] * c["mesh"] + of["column"]) + way


@typed_part
def has_room(plan, state, server):
    """Whether a server has room for one more."""
    c = plan.chip[()]
    most = c["buffer"] if server < 4 * c["tiles"] else c["queue"]
    return most == 0 or state.servers[server]["room"] < most


@typed_part
def step_over(plan, state, m, way):
    """Move a message to the next tile; returns how long the hop takes."""
    c = plan.chip[()]
    s, of = state.progress[()], state.items[m]
    state.links[of["row"] * c["mesh"] + of["column"], way] += 1
    if way < 2:
        of["column"] += 1 - 2 * way
        s["across"] += 1
        return c["east_west"]
    of["row"] += 5 - 2 * way
    s["down"] += 1
    return c["north_south"]


@typed_part
def order_of(plan, state, m):
    """Rank of the population that a message goes to, 0 where it does not matter."""
    return plan.projections[state.items[m]["projection"]]["place"]


@typed_part
def lose(state, server, m):
    """A message finds no room."""
    state.servers[server]["dropped"] += 1
    release(state, m)


@typed_part
def go(plan, state, m, time):
    """A message leaves its source's core for a server at which it has a place, if places are kept."""
    c = plan.chip[()]
    s, of = state.progress[()], state.items[m]
    taken = 0
    way = direction_of(plan, state, m)
    if way < 0:
        s["within"] += 1
        taken = c["within"]
    elif c["hold"] == 0:
        while way >= 0:
            taken += step_over(plan, state, m, way)
            way = direction_of(plan, state, m)
    push(state, time + taken, order_of(plan, state, m), WEIGHTS, of["number"], _ARRIVES, m)


@typed_part
def wait_for(state, server, waiter):
    """A link, or a core that sends, waits until a server has room."""
    queue, of = state.servers[server], state.servers[waiter]
    of["waits"], of["next_waiter"] = 1, -1
    if queue["waiters"] < 0:
        queue["waiters"] = waiter
    else:
        state.servers[queue["last_waiter"]]["next_waiter"] = waiter
    queue["last_waiter"] = waiter


@typed_inner
def try_link(plan, state, link, time):
    """Have a link take the first message that waits, if it is free and the message has room behind it."""
    c = plan.chip[()]
    of = state.servers[link]
    if of["busy"] or of["waits"] or of["length"] == 0:
        return
    m = of["head"]
    way = link & 3
    message = state.items[m]
    column, row = message["column"], message["row"]
    taken = step_over(plan, state, m, way)
    following = next_server(plan, state, m)
    if not c["drop"]:
        if not has_room(plan, state, following):
            # Back to where it was.
            message["column"], message["row"] = column, row
            state.links[row * c["mesh"] + column, way] -= 1
            if way < 2:
                state.progress[()]["across"] -= 1
            else:
                state.progress[()]["down"] -= 1
            wait_for(state, following, link)
            return
        state.servers[following]["room"] += 1
    take(state, link)
    of["busy"] = 1
    of["work"] += c["hold"]
    of["messages"] += 1
    rank = order_of(plan, state, m)
    push(state, time + c["hold"], rank, WEIGHTS, message["number"], _LINK, link)
    push(state, time + taken, rank, WEIGHTS, message["number"], _ARRIVES, m)


@typed_part
def try_leave(plan, state, sender, time):
    """Have the messages that wait at a core leave it, one after the other, as long as there is room for them."""
    while state.servers[sender]["length"] > 0 and not state.servers[sender]["waits"]:
        m = state.servers[sender]["head"]
        server = next_server(plan, state, m)
        if not has_room(plan, state, server):
            wait_for(state, server, sender)
            return
        state.servers[server]["room"] += 1
        take(state, sender)
        go(plan, state, m, time)


@typed_part
def make_room(plan, state, server, time):
    """One message less at a server: those that wait for room there go on, in the order in which they came."""
    c = plan.chip[()]
    of = state.servers[server]
    of["room"] -= 1
    while of["waiters"] >= 0 and has_room(plan, state, server):
        waiter = of["waiters"]
        of["waiters"] = state.servers[waiter]["next_waiter"]
        state.servers[waiter]["waits"] = 0
        if waiter < 4 * c["tiles"]:
            try_link(plan, state, waiter, time)
        else:
            try_leave(plan, state, waiter, time)


@typed_part
def leave(plan, state, m, time):
    """A message wants to leave its core."""
    c = plan.chip[()]
    if c["drop"] or (c["buffer"] == 0 and c["queue"] == 0):
        go(plan, state, m, time)
        return
    # Of those that sent it: behind the cores that serve.
    sender = 4 * c["tiles"] + c["cores"] + sender_of(plan, state, m)
    append(state, sender, m)
    try_leave(plan, state, sender, time)


@typed_part
def sender_of(plan, state, m):
    """The core from which a message comes; it is still there."""
    return state.items[m]["arrived"]
