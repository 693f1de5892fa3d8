"""Activations with one to three thresholds become one spike a threshold: every spike is the source's activation, at any resolution."""

from __future__ import annotations

import numpy as np
import pytest
from judges.activations import activations

import eventsim as es
from eventsim.conversion import graph as g
from eventsim.conversion import stepcode
from eventsim.model.periods import ticks

RESOLUTIONS = 1, 2, 5, 1000, 2**20


def spoken(made: es.Conversion, result: es.Result, name: str, size: int) -> np.ndarray:
    """The activation that the spikes of a layer stand for."""
    highest = next(layer.activation.high - layer.activation.low for layer in made.source.layers if layer.name == name)
    counts = [np.bincount(result.spikes(n.name).neurons, minlength=size) * n.share * highest for n in made.steps[name]]
    return np.sum(counts, axis=0)


def check(made: es.Conversion, images: np.ndarray, resolutions=RESOLUTIONS, **settings) -> int:
    """All spikes are the source's activations; returns how many neurons were compared."""
    compared = 0
    for image in images:
        expected = activations(made, image)
        for resolution in resolutions:
            result = es.run(made.network, image, resolution=resolution, **settings)
            assert result.info.steps == made.network.provenance["steps"]
            for name in made.steps:
                np.testing.assert_array_equal(spoken(made, result, name, expected[name].size), expected[name], f"{name}, R = {resolution}")
                compared += expected[name].size
    return compared


def random_network(seed: int, activation, pools: bool = False) -> g.Graph:
    """Two convolutions and two dense layers, binary; padding, batch norm and the place of pooling vary.

    Without batch norm sums hit zero all the time. (Scales are powers of two then, so that float64 has no rounding there.)
    """
    rng = np.random.default_rng(seed)
    graph = g.Graph()
    at = graph.add(g.Input((2, 12, 11)))
    at = graph.scale(at, 2.0, -1.0)
    normed = seed % 2 == 0
    for channels in (5, 4):
        pad, window = int(rng.integers(0, 2)), g.MaxPool((2, 2), (2, 2)) if rng.random() < 0.5 else g.MaxPool((3, 2), (2, 1), (1, 0, 1, 1))
        place = int(rng.integers(0, 4)) if pools else None
        weights = rng.choice([-0.5, 0.5], (channels, graph.shape(at)[0], 3, 3))
        at = graph.add(g.Convolution(weights, None, (1, 1), (pad, pad, pad, pad)), (at,))
        if place == 0:
            at = graph.add(window, (at,))
        if normed:
            at = graph.scale(at, rng.normal(size=channels), rng.normal(size=channels))
        if place == 1:
            at = graph.add(window, (at,))
        at = activation(graph, at)
        if place == 3:
            at = graph.scale(at, -1.0, 0.0)
        if place in (2, 3):
            at = graph.add(window, (at,))
    at = graph.add(g.Flatten(), (at,))
    at = graph.add(g.Linear(rng.choice([-1.0, 1.0], (20, graph.shape(at)[0]))), (at,))
    at = activation(graph, at)
    graph.add(g.Linear(rng.choice([-1.0, 1.0], (6, 20)), rng.integers(-4, 5, 6).astype(float)), (at,))
    return graph


def sign(zero):
    return lambda graph, at: graph.add(g.Sign(zero), (at,))


def step(graph, at):
    """1 where x > 0, else 0."""
    return graph.scale(graph.add(g.Sign(-1.0), (at,)), 0.5, 0.5)


def levels(low, high):
    """Rounding to whole numbers within bounds."""
    return lambda graph, at: graph.add(g.Clip(low, high), (graph.add(g.Floor(), (graph.scale(at, 0.25, 0.5),)),))


ACTIVATIONS = {
    "sign, 1 at zero": sign(1.0),
    "sign, 0 at zero": sign(0.0),
    "sign, -1 at zero": sign(-1.0),
    "0 and 1": step,
    "-1, 0, 1": levels(-1.0, 1.0),
    "2 bits": levels(-2.0, 1.0),
}


def pictures(seed: int, count: int = 2) -> np.ndarray:
    """Grey levels; without batch norm black and white, so that sums are whole."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 12, 11, 2)).astype(np.uint8)
    return images if seed % 2 == 0 else (images > 127).astype(np.uint8) * 255


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("seed", range(4))
def test_every_spike_is_the_sources_activation(seed, kind):
    made = es.convert(random_network(seed, ACTIVATIONS[kind]))
    assert made.report.signs_changed == 0
    assert check(made, pictures(seed)) > 0
    populations = {name: len(neurons) for name, neurons in made.steps.items()}
    if kind == "sign, 0 at zero":
        # Where no sum can be zero, behind batch norm, one population does.
        assert list(populations.values()) == ([1, 1, 2] if seed % 2 == 0 else [2, 2, 2])


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("seed", range(6))
def test_max_pooling_anywhere(seed, kind):
    """Before batch norm, before or behind the activation, behind a negative scale; windows that overlap, with padding."""
    made = es.convert(random_network(seed, ACTIVATIONS[kind], pools=True))
    check(made, pictures(seed, 1), resolutions=(1, 5, 2**20))


@pytest.mark.parametrize("engine", ["reference", "queue", "layered"])
def test_all_engines(engine):
    for pools in (False, True):
        made = es.convert(random_network(1, sign(0.0), pools))
        check(made, pictures(1, 1), resolutions=(1, 5, 2**20), engine=engine)


def test_the_answer_is_the_sources():
    for seed in range(6):
        made = es.convert(random_network(seed, sign(1.0)))
        for image in pictures(seed, 3):
            output = list(activations(made, image).values())[-1]
            for resolution in (1, 7, 2**20):
                result = es.run(made.network, image, resolution=resolution)
                assert result.decision == int(output.argmax())
                scale = np.abs(result.readout[-1]).max() / np.abs(output).max()
                np.testing.assert_allclose(result.readout[-1], scale * output)


def test_one_phase_after_the_other():
    made = es.convert(random_network(0, sign(1.0)), phase=1.0)
    assert made.network.provenance["steps"] == 4
    image = pictures(0, 1)[0]
    for resolution in (1, 2**20):
        result = es.run(made.network, image, resolution=resolution)
        first = [result.spikes(neurons[0].name).ticks for neurons in made.steps.values()]
        assert [set(ticks.tolist()) for ticks in first] == [{1}, {1 + resolution}, {1 + 2 * resolution}]
        assert result.counts.decision_tick >= 1 + 3 * resolution
    check(made, pictures(0), resolutions=(1, 2, 1000))


def test_a_longer_run_changes_nothing():
    made = es.convert(random_network(2, levels(-1.0, 1.0), pools=True))
    image = pictures(2, 1)[0]
    for resolution in (1, 100):
        short, long = (es.run(made.network, image, resolution=resolution, steps=steps) for steps in (1, 5))
        assert long.total_spikes == short.total_spikes
        np.testing.assert_array_equal(long.readout[-1], short.readout[-1])


def test_the_default_phase_ends_within_a_step_at_every_resolution():
    for number in range(1, 40):
        phase = stepcode.default_phase(number)
        assert 2 * phase > 1 / (2 * number + 2) >= phase
        assert all(1 + number * ticks(phase, resolution) <= resolution for resolution in (*range(1, 2000), 2**20))


def test_biases_are_counted_apart():
    made = es.convert(random_network(0, sign(1.0)))
    result = es.run(made.network, pictures(0, 1)[0])
    counted = es.counting.count_operations([result])
    pulses = [p for p in result.info.projections if p.source.startswith("start")]
    assert pulses
    assert all(p.bias for p in pulses)
    assert counted.bias.synaptic_events == sum(p.synapses for p in pulses)


def test_residual_connections_wait_for_the_longer_way():
    rng = np.random.default_rng(5)
    graph = g.Graph()
    at = graph.scale(graph.add(g.Input((1, 8, 8))), 2.0, -1.0)
    at = graph.add(g.Sign(1.0), (graph.add(g.Convolution(rng.choice([-1.0, 1.0], (4, 1, 3, 3)), None, (1, 1), (1, 1, 1, 1)), (at,)),))
    inner = graph.add(g.Sign(1.0), (graph.add(g.Convolution(rng.choice([-1.0, 1.0], (4, 4, 3, 3)), None, (1, 1), (1, 1, 1, 1)), (at,)),))
    outer = graph.add(g.Convolution(rng.choice([-1.0, 1.0], (4, 4, 3, 3)), None, (1, 1), (1, 1, 1, 1)), (inner,))
    at = graph.add(g.Sign(1.0), (graph.add(g.Add(), (at, outer)),))
    graph.add(g.Linear(rng.choice([-1.0, 1.0], (3, 256))), (graph.add(g.Flatten(), (at,)),))
    made = es.convert(graph)
    assert any(":" in name for name in made.network.populations)  # a relay
    images = (rng.random((3, 8, 8, 1)) > 0.5).astype(np.uint8) * 255
    check(made, images)


def test_quantisers_of_the_image_that_change_no_grey_level():
    """``floor((2 p / 255 - 1) 128) / 128`` within [-1, 127/128] is (p - 128) / 128 for every pixel; a ReLU may never clip."""
    for build in (
        lambda graph, at: graph.add(
            g.Clip(-1.0, 127 / 128), (graph.scale(graph.add(g.Floor(), (graph.scale(at, 256.0, -128.0),)), 1 / 128, 0.0),)
        ),
        lambda graph, at: graph.add(g.Clip(0.0, np.inf), (graph.scale(at, 2.0, 0.0),)),
    ):
        graph = g.Graph()
        at = build(graph, graph.add(g.Input((1, 4, 4))))
        at = graph.add(g.Sign(1.0), (graph.add(g.Convolution(np.ones((2, 1, 3, 3)), np.array([0.1, -9.0])), (at,)),))
        graph.add(g.Linear(np.ones((2, 8))), (graph.add(g.Flatten(), (at,)),))
        made = es.convert(graph)
        assert [layer.name for layer in made.source.layers] == ["conv1", "fc2"]
        check(made, np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1)).astype(np.uint8), resolutions=(1,))


def test_signs_beside_rates_are_refused():
    graph = g.Graph()
    at = graph.add(g.Clip(0.0, np.inf), (graph.add(g.Linear(np.ones((4, 3))), (graph.add(g.Input((3,))),)),))
    at = graph.add(g.Sign(1.0), (graph.add(g.Linear(np.ones((4, 4))), (at,)),))
    graph.add(g.Linear(np.ones((2, 4))), (at,))
    with pytest.raises(es.ConversionError, match="sign activations beside others"):
        es.convert(graph)


def test_weights_that_are_on_no_grid_are_rounded_and_it_is_said():
    rng = np.random.default_rng(0)
    graph = g.Graph()
    at = graph.add(g.Sign(1.0), (graph.add(g.Linear(rng.normal(size=(8, 3))), (graph.add(g.Input((3,))),)),))
    at = graph.add(g.Sign(1.0), (graph.add(g.Linear(rng.normal(size=(8, 8))), (at,)),))
    graph.add(g.Linear(np.ones((2, 8))), (at,))
    made = es.convert(graph)
    assert any("fc1, fc2 rounded" in remark for remark in made.report.remarks)


def test_faithfulness_reads_spikes_as_activations():
    from eventsim.conversion.faithfulness import faithfulness

    made = es.convert(random_network(2, levels(-1.0, 1.0)))
    compared = faithfulness(made, pictures(2, 4))
    assert compared.steps == 1
    for mode in ("clocked", "asynchronous"):
        assert compared.agreement[mode] == 1.0
        assert [layer.error for layer in compared.layers[mode]] == pytest.approx([0.0] * 3, abs=1e-6)


def test_what_is_chosen_for_rates_is_not_dropped_silently():
    signs, few = random_network(0, sign(1.0)), random_network(0, levels(-1.0, 1.0))
    for name, value in {"signed": True, "refractory": 1.0, "initial": "zero", "fraction_bits": 3}.items():
        with pytest.raises(es.ConversionError, match=f"one spike each; {name} would have no effect"):
            es.convert(signs, **{name: value})
        assert not es.convert(few, **{name: value}).steps  # neurons that count levels
    assert es.convert(few).steps
    for graph, settings in ((few, {"signed": True}), (random_network(0, levels(0.0, 7.0)), {})):
        with pytest.raises(es.ConversionError, match="a phase is for networks"):
            es.convert(graph, phase=0.5, **settings)


@pytest.mark.parametrize(("mean", "exact"), [(0.0, True), (128 / 255, True), (0.2860, False)])
def test_an_offset_of_the_image_that_is_rounded_is_told(mean, exact):
    net = g.Graph()
    rng = np.random.default_rng(0)
    at = net.add(g.Convolution(rng.choice([-1.0, 1.0], (4, 1, 3, 3)), None), (net.add(g.Input((1, 6, 6))),))
    at = net.add(g.Flatten(), (net.add(g.Sign(), (at,)),))
    net.add(g.Linear(rng.choice([-1.0, 1.0], (3, 64))), (at,))
    made = es.convert(net, mean=mean, std=0.353)
    (remark,) = [remark for remark in made.report.remarks if "one spike for each threshold" in remark]
    assert (", exactly;" in remark) == exact
    assert ("the image's offset by up to 0.07 grey levels" in remark) == (not exact)


def shallow(weights, bias, readout, readout_bias):
    """A dense layer of signs behind grey levels, and one behind that."""
    graph = g.Graph()
    at = graph.scale(graph.add(g.Input((weights.shape[1],))), 255.0, 0.0)
    at = graph.add(g.Sign(1.0), (graph.add(g.Linear(weights, bias), (at,)),))
    graph.add(g.Linear(readout, readout_bias), (at,))
    return graph


@pytest.mark.parametrize("largest", [1, 100])
def test_biases_of_the_readout_decide_where_sums_tie(largest):
    """However small beside the weights."""
    rng = np.random.default_rng(1)
    readout = rng.choice([-1.0, 1.0], (4, 16)) if largest == 1 else rng.integers(-100, 101, (4, 16)).astype(float)
    readout[2:] = readout[:2]
    bias = rng.uniform(-0.02, 0.02, 4)
    made = es.convert(shallow(rng.choice([-1.0, 1.0], (16, 8)), None, readout, bias))
    images = rng.integers(0, 256, (40, 1, 1, 8), dtype=np.uint8)
    truth = made.evaluate(images).argmax(1)
    assert [es.run(made.network, image, resolution=1).decision for image in images] == truth.tolist()
    assert len(set(truth.tolist())) > 1
    (report,) = [layer for layer in made.report.layers if layer.threshold is None]
    # Their rounding is told, of the largest weight: a digit behind the last one that float32 has of the largest sum.
    assert 0 < report.bias_error * largest <= (16 * largest + 1) * 2.0**-24


def test_biases_that_are_whole_need_no_digits():
    made = es.convert(shallow(np.ones((4, 3)), None, np.ones((2, 4)), np.array([2.0, -4.0])))
    (table,) = [p.table for p in made.network.projections if p.source == "fc1"]
    assert set(np.unique(table.weights)) == {1}
    assert made.report.layers[-1].bias_error == 0


@pytest.mark.parametrize("below", [7 / 64, 1 / 4])
def test_a_large_sum_just_below_zero_is_no_tie(below):
    weights = np.array([[511.0, 1, 1, 1], [1, 511, 1, 1]])
    made = es.convert(shallow(weights, np.full(2, -511 * 250 - 3 * 250 - below), np.eye(2), None))
    image = np.full((1, 1, 4), 250, np.uint8)
    image[..., 1] = 250
    assert es.run(made.network, image, resolution=1).spike_counts("fc1").tolist() == [0, 0]
    image[..., 1] = 251
    assert es.run(made.network, image, resolution=1).spike_counts("fc1").tolist() == [1, 1]


def test_one_tiny_weight_puts_no_others_on_a_grid():
    rng = np.random.default_rng(0)
    weights = rng.choice([-1.0, 1.0], (8, 6)) * rng.uniform(0.5, 1, (8, 6))
    weights[:, 0] = 5e-6
    made = es.convert(shallow(weights, None, np.ones((2, 8)), None))
    assert any("weights of fc1 rounded" in remark for remark in made.report.remarks)
