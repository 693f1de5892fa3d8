"""Random networks of leaky neurons that hypothesis draws: every leak, reset and current, with cycles, delays and refractory periods."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import eventsim as es
from judges.drawn_networks import PERIODS

# Potentials of a few units, where rounding matters most, and of many.
UNITS = st.sampled_from([1, 1, 100, 70_000])
# Of which a few are more than 32 bits hold.
LARGE = st.just(150_000_000)
DECAYS = st.sampled_from([0, 1, 410, 1024, 2048, 3000, 4095, 4096])


def values(draw, size, low, high):
    """One number, or one a neuron."""
    number = st.integers(low, high)
    return draw(number) if draw(st.booleans()) else draw(hnp.arrays(np.int64, size, elements=number))


def leaks(draw, size, unit, current):
    """A leak of either kind, and with ``current`` the decay of a current."""
    decay = draw(DECAYS) if draw(st.booleans()) else draw(hnp.arrays(np.int64, size, elements=DECAYS))
    found = {"decay": decay} if draw(st.integers(0, 3)) else {"leak": values(draw, size, 0, 2 * unit)}
    return found | ({"current_decay": draw(DECAYS)} if current else {})


def add_leaky(draw, net, name, size, unit):
    """A population of leaky neurons."""
    reset = draw(st.sampled_from(["subtract", "subtract", "zero", "value"]))
    amount = {"subtract": st.none() | st.integers(1, 6 * unit), "zero": st.none(), "value": st.integers(-3 * unit, 0)}[reset]
    net.leaky(
        name,
        size,
        values(draw, size, 1, 5 * unit),
        v0=values(draw, size, -3 * unit, 8 * unit),
        reset=reset,
        amount=draw(amount),
        refractory=draw(PERIODS),
        **leaks(draw, size, unit, draw(st.booleans())),
    )


@st.composite
def leaky_cases(draw, units=UNITS):
    """A network of a source, up to three populations of leaky neurons and perhaps one of others, any edges, and its input."""
    net = es.Network()
    sizes, unit = {"src": draw(st.integers(1, 3))}, draw(units)
    weights = st.integers(-3, 3).map(lambda weight: weight * unit)
    net.source("src", sizes["src"])
    names = [f"n{i}" for i in range(draw(st.integers(1, 3)))]
    for name in names:
        sizes[name] = draw(st.integers(1, 4))
        add_leaky(draw, net, name, sizes[name], unit)
    if draw(st.booleans()):
        names.append("plain")
        sizes["plain"] = draw(st.integers(1, 3))
        net.spiking("plain", sizes["plain"], draw(st.integers(1, 3)) * unit, signed=draw(st.booleans()))
    for name in ("out", "other"):
        sizes[name] = 3
        net.leaky_readout(name, 3, v0=values(draw, 3, -2 * unit, 2 * unit), **leaks(draw, 3, unit, draw(st.booleans())))
    for _ in range(draw(st.integers(1, 7))):
        pre, post = draw(st.sampled_from(["src", *names])), draw(st.sampled_from([*names, "out", "other"]))
        table = draw(hnp.arrays(np.int64, (sizes[pre], sizes[post]), elements=weights))
        net.connect(pre, post, table, delay=draw(PERIODS))
    if draw(st.booleans()):
        net.bias(names[0], draw(hnp.arrays(np.int64, sizes[names[0]], elements=weights)))
    times = draw(st.lists(st.sampled_from([0, 0.3, 0.5, 1, 1.25, 2, 3.75, 4, 7]), max_size=12))
    neurons = draw(st.lists(st.integers(0, sizes["src"] - 1), min_size=len(times), max_size=len(times)))
    return net, {"src": (times, np.array(neurons, np.int64))}
