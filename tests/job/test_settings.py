"""Settings and inputs that a network cannot take."""

from __future__ import annotations

import numpy as np
import pytest
from judges.engines import INT32_MAX
from judges.small_networks import votes

from eventsim.errors import InputError, NetworkError, RunError
from eventsim.job.job import MAX_TICKS
from eventsim.job.preparation import prepare
from eventsim.model.exits import ExitRule
from eventsim.model.network import Network
from eventsim.model.tables import Dense
from eventsim.simulate import Simulator


def driven_and_readout():
    """The smallest network with everything that settings can be wrong about."""
    net = Network()
    net.driven("in", 1, 5)
    net.readout("out", 2, v0=[3, 1])
    net.connect("in", "out", Dense([[1, 0]]))
    return net


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": -1}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"steps": True}, "steps"),
        ({"steps": 10**6 + 1}, "steps"),
        ({"steps": 1, "resolution": 0}, "resolution"),
        ({"steps": 1, "resolution": MAX_TICKS + 1}, "resolution"),
        ({"steps": 2, "resolution": MAX_TICKS}, "ticks"),
        ({"steps": 1, "seed": -1}, "seed"),
        ({"steps": 1, "exit_rule": ExitRule("potential", 3)}, "before the first spike"),
        ({"steps": 1, "exit_rule": ExitRule("margin", 2)}, "before the first spike"),
        ({"steps": 1, "exit_rule": ExitRule("potential", 2.5)}, "whole number"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(RunError, match=message):
        prepare(driven_and_readout(), {"in": [1]}, **settings)


def test_settings_that_need_more_of_the_network():
    with pytest.raises(RunError, match="at least two"):
        prepare(votes([1]), {"src": ([], [])}, steps=1, exit_rule=ExitRule("margin", 1))
    net = Network()
    net.driven("in", 1, 1)
    with pytest.raises(RunError, match="output"):
        prepare(net, {"in": [1]}, steps=1, exit_rule=ExitRule("potential", 1))
    with pytest.raises(RunError, match="exceed 64 bits at resolution 1099511627776; lower it"):
        prepare(driven_and_readout(), {"in": [INT32_MAX]}, steps=2, resolution=2**40)
    prepare(driven_and_readout(), {"in": [1000]}, steps=100, resolution=2**29)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "no input"),
        ({"in": [1.5]}, "integers"),
        ({"in": [1, 2]}, "shape"),
        ({"in": [2**31]}, "32 bits"),
        ({"nobody": [1]}, "no such population"),
        ({"out": [1]}, "takes none"),
        (np.zeros((2, 2, 1), np.uint8), "no image"),
    ],
)
def test_inputs_that_the_network_cannot_take(inputs, message):
    with pytest.raises(InputError, match=message):
        prepare(driven_and_readout(), inputs, steps=1)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (([1, 2], [0]), "as many"),
        (([1], [3]), "neurons must be"),
        (([1], [-1]), "neurons must be"),
        (([-0.5], [0]), "from 0 on"),
        (([np.nan], [0]), "from 0 on"),
        (([1], [0.0]), "whole numbers"),
        (7, "pair"),
    ],
)
def test_events_that_a_source_cannot_emit(events, message):
    with pytest.raises(InputError, match=message):
        prepare(votes([1], [1], [1]), {"src": events}, steps=1)


def test_a_path_is_no_network_and_no_input(tmp_path):
    with pytest.raises(NetworkError, match=r"expected a network, found a str; eventsim\.load\(path\) reads one"):
        Simulator("net.h5")
    for path in ("digit.png", tmp_path):
        with pytest.raises(InputError, match=r"found a \w+, expected an image as an array of uint8"):
            prepare(driven_and_readout(), path, steps=1)
