"""Networks whose parts were exchanged after they had been put together: refused before compiled code sees them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import eventsim as es


def network():
    net = es.Network()
    net.image_input((2, 2, 1))
    net.driven("in", (2, 2, 1), 3, encoder=es.Conv2d(np.ones((1, 1, 1, 1), int)))
    net.spiking("mid", 3, 2)
    net.readout("out", 2)
    net.connect("in", "mid", np.ones((4, 3), int))
    net.connect("mid", "out", np.ones((3, 2), int))
    return net


def exchange(net, number, **change):
    net.projections[number] = dataclasses.replace(net.projections[number], **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda net: exchange(net, 0, table=es.Dense(np.ones((4, 500_000), int))), "in->mid: "),
        (lambda net: exchange(net, 1, table=es.Dense(np.ones((2, 2), int))), "mid->out: "),
        (lambda net: exchange(net, 1, target="nobody"), "no population 'nobody'"),
        (lambda net: exchange(net, 1, target="in"), "in is a driven population and takes no spikes"),
        (lambda net: exchange(net, 1, source="out"), "out is a readout and never fires"),
        (lambda net: exchange(net, 1, name="in->mid"), "more than one projection 'in->mid'"),
        (lambda net: exchange(net, 1, delay=float("nan")), "mid->out: delay must be a number of steps"),
        (lambda net: net.populations.update(mid=dataclasses.replace(net.populations["mid"], shape=(2,))), "in->mid: |mid: "),
        (lambda net: setattr(net, "input", None), "in: has an encoder, but the network declares no input"),
        (lambda net: net.populations.pop("out"), "out"),
    ],
)
def test_parts_that_do_not_fit_any_more(change, message):
    net = network()
    es.Simulator(net)
    change(net)
    with pytest.raises(es.NetworkError, match=message):
        es.Simulator(net)


def test_an_input_of_another_size():
    net, other = network(), es.Network()
    other.image_input((5, 5, 1))
    net.input = other.input
    with pytest.raises(es.NetworkError, match="in: "):
        es.Simulator(net)
