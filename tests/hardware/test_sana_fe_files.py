"""What is written for SANA-FE is what was run: its files, run in plain Python, and by itself where it is installed."""

from __future__ import annotations

import re

import numpy as np
import pytest
from judges import sana_fe
from judges.architectures import architecture, preset
from judges.plain_networks import CHIP, mlp, random_networks

import eventsim as es
from eventsim.errors import EventsimError, HardwareError


def written(hardware, network, inputs, steps, folder, seed=0):
    """A run and its report, and what its files give in plain Python: compared."""
    result, report = hardware.run(network, inputs, steps=steps, resolution=1, seed=seed)
    said = hardware.write_sana_fe(network, inputs, folder, steps=steps, seed=seed)
    found = sana_fe.run(folder, said.steps)
    for name in said.names:
        if network.populations[name].sends_spikes:
            assert window(found.spikes[said.names[name]], said.begins[name], steps) == spikes(result, name), name
    for name, readout in result.counts.readout.items():
        potentials = np.array(found.potentials[said.names[name]])[said.begins[name] - 1 :][:steps]
        # Until biases begin, they are counted from the first step on.
        kept = slice(late(network, name), None)
        assert np.array_equal(potentials[kept] * one_of(said, folder, name), readout[kept]), name
    return result, report, said, found


def one_of(said, folder, name):
    """What 1 is: neurons that begin at a potential count in 64ths."""
    text = (folder / "network.yaml").read_text(encoding="utf-8")
    return 64 if re.search(rf"- name: {said.names[name]}\b.*\n *attributes: {{soma_hw_name: integrate_from", text) else 1


def late(network, name):
    """When the last of a population's biases begins, in steps after the first."""
    clocks = [p.delay for p in network.projections if p.target == name and network.populations[p.source].is_clock]
    return int(max(clocks, default=0) + 0.5)


def window(found, begin, steps):
    """Of spikes (step, neuron), those of the run's own steps, counted from 1."""
    return sorted((step - begin + 1, n) for step, n in found if begin <= step < begin + steps)


def spikes(result, name):
    ticks, neurons, _ = result.spikes(name)
    return sorted(zip(ticks.tolist(), neurons.tolist(), strict=True))


@pytest.mark.parametrize("delay", [1.0, 0.0])
def test_random_networks(delay, tmp_path):
    """With a delay of a step everywhere, all is the same; else populations follow one another, and their own steps are."""
    compared = exact = refused = 0
    for i, case in random_networks(delay):
        try:
            _, report, said, found = written(
                es.Hardware(architecture(CHIP)), case.network, case.inputs, case.steps, tmp_path / str(i), case.seed
            )
        except EventsimError as error:
            refused += re.search("SANA-FE|a cycle", str(error)) is not None
            continue
        compared += 1
        if not delay:
            continue
        units = {"access": "neuron access", "spike": "spike", "synapse": "synapse"}
        units |= {} if any("same core" in each for each in said.losses) else {"message": "message"}
        units |= {} if any("updated" in each for each in said.losses) else {"update": "neuron update"}
        assert {unit: found.counts[key] for key, unit in units.items()} == {unit: report.counts[unit] for unit in units.values()}
        if len(units) == 5:
            exact += 1
            assert report.total_energy == pytest.approx(found.energy, rel=1e-9)
    assert compared + refused == len(list(random_networks(delay)))
    assert compared > (35 if delay else 15)
    assert not delay or exact > 7


def test_the_shipped_network(tmp_path):
    """Its biases begin when the spikes do: until then, its files have potentials that make up for them."""
    network, image = mlp()
    result, report, said, found = written(preset("loihi-fitted"), network, image, 6, tmp_path)
    assert result.decision == 7
    assert said.losses == []
    assert (found.counts["synapse"], found.counts["message"], found.counts["update"]) == tuple(
        report.counts[unit] for unit in ("synapse", "message", "neuron update")
    )
    assert report.total_energy == pytest.approx(found.energy, rel=1e-9)


def test_the_files_by_hand(tmp_path):
    net = es.Network()
    net.source("2nd in", 3)
    net.spiking("h.1", (1, 2, 2), threshold=[3, 4])
    net.spiking("h 1", 2, threshold=5, v0=2, reset="zero")
    net.readout("out", 1)
    net.connect("2nd in", "h.1", [[1, 2, 3, -4]] * 3, delay=1)
    net.connect("h.1", "h 1", es.Sparse([0, 1, 1, 2, 2], [0, 1], [6, -7], 2), delay=1)
    net.connect("h 1", "out", [[1], [2]], delay=1)
    net.bias("h.1", [0, 8])
    hardware = preset("loihi-fitted", **{"2nd in": [0], "h.1": [1], "h 1": [5, 127], "out": [127]})
    said = hardware.write_sana_fe(net, {"2nd in": ([0.5, 2.5], [1, 1])}, tmp_path, steps=4)
    assert (said.steps, set(said.begins.values())) == (4, {1})
    assert said.names == {"2nd in": "_2nd_in", "h.1": "h_1", "h 1": "h_1_2", "out": "out"}
    lines = [line.strip() for line in (tmp_path / "network.yaml").read_text().splitlines()]
    for line in (
        "- 0..0: {spikes: [0]}",
        "- 1..1: {spikes: [1, 0, 1]}",
        "attributes: {soma_hw_name: integrate, reset_mode: soft, log_spikes: true}",
        "- 0..0: {threshold: 3, bias: 0, force_update: true}",
        "- 1..1: {threshold: 4, bias: 8, force_update: true}",
        "attributes: {soma_hw_name: integrate_from, reset_mode: hard, log_spikes: true}",
        "- 0..1: {threshold: 0.0703125, bias: 0, potential: 0.03125}",  # 4.5 / 64 and 2 / 64
        "attributes: {soma_hw_name: integrate, reset_mode: hard, log_potential: true}",
        "- _2nd_in -> h_1: {type: dense, weight: [1, 2, 3, -4, 1, 2, 3, -4, 1, 2, 3, -4]}",
        "- h_1 -> h_1_2: {type: sparse, source_target_pairs: [[0, 0], [2, 1]], weight: [0.09375, -0.109375]}",
        "- h_1_2 -> out: {type: dense, weight: [1, 2]}",
        '- _2nd_in.2: {core: 0.0, soma: "given[2]"}',
        "- h_1.0..3: {core: 0.1}",
        "- h_1_2.0..1: {core: 4.1}",  # the second tile of the first row, below which are three others
        "- out.0..0: {core: 31.3}",
    ):
        assert line in lines, line
    text = (tmp_path / "architecture.yaml").read_text()
    for words in (
        "width: 8, height: 4,",
        "latency_sync: {1: 600000.0e-12, 2: 1000000.0e-12, 4: 1400000.0e-12, 29: 1800000.0e-12}",
        "name: tile[0..31]",
        "name: core[0..3]",
        "energy_north_hop: 4200000.0e-18",
        "latency_west_hop: 4100.0e-12",
        "energy_process_spike: 35500000.0e-18, latency_process_spike: 3800.0e-12",
        'name: "given[0..2]"',
    ):
        assert words in text, words


def small(**changes):
    """Two populations and a readout, and what is given of them."""
    net = es.Network()
    net.driven("a", 3, threshold=4)
    net.spiking("b", 3, **{"threshold": 4} | changes)
    net.readout("c", 2)
    net.connect("a", "b", np.ones((3, 3), int))
    net.connect("b", "c", np.ones((3, 2), int))
    return net


def skipping():
    net = small()
    net.connect("a", "c", np.ones((3, 2), int))
    return net


def with_maximum():
    net = es.Network()
    net.driven("a", (2, 2, 1), threshold=4)
    net.maximum("m", (1, 1, 1))
    net.connect("a", "m", es.Windows(2))
    return net


def doubly():
    net = es.Network()
    net.source("s", 1)
    net.readout("c", 1)
    net.connect("s", "c", [[1]])
    return net


@pytest.mark.parametrize(
    ("network", "inputs", "change", "words"),
    [
        (small(signed=True), {"a": [1, 1, 1]}, (), "b: SANA-FE has no signed neurons"),
        (small(refractory=2), {"a": [1, 1, 1]}, (), "b: SANA-FE has no neurons that integrate on in a refractory period"),
        (small(onset=2), {"a": [1, 1, 1]}, (), "b: SANA-FE has no neurons that do not fire before a given time"),
        (with_maximum(), {"a": [1] * 4}, (), "m: SANA-FE has no maximum populations"),
        (skipping(), {"a": [1, 1, 1]}, (), "a->c: SANA-FE's spikes are used in the next step, and these would be used 2 steps later"),
        (small(v0=5), {"a": [1, 1, 1]}, (), "b: SANA-FE's biases and initial potentials count from the first step on"),
        (doubly(), {"s": ([0.5, 0.7], [0, 0])}, (), "s: SANA-FE's neurons fire once a step, and one of 's' does so several times"),
        (
            small(),
            {"a": [1, 1, 1]},
            ('synchronisation = "barrier"', ""),
            "chip.toml cannot be written for SANA-FE: its chips work step by step",
        ),
        (small(), {"a": [1, 1, 1]}, ("east_west_ns = 4.1", "hold_ns = 1\neast_west_ns = 4.1"), "its links and queues are others"),
    ],
)
def test_what_sana_fe_has_not(network, inputs, change, words, tmp_path):
    changes = [change] if change else []
    if change and "synchronisation" in change[0]:
        changes = [("step_us = 0\nsynchronisation", "step_us = 1\nsynchronisation"), change, ("barrier_ns = { 1 = 600", "#")]
    with pytest.raises(HardwareError, match=re.escape(words)) as error:
        preset("loihi-fitted", *changes).write_sana_fe(network, inputs, tmp_path / "out", steps=4)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_crossbars_are_refused(tmp_path):
    with pytest.raises(HardwareError, match="one message after the other, and these are of kind 'crossbar'"):
        es.Hardware("xnor-sram").write_sana_fe(small(), {"a": [1, 1, 1]}, tmp_path, steps=4)


def test_what_the_files_do_not_say(tmp_path):
    hardware = preset("loihi-fitted", ("step_us = 0", "step_us = 1\nstatic_power_uw = 3"), ("[links]", "[links]\nwithin_tile_ns = 2"))
    net = small(v0=2)
    net.bias("c", [1, 1])
    losses = hardware.write_sana_fe(net, {"a": [1, 1, 1]}, tmp_path, steps=4).losses
    for words in ("static power", "least duration", "within a tile", "without input are not updated", "(of c)", "in the last 2 steps"):
        assert any(words in each for each in losses), words
    by_potential = preset("loihi-fitted", ("access_ns", 'update_when = "potential"\naccess_ns'))
    losses = by_potential.write_sana_fe(small(v0=2), {"a": [1, 1, 1]}, tmp_path, steps=4).losses
    assert [loss.rpartition(" ")[2] for loss in losses] == ["b)", "steps"]
