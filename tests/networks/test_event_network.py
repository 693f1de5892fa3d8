"""The shipped network of an event input: trained on simulated recordings, run on the samples of them."""

from __future__ import annotations

import numpy as np
import pytest
from repository import ROOT

import eventsim as es
from eventsim.data.recordings.reading import read_recording

NETWORK = ROOT / "networks" / "events" / "saccades-mnist.h5"


def sample(digit):
    path = ROOT / "datasets" / "recordings" / f"digit-{digit}.bin"
    with open(path, "rb") as stream:
        events = read_recording(stream, str(path)).events
    events["t"] -= events["t"][0]
    return events


@pytest.fixture(scope="module")
def simulator():
    return es.Simulator(es.load(NETWORK))


def test_hidden_weights_are_binary(simulator):
    tables = {p.name: p.table for p in simulator.network.projections}
    assert [name for name, table in tables.items() if table.magnitude is not None] == ["conv1->conv2", "conv2->dense"]


@pytest.mark.parametrize("digit", [1, 4, 7])
def test_it_tells_the_samples(simulator, digit):
    runs = [simulator.run({"camera": sample(digit)}, resolution=resolution, record="none") for resolution in (1, es.DEFAULT_RESOLUTION)]
    assert [run.label for run in runs] == [str(digit)] * 2
    # Signed neurons take back what came too early: in the end only how many events there were counts.
    assert np.array_equal(runs[0].readout[-1], runs[1].readout[-1])


@pytest.mark.parametrize("resolution", [1, es.DEFAULT_RESOLUTION])
def test_engines_agree(simulator, resolution):
    a, b = (simulator.run({"camera": sample(1)}, resolution=resolution, engine=engine, steps=60) for engine in ("queue", "layered"))
    assert a.total_spikes > 1000
    for name in ("camera", "conv1", "conv2", "dense"):
        for mine, other in zip(a.spikes(name), b.spikes(name), strict=True):
            assert np.array_equal(mine, other), name
    assert np.array_equal(a.readout, b.readout)
