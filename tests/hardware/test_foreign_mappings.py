"""Networks that lie on the chip as a file says, by hand: populations spread unevenly, several on a core, fan-in split over crossbars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from judges.architectures import random_architecture
from judges.chip import Chip
from judges.closed import ClosedRun, sorted_spikes
from judges.engines import assert_same
from judges.random_networks import random_case

import eventsim as es
from eventsim.errors import HardwareError, PotentialOverflow
from eventsim.hardware.architecture import Cost
from eventsim.hardware.faults import Faults
from eventsim.hardware.imperfect import new_machine, run_machine
from eventsim.hardware.placement import place
from eventsim.simulate import Simulator


def by_hand(rng, network, chip):
    """The chip with all populations where the file puts them: in parts, on any cores; those of event cores share a few of them."""
    smaller = replace(chip, core=replace(chip.core, neurons=int(rng.integers(1, chip.core.neurons + 1))))
    blocks = place(network, smaller).blocks
    cores, shared = rng.permutation(chip.chip.cores).tolist(), chip.core.kind == "event"
    shares = {name: [block.end - block.first for block in each] for name, each in blocks.items()}
    placed = {}
    for name, each in blocks.items():
        n = sum(len(block.cores) for block in each)
        placed[name] = rng.permutation(cores[: n + 2])[:n].tolist() if shared else [cores.pop() for _ in range(n)]
    core = replace(chip.core, neurons=10**4) if shared else chip.core
    return replace(chip, core=core, placed=placed, shares=shares)


def in_short(chip):
    """Steps of 40 ps, and 2 ps instead of a nanosecond: what the chip takes is much of a step."""

    def shorter(part):
        costs = {key: Cost(value.time // 500) for key, value in vars(part).items() if isinstance(value, Cost)}
        return replace(part, **costs)

    core = shorter(chip.core)
    if core.kind == "crossbar":
        core = replace(core, read=core.read // 500, conversion=core.conversion // 500)
    return replace(chip, chip=replace(chip.chip, step=40), links=shorter(chip.links), core=core)


def cases(seed, n, resolution):
    """Random networks on chips by hand, for those that fit: their cases, hardware, and settings of runs."""
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        chip = random_architecture(rng)
        case = random_case(rng, resolution)
        try:
            hardware = es.Hardware(by_hand(rng, case.network, chip))
            yield rng, case, hardware, {"steps": min(case.steps, 4), "seed": case.seed, "max_spikes": 400}
        except (HardwareError, PotentialOverflow):
            continue


def test_without_barriers_it_is_what_the_definitions_say():
    done = {"event": 0, "crossbar": 0}
    waited = split = 0
    for _, case, hardware, settings in cases(70, 60, 40):
        chip = hardware.architecture.chip
        if chip.synchronisation == "barrier" or any(p.kind == "maximum" for p in case.network.populations.values()):
            continue
        hardware = es.Hardware(in_short(hardware.architecture))
        found, report = hardware.run(case.network, case.inputs, closed=True, **settings)
        if found.stopped:
            continue
        placement = hardware.place(case.network)
        job = Simulator(case.network).prepare(case.inputs, steps=settings["steps"], resolution=40, seed=case.seed)
        expected = ClosedRun(placement, job)
        assert (found.decision, found.counts.decision_tick) == expected.decision
        assert sorted(report.waits.tolist()) == sorted(expected.waits)
        for name, population in case.network.populations.items():
            if population.fires:
                spikes = found.spikes(name)
                assert np.array_equal(np.stack([spikes.ticks, spikes.neurons, spikes.signs]), sorted_spikes(expected, name)), name
            if population.reads_out:
                assert found.counts.readout[name][-1].tolist() == expected.v[name]
        done[hardware.architecture.core.kind] += 1
        waited += sum(expected.waits) > 0
        split += any(len(block.cores) > 1 for blocks in placement.blocks.values() for block in blocks)
    assert min(done.values()) > 3
    assert waited > 3
    assert split > 2


def test_behind_barriers_they_are_the_same_with_a_queue_of_events_and_without():
    """Room for a billion messages never ends, and is simulated event by event; the judge has the clocked run, too."""
    judged = stopped = 0
    for i, (_, case, hardware, settings) in enumerate(cases(71, 60, 1)):
        chip = hardware.architecture
        if chip.chip.synchronisation != "barrier":
            continue
        rule = case.exit_rule
        ends = {} if rule is None else {f"exit_{rule.kind}": rule.threshold}
        faults = Faults(lost=0.2, jitter=1.5) if i % 3 == 0 else None
        runs = []
        for queue in (0, 10**9):
            simulator, other = Simulator(case.network), replace(chip, core=replace(chip.core, queue=queue))
            try:
                machine = new_machine(place(case.network, other), faults, 3)
                runs.append(run_machine(simulator, machine, case.inputs, 1, settings | ends))
            except (HardwareError, PotentialOverflow):
                continue  # a cycle with less delay than the chip needs
        if len(runs) < 2:
            assert not runs
            continue
        (found, report), (expected, events) = runs
        assert_same(expected.counts, found.counts)
        for name in expected.recorded:
            assert all(np.array_equal(a, b) for a, b in zip(expected.spikes(name), found.spikes(name), strict=True)), name
        assert (report.duration, report.decision, report.counts) == (events.duration, events.decision, events.counts)
        assert sorted(report.waits.tolist()) == sorted(events.waits.tolist())
        for array in ("steps", "busy", "served", "links"):
            assert np.array_equal(getattr(report, array), getattr(events, array)), array
        stopped += bool(found.counts.exited or found.stopped)
        if faults is None and not (found.counts.exited or found.stopped):
            duration, decision, counts, waits, times = Chip(place(case.network, chip)).replay(found)
            assert (report.duration, report.decision, report.steps.tolist()) == (duration, decision, times)
            assert {unit: n for unit, n in report.counts.items() if n} == {unit: n for unit, n in counts.items() if n}
            assert sorted(report.waits.tolist()) == waits
            judged += 1
    assert judged > 4
    assert stopped > 1
