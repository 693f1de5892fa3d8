"""Maximum populations in the layered engine: both ways, in parts of a window, in full and in repeated ones, on several threads."""

from __future__ import annotations

import numpy as np
import pytest
from judges.engines import Spikes, assert_same, run_reference

import eventsim as es
from eventsim.engines.layered import state, trains, windows
from eventsim.engines.layered.ways import maximum
from eventsim.engines.registry import Engines
from eventsim.job.preparation import prepare
from eventsim.model.exits import ExitRule

WINDOWS = {
    "side by side": es.Windows(2),
    "overlapping, over the border": es.Windows(3, 2, (1, 1, 1, 0)),
    "of all": es.Windows((6, 5)),
    "with gaps": es.Windows((1, 2), 3),
}


def network(table: es.Windows, channels: int, *, signed: bool, seed: int = 0, clocked: bool = True) -> es.Network:
    """Driven neurons, a convolution, the maxima and minima of its neurons, another convolution, a readout."""
    rng = np.random.default_rng(seed)
    net = es.Network()
    net.driven("in", (6, 5, 3), 40)
    # Refractory periods of more than a tick are run spike by spike at one tick a step, too.
    net.spiking("conv", (6, 5, channels), 3, v0=rng.integers(-4, 4, channels), signed=signed, refractory=0 if clocked else 2)
    shape = table.output_shape((6, 5, channels))
    net.maximum("max", shape, largest=rng.integers(0, 2, channels), signed=signed)
    net.spiking("next", (*shape[:2], 32), 2)
    net.readout("out", 4)
    net.connect("in", "conv", es.Conv2d(rng.choice([-1, 1], (3, 3, 3, channels)), padding=1))
    net.connect("conv", "max", table)
    net.connect("max", "next", es.Conv2d(rng.choice([-1, 1], (1, 1, channels, 32))))
    net.connect("next", "out", rng.choice([-1, 1], (net.populations["next"].size, 4)))
    return net


def currents(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-20, 60, (6, 5, 3))


@pytest.mark.parametrize(("channels", "signed"), [(1, False), (1, True), (45, True), (64, False)])
@pytest.mark.parametrize("windows_of", WINDOWS)
def test_clocked_and_spike_by_spike(monkeypatch, windows_of, channels, signed):
    """Blocks of channels whole and not, both ways, several windows of time; the way that is meant runs it."""
    used = []
    for kind in (maximum.MaximumClocked, maximum.MaximumTrains):
        run = kind.run
        monkeypatch.setattr(kind, "run", lambda self, *args, run=run: used.append(type(self)) or run(self, *args))
    monkeypatch.setattr(windows, "RASTERS", 1)  # windows of one chunk
    fell = 0
    for resolution, clocked, dense in ((1, True, 0), (1, False, 0), (1, False, 2**40), (3, True, 2**40)):
        # No list, or each of them, is worth to be made a raster.
        monkeypatch.setattr(maximum, "DENSE", dense)
        net = network(WINDOWS[windows_of], channels, signed=signed, clocked=clocked)
        used.clear()
        job = prepare(net, {"in": currents()}, steps=40 if resolution == 1 else 9, resolution=resolution)
        counts = run_reference(job, expected := Spikes())
        assert_same(counts, Engines(net).run("layered", job, found := Spikes()))
        assert found.all() == expected.all()
        assert len(found.of("max")) >= 3
        raster = resolution == 1 and (clocked or dense > 0)
        assert set(used) == {maximum.MaximumClocked if raster else maximum.MaximumTrains}
        assert len(used) > 1 or resolution > 1
        fell += counts.negative_spikes[:, 2].sum()
    # (Of one channel, the maximum of all neurons need not fall.)
    assert (fell > 0) == signed or channels == 1


@pytest.mark.parametrize("resolution", [1, 16, 2**20])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rule", [None, ExitRule("margin", 12)])
def test_parts_full_windows_and_exits(monkeypatch, resolution, threads, rule):
    """A few cells at a time, less room than there are spikes, windows that are run again; spikes are given once, and runs can follow."""
    monkeypatch.setattr(maximum, "WORK", 64)
    monkeypatch.setattr(state, "CROWD", 64)
    monkeypatch.setattr(windows, "SHARED_SPIKES", 8)
    rooms = []
    grown = trains.grown
    monkeypatch.setattr(trains, "grown", lambda train, signed, room: rooms.append(room) or grown(train, signed, room))
    net = network(WINDOWS["overlapping, over the border"], 33, signed=True)
    engines = Engines(net)
    for seed in (0, 1, 0):
        job = prepare(net, {"in": currents(seed)}, steps=9, resolution=resolution, exit_rule=rule)
        counts = run_reference(job, expected := Spikes())
        assert counts.exited == (rule is not None)
        assert_same(counts, engines.run("layered", job, found := Spikes(), None, threads))
        assert found.all() == expected.all()
    # (From rasters, there are no lists to grow.)
    assert rooms or resolution == 1


def test_the_limit_of_spikes_within_a_window():
    """The tick at which there are too many is found among the spikes of maxima, too."""
    net = network(WINDOWS["side by side"], 8, signed=True)
    for resolution in (1, 64, 2**20):
        for limit in (0, 50, 300, 700):
            job = prepare(net, {"in": currents()}, steps=9, resolution=resolution, max_spikes=limit)
            counts = run_reference(job, expected := Spikes())
            assert counts.stopped == "max_spikes"
            assert_same(counts, Engines(net).run("layered", job, found := Spikes()))
            assert found.all() == expected.all()
