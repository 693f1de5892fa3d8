"""Settings and inputs that a network cannot take."""

from __future__ import annotations

import re

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


@pytest.mark.parametrize("resolution", [1, 10, 2**20])
def test_events_at_the_end_are_within_it(resolution):
    """Their times are rounded as those of others are: 0.1 * 3 * 10 is 3 and a hair, and is the last tick of three steps."""
    at = 0.1 * 3 * 10
    assert at > 3
    for steps in (3, 4):
        (train,) = prepare(votes([1], [1], [1]), {"src": ([at, 1e300], [0, 0])}, steps=steps, resolution=resolution).events.values()
        assert train[0].tolist() == [3 * resolution]


def test_what_has_rows_of_different_lengths():
    net = driven_and_readout()
    with pytest.raises(InputError, match=r"currents must be integers of shape .*, found rows of different lengths"):
        prepare(net, {"in": [[1, 2], [3]]}, steps=1)
    with pytest.raises(NetworkError, match=r"thresholds must be .*, found rows of different lengths"):
        net.spiking("n", 3, [[1, 2], [3]])
    pictures, cameras = Network(), Network()
    pictures.image_input((2, 2, 1))
    pictures.driven("d", 1, 5, encoder=Dense(np.ones((4, 1), int)))
    with pytest.raises(InputError, match="rows of different lengths, expected an image"):
        prepare(pictures, [[1, 2], [3]], steps=1)
    cameras.event_input("camera", (2, 2, 2))
    for recording in (5, "x", None):
        with pytest.raises(InputError, match="recording"):
            prepare(cameras, {"camera": recording}, steps=1)


@pytest.mark.parametrize("resolution", [1, 3, 1000, 2**20])
def test_what_the_advice_on_cycles_says_works(resolution):
    def looped(delay):
        net = Network()
        for name in ("a", "b"):
            net.spiking(name, 1, 1)
        net.connect("a", "b", [[1]])
        net.connect("b", "a", [[1]], delay=delay)
        return net

    with pytest.raises(NetworkError, match="form a cycle") as caught:
        prepare(looped(0), None, steps=1, resolution=resolution)
    prepare(looped(float(re.search(r"at least (\S+) steps", str(caught.value))[1])), None, steps=1, resolution=resolution)


def test_a_bias_that_is_refused_leaves_no_clock_behind():
    net = driven_and_readout()
    for _ in range(2):
        with pytest.raises(NetworkError, match="is a driven population and takes no spikes"):
            net.bias("in", 3)
    assert list(net.populations) == ["in", "out"]
