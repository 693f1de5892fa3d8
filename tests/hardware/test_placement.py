"""Which neurons lie where, how full cores are, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from judges.architectures import architecture
from scipy.sparse import csr_array

import eventsim as es
from eventsim.errors import HardwareError
from eventsim.hardware.placement import place

EVENT = 'name = "e"\n[chip]\ncolumns = {columns}\nrows = 1\nstep_us = 1\n[core]\nkind = "event"\nneurons = {neurons}\n'
CROSSBAR = 'name = "x"\n[chip]\ncolumns = 20\nrows = 1\nstep_us = 1\n[core]\nkind = "crossbar"\nrows = {rows}\ncolumns = {columns}\n'


def chain(first=10, second=6):
    net = es.Network()
    net.source("input", first)
    net.readout("output", second)
    net.connect("input", "output", np.ones((first, second), int))
    return net


def runs(placement, name):
    return [(block.first, block.end, block.cores) for block in placement.blocks[name]]


def test_populations_have_cores_of_their_own():
    placement = place(chain(), architecture(EVENT.format(columns=8, neurons=4)))
    assert runs(placement, "input") == [(0, 4, (0,)), (4, 8, (1,)), (8, 10, (2,))]
    assert runs(placement, "output") == [(0, 4, (3,)), (4, 6, (4,))]
    used = placement.utilisation()
    assert (used["cores"], used["of_cores"], used["tiles"]) == (5, 8, 5)
    output = used["populations"][1]
    assert output == {
        "population": "output", "cores": 2, "first_core": 3, "neurons": 6, "neurons_share": 0.75, "inputs": 10, "synapses": 60,
        "synapses_share": None,
    }  # fmt: skip


def test_where_the_file_puts_them():
    placement = place(chain(), architecture(EVENT.format(columns=8, neurons=10), input=[7], output=[1, 7]))
    assert runs(placement, "input") == [(0, 10, (7,))]
    with pytest.raises(HardwareError, match="core 7 would need 16 neurons, and has 10"):
        place(chain(), architecture(EVENT.format(columns=8, neurons=10), input=[7], output=[7]))
    placement = place(chain(), architecture(EVENT.format(columns=8, neurons=16), input=[7], output=[7]))
    assert placement.cores == [7]
    # What the file does not place keeps off its cores.
    assert runs(place(chain(), architecture(EVENT.format(columns=8, neurons=10), output=[0])), "input") == [(0, 10, (1,))]


def test_how_many_neurons_the_file_puts_on_a_core():
    chip = EVENT.format(columns=8, neurons=10) + '[[placement]]\npopulation = "input"\ncores = [6, 2, 3]\nneurons = {neurons}'
    assert runs(place(chain(), architecture(chip.format(neurons=[2, 3, 5]))), "input") == [(0, 2, (6,)), (2, 5, (2,)), (5, 10, (3,))]
    with pytest.raises(HardwareError, match="'input': has 10 neurons, and 8 are placed"):
        place(chain(), architecture(chip.format(neurons=[2, 3, 3])))
    # What a core has no room for is not put elsewhere.
    for neurons, room in ([2, 3, 5], "neurons = 4"), ([2, 3, 5], "neurons = 10\nsynapses = 12"):
        net = chain()
        net.spiking("beside", 10, threshold=1)
        net.connect("input", "beside", np.eye(10, dtype=int) + 1)
        text = chip.format(neurons=neurons).replace('"input"', '"beside"').replace("neurons = 10", room, 1)
        with pytest.raises(HardwareError, match=r"'beside': [25] neurons with 10 inputs through [25]0 synapses .* room for "):
            place(net, architecture(text))
    with pytest.raises(HardwareError, match="'input': its neurons take 2 cores, and it names 3"):
        place(chain(), architecture(chip.format(neurons=[4, 6])))


def test_how_many_neurons_the_file_puts_on_crossbars():
    """Ten inputs take three crossbars of four rows: so does each number of neurons."""
    text = CROSSBAR.format(rows=4, columns=4) + '[[placement]]\npopulation = "output"\ncores = [9, 8, 7, 3, 4, 5]\nneurons = [2, 4]'
    placement = place(chain(10, 6), architecture(text))
    assert runs(placement, "output") == [(0, 2, (9, 8, 7)), (2, 6, (3, 4, 5))]
    # The first two of them are full, whoever else is to lie there; the third has two rows left.
    also = '\n[[placement]]\npopulation = "beside"\ncores = [{core}]'
    net = chain(10, 6)
    net.spiking("beside", 1, threshold=1)
    net.connect("input", "beside", csr_array([[1], [1]] + [[0]] * 8))
    text = text.replace("neurons = [2, 4]", "neurons = [2, 4]" + also)
    assert place(net, architecture(text.format(core=7))).cores
    with pytest.raises(HardwareError, match="core 8 would need 6 rows, and has 4"):
        place(net, architecture(text.format(core=8)))


def test_cores_are_filled_as_far_as_axons_and_synapses_go():
    """A convolution over a line of 12 with a kernel of 3: n neighbours have n + 2 inputs, at the ends one less."""
    net = es.Network()
    net.source("input", (1, 12, 1))
    net.spiking("line", (1, 12, 1), threshold=1)
    net.connect("input", "line", es.Conv2d(np.ones((1, 3, 1, 1), int), padding=(0, 1)))
    chip = EVENT.format(columns=30, neurons=8)
    assert [b.end for b in place(net, architecture(chip + "axons = 6")).blocks["line"]] == [5, 9, 12]
    assert [b.needs for b in place(net, architecture(chip + "axons = 6")).blocks["line"]] == [(6, 14), (6, 12), (4, 8)]
    assert [b.end for b in place(net, architecture(chip + "synapses = 10")).blocks["line"]] == [3, 6, 9, 12]
    with pytest.raises(HardwareError, match="line: neuron 0 has 2 inputs through 2 synapses, and a core of e has room for 1 axons"):
        place(net, architecture(chip + "axons = 1"))


def test_what_needs_more_rows_is_spread_over_crossbars():
    placement = place(chain(10, 6), architecture(CROSSBAR.format(rows=4, columns=4) + "cells_per_weight = 2"))
    # Two neurons to four columns; ten inputs to three times four rows.
    assert runs(placement, "output") == [(0, 2, (5, 6, 7)), (2, 4, (8, 9, 10)), (4, 6, (11, 12, 13))]
    _, report = es.Hardware(placement.architecture).run(placement.network, {"input": ([0.5] * 3, [0, 4, 9])}, steps=1)
    assert report.counts["message"] == 9
    assert dict(zip(report.cores, report.served.tolist(), strict=True)) == dict.fromkeys(range(5), 0) | dict.fromkeys(range(5, 14), 1)


def test_what_does_not_fit_says_what_it_needs():
    with pytest.raises(HardwareError, match=r"needs 5 cores \(input 3, output 2\), and e has 4 \(4 x 1 tiles of 1\)"):
        place(chain(), architecture(EVENT.format(columns=4, neurons=4)))
    with pytest.raises(HardwareError, match="'output': needs 2 cores, has 1"):
        place(chain(), architecture(EVENT.format(columns=8, neurons=4), output=[3]))
    with pytest.raises(HardwareError, match="'hidden': the network has no such population"):
        place(chain(), architecture(EVENT.format(columns=8, neurons=4), hidden=[3]))


def test_biases_are_the_neurons_own():
    net = chain()
    net.bias("output", 3)
    placement = place(net, architecture(EVENT.format(columns=8, neurons=10)))
    assert list(placement.blocks) == ["input", "output"]
    assert placement.utilisation()["populations"][1]["inputs"] == 10
