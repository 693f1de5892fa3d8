"""Replays where the file puts several populations on a core, and where many cores send to one: against a chip in plain Python."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judges.architectures import architecture, random_architecture
from judges.chip import Chip
from judges.random_networks import random_case
from scipy.sparse import csr_array

import eventsim as es
from eventsim.errors import HardwareError, PotentialOverflow
from eventsim.hardware.architecture import Cost
from eventsim.hardware.placement import messages_of
from eventsim.hardware.tables import divider, tables_of
from eventsim.model.limits import MAX_NEURONS


def agree(hardware, network, result):
    """The number of messages, if a replay and the judge agree."""
    report = hardware.replay(network, result)
    duration, decision, counts, waits, times = Chip(hardware.place(network)).replay(result)
    assert (report.duration, report.decision) == (duration, decision)
    assert {unit: n for unit, n in report.counts.items() if n} == {unit: n for unit, n in counts.items() if n}
    assert np.sort(report.waits).tolist() == waits
    assert times is None or report.steps.tolist() == times
    return len(waits)


@pytest.mark.parametrize("resolution", [1, 5])
def test_populations_that_share_cores(resolution):
    messages = 0
    for i in range(30):
        rng = np.random.default_rng([50, resolution, i])
        case = random_case(rng, resolution)
        chip = random_architecture(rng, "event")
        cores = rng.permutation(chip.chip.cores)[:2].tolist()
        placed = {name: (cores[rng.integers(2)],) for name, p in case.network.populations.items() if not p.is_clock}
        core = replace(chip.core, neurons=10**4, update_when=("input", "potential")[i % 2])
        hardware = es.Hardware(replace(chip, core=core, placed=placed))
        try:
            result = es.run(
                case.network, case.inputs, steps=case.steps, resolution=resolution, seed=case.seed, max_spikes=1000, potentials="all"
            )
            messages += agree(hardware, case.network, result)
        except (HardwareError, PotentialOverflow):
            continue
    assert messages > 500


def test_potentials_are_asked_for():
    """One spike into two neurons, in the first of four steps: the one that it makes fire is updated once, the other in each step after."""
    text = 'name = "p"\n[chip]\ncolumns = 2\nrows = 1\nstep_us = 0\nsynchronisation = "barrier"\n[core]\nkind = "event"\nneurons = 4\n'
    hardware = es.Hardware(architecture(text + 'update_when = "potential"'))
    net = es.Network()
    net.source("input", 1)
    net.spiking("middle", 2, threshold=[1, 2])
    net.connect("input", "middle", [[1, 1]])
    given = {"input": ([0.5], [0])}
    _, report = hardware.run(net, given, steps=4, resolution=1)
    assert report.counts["neuron update"] == 1 + 4
    result = es.run(net, given, steps=4, resolution=1)
    assert es.Hardware(architecture(text)).replay(net, result).counts["neuron update"] == 2
    with pytest.raises(HardwareError, match="potentials of 'middle' were not recorded"):
        hardware.replay(net, result)
    with pytest.raises(HardwareError, match="leave out closed"):
        hardware.run(net, given, closed=True)


@pytest.mark.parametrize("barrier", [False, True])
def test_many_cores_that_send_to_one(barrier):
    """Messages of 1 to 30 cores come to each core; those that come together wait by the core that they come from."""
    rng = np.random.default_rng(51 + barrier)
    net = es.Network()
    net.driven("input", 60, threshold=rng.integers(1, 4, 60))
    net.spiking("middle", 30, threshold=3)
    net.readout("output", 9)
    net.connect("input", "middle", rng.integers(-1, 3, (60, 30)))
    net.connect("middle", "output", rng.choice([-1, 1], (30, 9)))
    net.connect("input", "output", rng.choice([-1, 1], (60, 9)))
    result = es.run(net, {"input": rng.integers(0, 6, 60)}, steps=6, resolution=1, potentials="all")
    for neurons in (2, 7, 30):
        chip = random_architecture(rng, "event")
        while (chip.chip.synchronisation == "barrier") != barrier:
            chip = random_architecture(rng, "event")
        assert agree(es.Hardware(replace(chip, core=replace(chip.core, neurons=neurons))), net, result) > 100


@pytest.mark.parametrize("update_when", ["input", "potential"])
def test_neurons_of_several_words(update_when):
    """Runs of neurons that begin and end anywhere among 64 that are kept in a word, and that are longer than one."""
    rng = np.random.default_rng(52)
    for size in (63, 64, 65, 200):
        net = es.Network()
        net.source("input", 12)
        net.spiking("middle", size, threshold=4)
        net.readout("output", 2)
        begins, ends = np.sort(rng.integers(0, size + 1, (2, 12)), 0)
        reached = (np.arange(size) >= begins[:, None]) & (np.arange(size) < ends[:, None])
        net.connect("input", "middle", csr_array(reached * rng.integers(-1, 5, (12, size))))
        net.connect("middle", "output", rng.choice([-1, 1], (size, 2)))
        given = {"input": (rng.uniform(0, 5, 40), rng.integers(0, 12, 40))}
        result = es.run(net, given, steps=5, resolution=1, potentials="all")
        chip = random_architecture(rng, "event")
        while chip.chip.synchronisation != "barrier":
            chip = random_architecture(rng, "event")
        core = replace(chip.core, neurons=size, access=Cost(7, 0), update=Cost(13, 0), update_when=update_when)
        assert agree(es.Hardware(replace(chip, core=core)), net, result) > 20


@pytest.mark.parametrize("holes", [0, 1, 6])
def test_neurons_that_get_input_channel_after_channel(holes):
    """A flat target of which each channel is reached as the others are; or nearly, where a synapse is missing."""
    rng = np.random.default_rng(53 + holes)
    periods = []
    for places, channels in ((3, 2), (65, 3), (4, 33), (70, 2)):
        net = es.Network()
        net.source("input", 12)
        net.source("other", 5)
        net.spiking("middle", channels * places, threshold=3)
        net.readout("output", 2)
        for name, size in (("input", 12), ("other", 5)):
            reached = np.tile(rng.random((size, places)) < 0.3, channels)
            for _ in range(holes):
                reached[tuple(rng.choice(np.argwhere(reached)))] = 0
            net.connect(name, "middle", csr_array(reached * rng.choice([-1, 1, 2, 3], reached.shape)))
        net.connect("middle", "output", rng.choice([-1, 1], (channels * places, 2)))
        given = {name: (rng.uniform(0, 5, 30), rng.integers(0, 5, 30)) for name in ("input", "other")}
        result = es.run(net, given, steps=5, resolution=1)
        chip = random_architecture(rng, "event")
        while chip.chip.synchronisation != "barrier":
            chip = random_architecture(rng, "event")
        core = replace(chip.core, neurons=places * 2 // 3 + 1, access=Cost(7, 0), update=Cost(13, 0))
        hardware = es.Hardware(replace(chip, core=core))
        assert agree(hardware, net, result) > 20
        placement = hardware.place(net)
        row = tables_of(placement, messages_of(placement)).populations[list(placement.blocks).index("middle")]
        periods.append((places, int(row["period"]), channels * places))
    assert all(period == (size if holes else places) for places, period, size in periods)


def test_division_by_multiplication():
    neurons = np.array([0, 1, 2, MAX_NEURONS - 1, MAX_NEURONS, *np.random.default_rng(0).integers(0, MAX_NEURONS, 2000)])
    for divisor in (1, 2, 3, 5, 7, 64, 100, 641, 4095, 65537, MAX_NEURONS - 1, MAX_NEURONS):
        factor, shift = divider(divisor)
        near = np.concatenate([neurons, neurons // divisor * divisor, np.maximum(neurons // divisor * divisor - 1, 0)])
        assert np.array_equal(near * factor >> shift, near // divisor)


@pytest.mark.parametrize("queue", ["", "queue = 1000\n"])
def test_a_decision_waits_for_what_goes_to_the_output_alone(queue):
    """Another population on the output's core is served for much longer."""
    net = es.Network()
    net.source("input", 1)
    net.readout("output", 2)
    net.readout("other", 100)
    net.connect("input", "output", [[1, 2]])
    net.connect("input", "other", np.ones((1, 100), int))
    text = f'name = "p"\n[chip]\ncolumns = 2\nrows = 1\nstep_us = 1000\n[core]\nkind = "event"\nneurons = 200\nsynapse_ns = 10\n{queue}'
    text += "".join(f'[[placement]]\npopulation = "{name}"\ncores = [1]\n' for name in ("output", "other"))
    hardware = es.Hardware(architecture(text))
    report = hardware.replay(net, es.run(net, {"input": ([0.5], [0])}, steps=2))
    assert report.decision == 500_000_000 + 2 * 10_000
    assert report.counts["message"] == 2


def test_potentials_that_leak_away_update_nobody():
    text = 'name = "p"\n[chip]\ncolumns = 3\nrows = 1\nstep_us = 0\nsynchronisation = "barrier"\n[core]\nkind = "event"\nneurons = 20\n'
    hardware = es.Hardware(architecture(text + 'update_when = "potential"'))
    net = es.Network()
    net.source("input", 1)
    for name, leak in (("at once", {"decay": 4096}), ("in two steps", {"leak": 2})):
        net.leaky(name, 10, threshold=9, **leak)
        net.connect("input", name, np.full((1, 10), 3))
    _, report = hardware.run(net, {"input": ([0.5], [0])}, steps=5, resolution=1)
    # In the step of the spike, and of the others in the one after it.
    assert report.counts["neuron update"] == 10 + 20
