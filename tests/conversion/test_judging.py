"""The source itself is the judge of what was read: a difference is found at the node that makes it, rounding is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import eventsim as es
from eventsim.conversion.graph import AveragePool, Clip, Convolution, Flatten, Floor, Graph, Input, Linear, Round, Scale, Sign
from eventsim.conversion.judging import Run, Seen, check_layers, check_reading, sample
from eventsim.conversion.lowering import lower

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 6, 6, 2), dtype=np.uint8)
KERNEL, MATRIX = RNG.normal(size=(3, 2, 3, 3)), RNG.normal(size=(4, 48))


def quantising(rounding=Round, step=0.25, bias=0.0, weights=1.0, levels=3):
    """A network with a quantiser of four levels; its nodes by name."""
    graph = Graph()
    numbers = {"input": graph.add(Input((2, 6, 6)))}

    def add(name, operator):
        numbers[name] = graph.add(operator, (graph.output,), name)

    add("conv", Convolution(np.round(KERNEL * 4) / 4, np.full(3, bias)))
    add("scale", Scale(np.array(1 / step), np.zeros(())))
    add("round", rounding())
    add("clip", Clip(0, levels))
    add("flatten", Flatten())
    add("linear", Linear(MATRIX * weights))
    return graph, numbers


def judged_by(graph, numbers, other, seen=(), dtype=np.float32, head=lambda values: values):
    """The graph, with another one as its source, which computes in float32 and tells these values."""

    def source(values):
        known = other.evaluate(values.astype(dtype))
        told = [Seen(numbers[name], name, known[numbers[name]], np.finfo(dtype).eps) for name in seen]
        return Run(head(known[other.output]), told, head)

    graph.source = source
    return graph


VALUES = sample((2, 6, 6), IMAGES, np.full(2, 1 / 256), np.zeros(2))
ALL = ("conv", "scale", "round", "clip", "linear")


@pytest.mark.parametrize("seen", [(), ("conv", "clip"), ALL])
@pytest.mark.parametrize("step", [0.25, 0.1])
def test_the_same_network_passes_in_another_precision(seen, step):
    graph, numbers = quantising(step=step)
    check_reading(judged_by(graph, numbers, quantising(step=step)[0], seen), VALUES)


def test_the_same_network_passes_with_an_end_that_is_left_out():
    graph, numbers = quantising()
    check_reading(judged_by(graph, numbers, quantising()[0], ALL, head=lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)), VALUES)


@pytest.mark.parametrize(
    ("wrong", "first"),
    [
        # (Pixels are multiples of 1/256 and weights of 1/4, so halves are exact.)
        ({"rounding": Floor}, "round"),
        ({"step": 0.5}, "scale"),
        ({"bias": 0.01}, "conv"),
    ],
)
def test_the_first_node_that_differs_is_named(wrong, first):
    graph, numbers = quantising(**wrong)
    with pytest.raises(es.ConversionError, match=rf"^{first}: the network itself computes other values .* differ, by up to"):
        check_reading(judged_by(graph, numbers, quantising()[0], ALL), VALUES)
    # Without values on the way, by what comes out.
    with pytest.raises(es.ConversionError, match=r"^the output: the network itself computes other values"):
        check_reading(judged_by(graph, numbers, quantising()[0]), VALUES)


@pytest.mark.parametrize(("ours", "theirs"), [(lambda: Sign(1.0), lambda: Sign(0.0)), (Round, lambda: HalfUp())])
def test_ties_are_no_rounding(ours, theirs):
    """Values that lie on the border exactly are the other way round: a rule of the framework, not a matter of a last digit."""
    graph, numbers = quantising(rounding=ours)
    with pytest.raises(es.ConversionError, match=r"^round: "):
        check_reading(judged_by(graph, numbers, quantising(rounding=theirs)[0], ALL), np.round(VALUES * 8) / 8)


def test_what_decides_by_a_hair_does_not_hide_what_comes_behind():
    """Every half is a billionth above: with the source's own values behind the quantiser, a matrix that is a little wrong shows."""
    graph, numbers = quantising(bias=1e-9, levels=40)
    other, _ = quantising(bias=1e-9, levels=40, weights=1.0005)
    with pytest.raises(es.ConversionError, match=r"^linear: "):
        check_reading(judged_by(graph, numbers, other, ALL, np.float64), np.round(VALUES * 8) / 8)


class HalfUp(Round):
    def evaluate(self, *values):
        return np.floor(values[0] + 0.5)


def test_values_of_another_shape_or_not_finite_are_told():
    graph, numbers = quantising()
    graph.source = lambda values: Run(np.zeros((len(values), 5)))
    with pytest.raises(es.ConversionError, match=r"the output: the network computes values of shape \(5,\), .* has \(4,\)"):
        check_reading(graph, VALUES)
    with pytest.raises(es.ConversionError, match=r"^conv: the network computes values that are not finite"):
        check_reading(judged_by(graph, numbers, quantising()[0], ALL), VALUES * np.nan)


def test_layers_are_compared_with_their_graph():
    graph, _ = quantising()
    layers = lower(graph)
    check_layers(graph, layers, VALUES)
    for other in (quantising(rounding=Floor)[0], quantising(step=0.3)[0]):
        with pytest.raises(es.ConversionError, match=r"layers made of this network compute other outputs .* a fault of the converter"):
            check_layers(other, layers, VALUES)


def test_a_conversion_asks_its_source_unless_told_not_to():
    graph, numbers = quantising()
    judged_by(graph, numbers, quantising(step=0.5)[0], ALL)
    with pytest.raises(es.ConversionError, match=r"^scale: "):
        es.convert(graph, IMAGES)
    with pytest.raises(es.ConversionError, match=r"^scale: "):
        es.convert(graph)
    assert es.convert(graph, IMAGES, check=False).evaluate(IMAGES).shape == (6, 4)


def test_images_are_taken_evenly_or_drawn():
    values = sample((2, 6, 6), IMAGES, np.array([1.0, 2.0]), np.array([0.0, 5.0]))
    np.testing.assert_array_equal(values[0, 0], IMAGES[0, :, :, 0])
    np.testing.assert_array_equal(values[0, 1], IMAGES[0, :, :, 1] * 2.0 + 5)
    np.testing.assert_array_equal(values[-1, 0], IMAGES[-1, :, :, 0])
    for shape in ((7,), (3, 1, 5), (3, 4, 5)):
        drawn = sample(shape, None, np.ones(()), np.zeros(()))
        assert drawn.shape[1:] == shape
        assert drawn.std() > 50
    with pytest.raises(es.ConversionError, match=r"takes images of shape \(4, 4, 2\)"):
        sample((2, 4, 4), IMAGES, np.ones(()), np.zeros(()))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [1 / 15, 0.05, 0.0731])
def test_sums_of_levels_on_a_border_are_no_fault(seed, step):
    """Averages of levels, quantised again by the same steps: a last digit decides, and nothing that is done to the input changes that."""
    rng, graph = np.random.default_rng(seed), Graph()
    graph.add(Input((2, 6, 6)))

    def add(operator):
        graph.add(operator, (graph.output,))

    add(Convolution(rng.normal(size=(8, 2, 3, 3)) / 4, None))
    for pool in (AveragePool((2, 2)), None):
        for operator in (Scale(np.array(1 / step), np.zeros(())), Round(), Clip(0, 15), Scale(np.array(step), np.zeros(())), pool):
            if operator is not None:
                add(operator)
    add(Flatten())
    add(Linear(rng.normal(size=(4, 32))))
    check_layers(graph, lower(graph), VALUES)
    wrong = lower(graph)
    wrong.layers[-1] = replace(wrong.layers[-1], bias=wrong.layers[-1].bias + 0.01)
    with pytest.raises(es.ConversionError, match="a fault of the converter"):
        check_layers(graph, wrong, VALUES)


def test_an_input_of_one_row_is_an_image():
    graph = Graph()
    graph.add(Input((2, 8)))
    graph.add(Flatten(), (0,))
    graph.add(Linear(np.ones((2, 16))), (1,))
    for images in (None, np.zeros((3, 1, 8, 2), np.uint8)):
        with pytest.raises(es.ConversionError, match=r"an input of shape \(2, 8\), expected"):
            es.convert(graph, images)
