"""Converters of crossbars: what they make of sums, against a plain loop and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from judges import crossbar
from judges.architectures import architecture
from judges.random_networks import pick, random_case

import eventsim as es
from eventsim.errors import HardwareError
from eventsim.hardware.imperfect import Imperfect
from eventsim.job.preparation import prepare

CHIP = """
name = "crossbars"
[chip]
columns = {columns}
rows = 10
cores_per_tile = 2
step_us = 1
[core]
kind = "crossbar"
rows = {rows}
columns = {width}
converter_levels = {levels}
"""


def chip(levels, rows=8, width=16, more="", columns=40, **placed):
    return architecture(CHIP.format(columns=columns, rows=rows, width=width, levels=levels) + more, **placed)


def summing(n, weights=1):
    """n sources that are all added by one readout."""
    net = es.Network()
    net.source("in", n)
    net.readout("output", 1)
    net.connect("in", "output", np.full((n, 1), 1) * np.asarray(weights).reshape(-1, 1))
    return net


def test_by_hand():
    """Five levels for eight rows of weight 1 lie at -8, -4, 0, 4, 8."""
    net = summing(12)
    hardware = es.Hardware(chip(5))
    # Rows 0..7 lie on one crossbar, 8..11 on another. In one tick: 5 of the first are nearest to 4, 2 of the second halfway to 4.
    given = {"in": ([1.0] * 7, [0, 1, 2, 3, 4, 8, 9])}
    clocked, report = hardware.run(net, given, steps=1, resolution=1)
    assert clocked.readout.tolist() == [[4 + 4]]
    assert report.counts["read"] == 2
    # One after the other each is read alone, and nearest to 0.
    given = {"in": (np.arange(1, 8) / 10, [0, 1, 2, 3, 4, 8, 9])}
    alone, _ = hardware.run(net, given, steps=1, resolution=10)
    assert alone.readout.tolist() == [[0]]
    # Converters that tell apart no more than a row need two levels.
    fine = es.Hardware(chip(2, more="converter_rows = 1"))
    assert fine.run(net, given, steps=1, resolution=10)[0].readout.tolist() == [[7]]
    # All of a step at once are clipped.
    assert fine.run(net, given, steps=1, resolution=1)[0].readout.tolist() == [[2]]


LEVELS = [
    (3, 5, 8, 4),
    (2, 5, 8, 4),
    (-2, 5, 8, 0),
    (1, 5, 8, 0),
    (9, 5, 8, 8),
    (-100, 5, 8, -8),
    (0, 2, 8, 8),
    (-1, 2, 8, -8),
    (1, 4, 10, 3),
    (-5, 4, 10, -3),
]


@pytest.mark.parametrize(("total", "levels", "full", "expected"), LEVELS)
def test_levels(total, levels, full, expected):
    """Of four levels from -10 to 10 the inner ones are at -3.33 and 3.33."""
    assert crossbar.converted(total, levels, full) == expected
    net = summing(1, full)
    net.source("more", 1)
    net.connect("more", "output", [[total]])
    hardware = es.Hardware(chip(levels, more="converter_rows = 1"))
    if abs(total) > full:
        return
    result, _ = hardware.run(net, {"in": ([], []), "more": ([1.0], [0])}, steps=1, resolution=1)
    assert result.readout.tolist() == [[expected]]


@pytest.mark.parametrize("resolution", [1, 3])
def test_against_a_plain_loop(resolution):
    """Kernels that are split, delays, signed neurons, several spikes of a source at once, ties, offsets."""
    done = changed = 0
    for i in range(60):
        rng = np.random.default_rng([31, resolution, i])
        case = random_case(rng, resolution)
        populations = case.network.populations.values()
        if case.exit_rule is not None or any(p.kind == "maximum" for p in populations) or sum(p.size for p in populations) > 150:
            continue
        more = f"cells_per_weight = {rng.integers(1, 3)}\ncolumns_per_converter = {rng.integers(1, 4)}\n"
        more += pick(rng, "", "converter_rows = 3\n") + pick(rng, "", "converter_offset = 0.7\nconverter_seed = 5\n")
        arch = chip(int(rng.integers(2, 12)), int(rng.integers(3, 30)), int(rng.integers(4, 40)), more)
        hardware = es.Hardware(arch)
        job = prepare(case.network, case.inputs, steps=min(case.steps, 4), resolution=resolution, exit_rule=None, seed=case.seed)
        settings = {"steps": job.steps, "resolution": resolution, "seed": case.seed}
        fired, potentials = crossbar.Crossbars(hardware.place(case.network)).run(job)
        found = Imperfect(case.network, arch).run(case.inputs, **settings)
        for name in found.recorded:
            spikes = found.spikes(name)
            assert list(zip(*(column.tolist() for column in spikes), strict=True)) == fired[name], (i, name)
        for name, readout in found.counts.readout.items():
            assert readout[-1].tolist() == potentials[name].tolist(), (i, name)
        ordinary = es.run(case.network, case.inputs, **settings)
        changed += ordinary.total_spikes != found.total_spikes
        done += 1
    assert done >= 10
    assert changed > 5


def test_the_ordinary_run_without_converters():
    """Loss, delays and sums that are exact: the same spikes, whatever the resolution."""
    for i in range(12):
        case = random_case(np.random.default_rng([37, i]), 4)
        settings = {"steps": case.steps, "resolution": 4, "seed": case.seed, "max_spikes": 2000}
        expected, found = es.run(case.network, case.inputs, **settings), Imperfect(case.network).run(case.inputs, **settings)
        for name in expected.recorded:
            assert all(np.array_equal(a, b) for a, b in zip(expected.spikes(name), found.spikes(name), strict=True)), (i, name)


def test_offsets_are_drawn_as_often_as_there_are_converters():
    """Two columns share a converter, and its offset; the spread is what the file says, in weights."""
    net = es.Network()
    net.source("in", 1)
    net.readout("output", 600)
    net.connect("in", "output", np.full((1, 600), 100))
    more = "converter_rows = 8\ncolumns_per_converter = 2\nconverter_offset = 0.5\n"
    readouts = []
    for seed in (1, 1, 2):
        hardware = es.Hardware(chip(4001, 1, 600, more + f"converter_seed = {seed}"))
        readouts.append(hardware.run(net, {"in": ([1.0], [0])}, steps=1, resolution=1)[0].readout[0])
    assert np.array_equal(readouts[0], readouts[1])
    assert not np.array_equal(readouts[0], readouts[2])
    offsets = readouts[0].reshape(300, 2) - 100
    assert np.array_equal(offsets[:, 0], offsets[:, 1])
    assert len(np.unique(offsets[:, 0])) > 50
    assert offsets[:, 0].std() == pytest.approx(50, rel=0.15)
    assert offsets.mean() == pytest.approx(0, abs=10)


def test_what_is_wrong():
    with pytest.raises(HardwareError, match="have no effect without converter_levels"):
        architecture((CHIP.replace("converter_levels = {levels}", "converter_rows = 2")).format(columns=2, rows=2, width=2))
    with pytest.raises(HardwareError, match=r"converter_levels must be a whole number in 2\.\.4,096, found 1"):
        chip(1)
    with pytest.raises(HardwareError, match="has no setting 'engine'"):
        es.Hardware(chip(3)).run(summing(2), {"in": ([], [])}, steps=1, engine="queue")
