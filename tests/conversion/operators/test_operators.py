"""Every operator's value against PyTorch's, and what operators refuse."""

from __future__ import annotations

import numpy as np
import pytest

from eventsim.conversion import graph as g
from eventsim.errors import ConversionError

torch = pytest.importorskip("torch")
F = torch.nn.functional


def value(shape, operator, seed=0):
    """An input of small whole numbers and quarters, ties among them, as a batch of two; and what the operator makes of it."""
    x = np.random.default_rng(seed).integers(-12, 13, (2, *shape)) / 4
    made = operator.evaluate(x)
    assert made.shape == (2, *operator.output_shape(shape))
    assert operator.evaluate(x.astype(np.float32)).dtype == np.float32
    return torch.tensor(x), made


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
def test_convolution(groups, dilation, stride):
    rng = np.random.default_rng(groups)
    weight, bias = rng.normal(size=(8, 4 // groups, 3, 2)), rng.normal(size=8)
    x, made = value((4, 9, 10), g.Convolution(weight, bias, stride, (1, 0, 2, 3), dilation, groups))
    padded = F.pad(x, (0, 3, 1, 2))
    expected = F.conv2d(padded, torch.tensor(weight), torch.tensor(bias), stride, 0, dilation, groups)
    np.testing.assert_allclose(made, expected.numpy(), atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize(("stride", "extra"), [(1, 0), (2, 1), (3, 0)])
def test_transposed_convolution(groups, dilation, stride, extra):
    rng = np.random.default_rng(groups)
    weight, bias = rng.normal(size=(4, 3, 3, 2)), rng.normal(size=3 * groups)
    operator = g.TransposedConvolution(weight, bias, (stride,) * 2, (1, 0, 1, 0), (extra, extra), (dilation,) * 2, groups)
    x, made = value((4, 4, 5), operator)
    expected = F.conv_transpose2d(x, torch.tensor(weight), torch.tensor(bias), stride, (1, 0), extra, groups, dilation)
    np.testing.assert_allclose(made, expected.numpy(), atol=1e-12)


@pytest.mark.parametrize("divisor", [None, 1, 5])
@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("window", "stride", "padding"), [((3, 2), (2, 2), (1, 1)), ((2, 3), (3, 1), (0, 1)), ((3, 3), (2, 2), (0, 0))])
def test_average_pool(window, stride, padding, ceil, counted, divisor):
    x, made = value((3, 7, 8), g.AveragePool(window, stride, padding * 2, ceil, counted, divisor))
    expected = F.avg_pool2d(x, window, stride, padding, ceil, counted, divisor)
    np.testing.assert_allclose(made, expected.numpy(), atol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (7, 8), (5, 11)])
def test_adaptive_pools(size):
    x, made = value((3, 7, 8), g.AdaptiveAveragePool(size))
    np.testing.assert_allclose(made, F.adaptive_avg_pool2d(x, size).numpy(), atol=1e-12)
    operator = g.AdaptiveMaxPool(size)
    x, made = value((3, 7, 8), operator)
    np.testing.assert_array_equal(made, F.adaptive_max_pool2d(x, size).numpy())
    windows = operator.as_windows((7, 8))
    if windows is not None:
        np.testing.assert_array_equal(windows.evaluate(x.numpy()), made)
    assert (windows is None) == (size == (5, 11))


@pytest.mark.parametrize("dilation", [1, 2])
def test_max_pool(dilation):
    x, made = value((3, 7, 8), g.MaxPool((3, 2), (2, 1), (1, 0, 1, 0), (dilation,) * 2))
    np.testing.assert_array_equal(made, F.max_pool2d(x, (3, 2), (2, 1), (1, 0), dilation).numpy())


@pytest.mark.parametrize(("mode", "name"), [("constant", "constant"), ("reflect", "reflect"), ("edge", "replicate"), ("wrap", "circular")])
def test_pad(mode, name):
    x, made = value((3, 4, 5), g.Pad(((0, 0), (1, 3), (2, 0)), mode, 0.75 if mode == "constant" else 0.0))
    expected = F.pad(x, (2, 0, 1, 3), name, 0.75 if mode == "constant" else None)
    np.testing.assert_array_equal(made, expected.numpy())


def test_rounding_is_half_to_even_and_truncation_towards_zero():
    for operator, function in ((g.Round(), torch.round), (g.Floor(), torch.floor), (g.Truncate(), torch.trunc)):
        x, made = value((3, 40), operator)
        np.testing.assert_array_equal(made, function(x).numpy())
    x, made = value((100,), g.Sign(0.0))
    np.testing.assert_array_equal(made, torch.sign(x).numpy())
    np.testing.assert_array_equal(g.Sign().evaluate(x.numpy()), np.where(x.numpy() >= 0, 1, -1))


def test_rearrangements():
    x, made = value((4, 3, 2), g.Select(0, np.array([3, 1, 1])))
    np.testing.assert_array_equal(made, x[:, [3, 1, 1]].numpy())
    x, made = value((4, 3, 2), g.Permute((2, 0, 1)))
    np.testing.assert_array_equal(made, x.permute(0, 3, 1, 2).numpy())
    x, made = value((4, 3, 2), g.Reshape((2, 12)))
    np.testing.assert_array_equal(made, x.reshape(2, 2, 12).numpy())
    y = g.Concatenate(1).evaluate(x.numpy(), x.numpy()[:, :, :1])
    np.testing.assert_array_equal(y, torch.cat([x, x[:, :, :1]], 2).numpy())


def test_constants_lie_where_broadcasting_puts_them():
    graph = g.Graph()
    image = graph.add(g.Input((3, 3, 3)))
    x = np.arange(54.0).reshape(2, 3, 3, 3)
    for shape in ((), (3,), (3, 1), (3, 1, 1), (1, 3, 1, 1), (3, 3, 3)):
        constant = np.random.default_rng(0).normal(size=shape)
        made = graph.affine(image, constant, 2 * constant)
        np.testing.assert_allclose(graph.evaluate(x)[made], x * constant + 2 * constant)
    graph.scale(image, np.ones(3), [1, 2, 3])
    np.testing.assert_array_equal(graph.evaluate(x)[-1], x + np.array([1, 2, 3])[:, None, None])


def test_a_sequence_is_an_image_of_one_row():
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(5, 2, 3))
    graph = g.Graph()
    made = graph.in_one_row(g.Convolution(weight[:, :, None], None, (1, 2), (0, 1, 0, 1)), graph.add(g.Input((2, 9))))
    x = rng.normal(size=(2, 2, 9))
    np.testing.assert_allclose(graph.evaluate(x)[made], F.conv1d(torch.tensor(x), torch.tensor(weight), None, 2, 1).numpy(), atol=1e-12)


@pytest.mark.parametrize(
    ("operator", "shapes", "message"),
    [
        (g.Convolution(np.ones((4, 1, 3, 3)), groups=3), [(3, 8, 8)], "4 outputs in 3 groups"),
        (g.Convolution(np.ones((4, 1, 3, 3)), groups=2), [(3, 8, 8)], "expected \\(outputs, 3 / 2"),
        (g.Convolution(np.ones((4, 3, 3, 3)), dilation=(4, 1)), [(3, 8, 8)], "larger than its input"),
        (g.Convolution(np.ones((4, 3, 3, 3)), dilation=(0, 1)), [(3, 8, 8)], "dilation"),
        (g.TransposedConvolution(np.ones((4, 3, 3, 3))), [(3, 8, 8)], "transposed convolution with weights"),
        (g.TransposedConvolution(np.ones((3, 3, 1, 1)), padding=(4, 4, 4, 4)), [(3, 8, 8)], "leaves nothing"),
        (g.AveragePool((3, 3), padding=(3, 0, 0, 0)), [(3, 8, 8)], "may lie in the padding"),
        (g.AveragePool((3, 3), divisor=0), [(3, 8, 8)], "divisor"),
        (g.AveragePool((9, 3)), [(3, 8, 8)], "does not fit"),
        (g.AdaptiveAveragePool((0, 1)), [(3, 8, 8)], "expected two numbers from 1"),
        (g.MaxPool((2, 2), (1, 1)), [(8,)], "pooling of a value of shape"),
        (g.Pad(((1, 1),)), [(3, 8, 8)], "for each axis"),
        (g.Pad(((8, 0),), "reflect"), [(8,)], "longer than the value"),
        (g.Pad(((1, 0),), "symmetric"), [(8,)], "expected constant, reflect"),
        (g.Select(0, np.array([8])), [(8,)], "a selection of 8..8"),
        (g.Select(1, np.array([0])), [(8,)], "axis 1"),
        (g.Permute((0, 0)), [(8, 2)], "each of 0..1 once"),
        (g.Reshape((3, 5)), [(8, 2)], "cannot be reshaped"),
        (g.Concatenate(), [(8, 2), (8, 3)], "a concatenation"),
        (g.Scale(np.ones(3), np.ones(())), [(4, 3)], "expected one constant"),
        (g.Resample(np.ones((2, 3)), np.ones((2, 3))), [(1, 3, 4)], "resampling"),
    ],
)
def test_what_does_not_fit_is_refused(operator, shapes, message):
    with pytest.raises(ConversionError, match=message):
        operator.output_shape(*shapes)
