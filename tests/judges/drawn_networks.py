"""Networks that hypothesis draws and, where something is wrong, shrinks to readable ones."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import eventsim as es

PERIODS = st.sampled_from([0, 0, 0.25, 0.5, 1, 1.5, 2])


SMALL = st.integers(-3, 3)


@st.composite
def cases(draw, onsets=False):
    """A network of one driven population, one source, up to three spiking ones and perhaps a maximum, any edges, and its input.

    With ``onsets`` (which the layered engine does not run in all networks), neurons may have one.
    """
    net = es.Network()
    sizes = {"in": draw(st.integers(1, 3)), "src": draw(st.integers(1, 3))}
    net.driven("in", sizes["in"], draw(st.integers(1, 9)), v0=draw(SMALL), refractory=draw(PERIODS))
    net.source("src", sizes["src"])
    names = [f"n{i}" for i in range(draw(st.integers(1, 3)))]
    for name in names:
        sizes[name] = draw(st.integers(1, 4))
        signed = draw(st.booleans())
        net.spiking(
            name,
            sizes[name],
            draw(hnp.arrays(np.int64, sizes[name], elements=st.integers(1, 5))),
            v0=draw(SMALL),
            signed=signed,
            reset="subtract" if signed else draw(st.sampled_from(["subtract", "zero"])),
            refractory=draw(PERIODS),
            onset=draw(PERIODS) if onsets else 0,
        )
    targets = list(names)
    if draw(st.booleans()):
        # A row of neurons, and the maxima or minima of its windows.
        sizes["row"] = draw(st.integers(1, 5))
        signed = draw(st.booleans())
        net.spiking(
            "row",
            (1, sizes["row"], 1),
            draw(st.integers(1, 3)),
            v0=draw(SMALL),
            signed=signed,
            refractory=draw(PERIODS),
            onset=draw(PERIODS) if onsets else 0,
        )
        kernel = draw(st.integers(1, sizes["row"]))
        windows = es.Windows((1, kernel), (1, draw(st.integers(1, 3))), (0, draw(st.integers(0, kernel - 1)), 0, 0))
        net.maximum("max", windows.output_shape((1, sizes["row"], 1)), largest=draw(st.booleans()), signed=signed)
        sizes["max"] = net.populations["max"].size
        source = draw(st.sampled_from(["in", "src"]))
        net.connect(source, "row", draw(hnp.arrays(np.int8, (sizes[source], sizes["row"]), elements=SMALL)))
        net.connect("row", "max", windows, delay=draw(PERIODS))
        names.append("max")
    sizes["out"] = 2
    net.readout("out", 2)
    for _ in range(draw(st.integers(1, 6))):
        pre, post = draw(st.sampled_from(["in", "src", *names])), draw(st.sampled_from([*targets, "out"]))
        net.connect(pre, post, draw(hnp.arrays(np.int8, (sizes[pre], sizes[post]), elements=SMALL)), delay=draw(PERIODS))
    if draw(st.booleans()):
        net.bias(names[0], draw(hnp.arrays(np.int8, sizes[names[0]], elements=SMALL)))
    times = draw(st.lists(st.sampled_from([0, 0.3, 0.5, 1, 1.25, 2, 3.75]), max_size=8))
    neurons = draw(st.lists(st.integers(0, sizes["src"] - 1), min_size=len(times), max_size=len(times)))
    currents = draw(hnp.arrays(np.int64, sizes["in"], elements=st.integers(-5, 20)))
    return net, {"in": currents, "src": (times, np.array(neurons, np.int64))}
