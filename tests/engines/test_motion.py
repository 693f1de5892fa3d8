"""Coincidence detectors: leaky neurons behind delays tell in which direction something moves."""

from __future__ import annotations

import numpy as np
import pytest

import eventsim as es

WIDTH = 5


def detector(decay: int) -> es.Network:
    """Two neurons that see a row of receptors: what moves to the right at a receptor a step reaches the first all at once."""
    net = es.Network()
    net.source("eye", WIDTH)
    net.leaky("motion", 2, threshold=10 * WIDTH - 15, decay=decay)
    net.readout("answer", 2)
    for place in range(WIDTH):
        weights = np.zeros((WIDTH, 2), int)
        weights[place, 0] = 10
        net.connect("eye", "motion", weights, delay=WIDTH - 1 - place)
        net.connect("eye", "motion", weights[:, ::-1], delay=place)
    net.connect("motion", "answer", np.eye(2, dtype=int))
    return net


def moving(to_the_right: bool, speed: float):
    """Each receptor spikes once, as something passes it."""
    places = np.arange(WIDTH) if to_the_right else np.arange(WIDTH)[::-1]
    return {"eye": (1.0 + np.arange(WIDTH) / speed, places)}


@pytest.mark.parametrize("engine", ["reference", "queue"])
@pytest.mark.parametrize("resolution", [1, 100])
@pytest.mark.parametrize("to_the_right", [True, False])
def test_leaky_neurons_tell_right_from_left(engine, resolution, to_the_right):
    run = es.run(detector(decay=2048), moving(to_the_right, 1.0), steps=12, resolution=resolution, engine=engine)
    assert run.spikes("motion").neurons.tolist() == [0 if to_the_right else 1]
    assert run.decision == (0 if to_the_right else 1)


def test_without_a_leak_both_fire_whatever_moves():
    for to_the_right in (True, False):
        run = es.run(detector(decay=0), moving(to_the_right, 1.0), steps=12, resolution=1)
        assert sorted(run.spikes("motion").neurons.tolist()) == [0, 1]
