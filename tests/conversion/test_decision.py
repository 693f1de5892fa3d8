"""A network of one output: its sign is what is decided."""

from __future__ import annotations

import numpy as np
import pytest

import eventsim as es
from eventsim.conversion.graph import Add, Clip, Graph, Input, Linear

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 1, 1, 12), dtype=np.uint8)


def network(shift):
    rng = np.random.default_rng(1)
    graph = Graph()
    hidden = graph.add(Linear(rng.normal(size=(16, 12)), rng.normal(size=16)), (graph.add(Input((12,))),), "hidden")
    hidden = graph.add(Clip(0, np.inf), (hidden,))
    return graph, graph.add(Linear(rng.normal(size=(1, 16)), np.array([shift])), (hidden,), "out"), hidden


def decisions(made):
    simulator = es.Simulator(made.network)
    return np.array([simulator.run(image, steps=64, resolution=1).decision for image in IMAGES])


@pytest.mark.parametrize("factor", [1.0, -0.5])
def test_the_sign_decides(factor):
    graph, out, _ = network(0.0)
    values = graph.evaluate(IMAGES[:, 0, 0] / 255)[out]
    graph, out, _ = network(-float(np.median(values)))
    if factor != 1:
        out = graph.scale(out, [factor], [factor / 8])
    values = graph.evaluate(IMAGES[:, 0, 0] / 255)[out][:, 0]
    made = es.convert(graph, IMAGES)
    assert any("decision is 1 where it is above 0" in remark for remark in made.report.remarks)
    np.testing.assert_allclose(made.evaluate(IMAGES), np.stack([0 * values, values], 1), atol=1e-4)
    assert np.mean(decisions(made) == (values > 0)) > 0.9
    assert set(decisions(made)) == {0, 1}


def test_where_nothing_is_decided_a_remark_says_so():
    graph, out, hidden = network(0.0)
    other = graph.add(Linear(np.ones((1, 16))), (hidden,), "other")
    graph.add(Add(), (out, other))
    made = es.convert(graph, IMAGES)
    assert any("the decision is always 0" in remark for remark in made.report.remarks)


def test_two_outputs_stay():
    graph, _, hidden = network(0.0)
    graph.add(Linear(np.ones((2, 16))), (hidden,), "other")
    assert not any("decision" in remark for remark in es.convert(graph, IMAGES).report.remarks)
