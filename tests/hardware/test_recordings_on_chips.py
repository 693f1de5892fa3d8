"""Recordings on closed and imperfect hardware: where nothing is wrong and nothing takes time, the ordinary run."""

from __future__ import annotations

import numpy as np
import pytest
from judges.architectures import architecture
from judges.engines import assert_same

import eventsim as es
from eventsim.errors import HardwareError
from eventsim.hardware.faults import Faults
from eventsim.hardware.imperfect import Imperfect

TIMELESS = 'name = "timeless"\n[chip]\ncolumns = 40\nrows = 10\nstep_us = 0.00{step:04}\n{chip}\n[core]\nkind = "event"\nneurons = 9\n'


def case(polarity, seed=0):
    rng = np.random.default_rng(seed)
    net = es.Network()
    net.event_input("camera", (4, 5, 2 if polarity == "split" else 1), polarity=polarity, step_us=100)
    net.spiking("hidden", 12, threshold=3, signed=True)
    net.readout("out", 3)
    net.connect("camera", "hidden", rng.choice([-2, 2], (net.populations["camera"].size, 12)))
    net.connect("hidden", "out", rng.integers(-4, 5, (12, 3)), delay=0.5)
    net.bias("hidden", 1)
    events = np.zeros(160, [("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.int8)])
    events["x"], events["y"] = rng.integers(0, 5, 160), rng.integers(0, 4, 160)
    events["t"], events["p"] = np.sort(rng.integers(0, 800, 160)), rng.integers(0, 2, 160)
    return net, {"camera": events}


@pytest.mark.parametrize("polarity", ["split", "sign", "merge"])
@pytest.mark.parametrize("resolution", [1, 30])
def test_without_faults_it_is_the_ordinary_run(polarity, resolution):
    net, given = case(polarity)
    expected = es.run(net, given, steps=9, resolution=resolution)
    assert expected.spikes_per_population()["hidden"] > 20
    assert (expected.counts.negative_spikes.sum(0)[0] > 20) == (polarity == "sign")
    chip = architecture(TIMELESS.format(step=resolution, chip='synchronisation = "barrier"' if resolution == 1 else ""))
    for found in (
        Imperfect(net).run(given, steps=9, resolution=resolution),
        es.Hardware(chip).run(net, given, steps=9, closed=True)[0],
    ):
        assert_same(expected.counts, found.counts)
        for name in ("camera", "hidden"):
            assert all(np.array_equal(a, b) for a, b in zip(expected.spikes(name), found.spikes(name), strict=True)), name
    lost = Imperfect(net, faults=Faults(lost=1)).run(given, steps=9, resolution=resolution)
    assert lost.counts.deliveries[:, 0].sum() == 0
    assert lost.spikes_per_population()["camera"] == expected.spikes_per_population()["camera"]


def test_what_runs_on_none_is_named():
    net = es.Network()
    net.source("in", 2)
    net.leaky("cell", 2, threshold=3, decay=9)
    net.readout("out", 2)
    for source, target in (("in", "cell"), ("cell", "out")):
        net.connect(source, target, [[1, -1], [1, 1]])
    with pytest.raises(HardwareError, match="cell: leaky populations run on no closed or imperfect hardware; replays"):
        Imperfect(net)
