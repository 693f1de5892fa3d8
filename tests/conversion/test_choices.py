"""Ways of converting a network, compared on a sample."""

from __future__ import annotations

import numpy as np
import pytest
from judges.graphs import RELU, Builder

import eventsim as es
from eventsim.conversion import graph as g
from eventsim.conversion.choices import PERCENTILES, REFRACTORY, Choices, choose

IMAGES = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
SAMPLE = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)


def deep(activations=4, seed=3):
    """Convolutions with batch norm and ReLU, and ten classes."""
    b = Builder(seed, (3, 8, 8), 0)
    for i in range(activations):
        b.conv(8, binary=i > 0, bias=False)
        b.batch_norm()
        b.at = b.graph.add(RELU, (b.at,))
    b.linear(10, binary=False, bias=True)
    return b.graph


def measured(made, steps, resolution):
    """Share of answers like the source's and mean spikes, by runs of the network on its own."""
    runs = [es.run(made.network, image, steps=steps, resolution=resolution) for image in SAMPLE]
    alike = [run.decision == answer for run, answer in zip(runs, made.evaluate(SAMPLE).argmax(1), strict=True)]
    firing = [name for name, population in made.network.populations.items() if population.fires]
    return np.mean(alike), np.mean([sum(len(run.spikes(name).ticks) for name in firing) for run in runs])


@pytest.mark.parametrize("resolution", [1, 2**20])
def test_every_row_is_what_such_a_network_does_and_the_best_is_picked(resolution):
    calls = []
    found = choose(deep(), IMAGES, SAMPLE, steps=5, resolution=resolution, progress=lambda *call: calls.append(call))
    for choice in found.tried:
        made = es.convert(deep(), IMAGES, steps=5, check=False, **choice.settings)
        assert (choice.agreement, choice.spikes) == pytest.approx(measured(made, 5, resolution))
    # Neurons that could be signed or not, other percentiles, the other initial potential, other periods, biases balanced or not.
    # (Clocked runs do not tell those apart; plain neurons have none, so that one step is another one.)
    periods = {choice.settings["refractory"] for choice in found.tried if "refractory" in choice.settings}
    assert periods == ({None, *REFRACTORY} if resolution > 1 else set())
    assert len(found.tried) == 1 + 1 + len(PERCENTILES) - 1 + 1 + (len(REFRACTORY) if resolution > 1 else 0) + 1
    assert found.picked == max(found.tried, key=lambda choice: (choice.agreement, -choice.spikes))
    assert found.picked.agreement > found.tried[0].agreement
    same = es.convert(deep(), IMAGES, steps=5, check=False, **found.picked.settings)
    assert es.Simulator(found.conversion.network).digest() == es.Simulator(same.network).digest()
    assert calls.count((len(SAMPLE), len(SAMPLE))) >= len(found.tried)
    text = str(found)
    assert all(choice.changed in text for choice in found.tried)
    assert text.splitlines()[-1].startswith("picked: ")


def test_each_question_begins_with_the_best_so_far():
    found = choose(deep(seed=5), IMAGES, SAMPLE, steps=4, initial="zero", percentile=99.0)
    assert found.tried[0].settings == {"signed": None, "percentile": 99.0, "initial": "zero", "balance": False}
    questions = {"signed": None, "percentile": None, "initial": None, "balance": None}
    best = found.tried[0]
    for choice in found.tried[1:]:
        changed = {name for name in questions if choice.settings[name] != found.tried[0].settings[name]}
        questions |= dict.fromkeys(changed, choice)
    for name in questions:
        rows = [best] + [row for row in found.tried if row.settings == best.settings | {name: row.settings[name]}]
        best = max(rows, key=lambda choice: (choice.agreement, -choice.spikes))
    assert found.picked == best
    assert found.to_dict()["picked"] == best.settings


def test_ranges_that_are_their_own_have_no_percentile_and_exact_networks_no_choice():
    b = Builder(1, (3, 8, 8), 4)
    b.conv(6, binary=False, bias=True)
    b.activation()
    b.conv(6, binary=True, bias=True)
    b.activation()
    b.linear(5, binary=False, bias=True)
    found = choose(b.graph, IMAGES, SAMPLE, steps=4)
    assert "percentile" not in found.picked.settings
    assert len(found.tried) == 4
    with pytest.raises(es.ConversionError, match="give a sample"):
        choose(deep(), IMAGES, None)
    signs = g.Graph()
    at = signs.add(g.Linear(np.ones((4, 192))), (signs.add(g.Flatten(), (signs.add(g.Input((3, 8, 8))),)),))
    signs.add(g.Linear(np.eye(4)), (signs.add(g.Sign(), (at,)),))
    with pytest.raises(es.ConversionError, match="nothing to choose"):
        choose(signs, IMAGES, SAMPLE)


def test_neurons_of_two_kinds_are_tried_both_ways():
    """Clips are signed, ReLUs without biases are not: what was asked for is neither all signed nor all plain."""
    b = Builder(4, (3, 8, 8), 0)
    for activation in (RELU, g.Clip(0.0, 0.2), RELU):
        b.conv(6, binary=False, bias=False)
        b.at = b.graph.add(activation, (b.at,))
    b.linear(5, binary=False, bias=False)

    def kinds(**settings):
        made = es.convert(b.graph, IMAGES, steps=4, check=False, **settings)
        return {name: p.signed for name, p in made.network.populations.items() if p.kind == "spiking"}

    found = choose(b.graph, IMAGES, SAMPLE, steps=4)
    assert [choice.settings["signed"] for choice in found.tried[:3]] == [None, False, True]
    made = [kinds(**choice.settings) for choice in found.tried[:3]]
    assert made == [{"conv2": True, "conv3": False}, dict.fromkeys(made[0], False), dict.fromkeys(made[0], True)]
    as_asked = Choices(found.tried[:1], found.tried[0], found.conversion, found.images, found.steps, found.resolution)
    assert "\npicked: signed where convert makes them so, " in str(as_asked)
