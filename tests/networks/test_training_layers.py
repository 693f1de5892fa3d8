"""Layers of the training code against their formulas."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from repository import ROOT

torch = pytest.importorskip("torch")
sys.path.insert(0, str(ROOT / "networks"))

import architectures  # noqa: E402
import layers  # noqa: E402


def test_binary_weights_are_the_papers():
    latent = torch.tensor(np.random.default_rng(0).normal(0, 0.8, (5, 3, 2, 2)), dtype=torch.float32)
    found = layers.binarise(latent)
    centred = np.clip(latent.numpy() - latent.numpy().mean(1, keepdims=True), -1, 1)
    expected = np.sign(centred) * np.abs(centred).mean((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_binary_weights_of_one_constant_a_layer_and_a_gradient_as_it_comes():
    for layer, fan_in in ((layers.BinaryConv2d(3, 4, 2, bias=False), 12), (layers.BinaryLinear(5, 4, bias=False), 5)):
        layer.binarise = layers.binarise_constant
        with torch.no_grad():
            layer.weight.normal_(0, 2).flatten()[0] = 0
        x = torch.randn(7, *((3, 2, 2) if fan_in == 12 else (5,)), generator=torch.Generator().manual_seed(0))
        layer(x).sum().backward()
        signs = np.where(layer.weight.detach().numpy() < 0, -1, 1)
        expected = np.sqrt(2 / fan_in) * signs.reshape(4, -1) @ x.numpy().reshape(7, -1).T
        np.testing.assert_allclose(layer(x).detach().numpy().reshape(7, 4).T, expected, rtol=1e-4, atol=1e-5)
        # Neither clipped where |w| > 1 nor scaled.
        np.testing.assert_allclose(layer.weight.grad.reshape(4, -1), np.tile(x.numpy().reshape(7, -1).sum(0), (4, 1)), rtol=1e-4, atol=1e-5)


def test_a_network_of_constants_has_one_a_layer_and_small_answers():
    model = architectures.vgg((8, 8, "P"), (16,), 4, image=(1, 8, 8), levels=4, constant=True)
    assert all(p.requires_grad for p in model.parameters())
    signs = [m.binarise(m.weight).abs().unique() for m in model if isinstance(m, (layers.BinaryConv2d, layers.BinaryLinear))]
    assert [len(s) for s in signs] == [1, 1]
    outputs = model(100 * torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(outputs.std(0, unbiased=False), torch.ones(4), rtol=1e-3, atol=0)


@pytest.mark.parametrize("size", [(8, 8), (2, 3), (1, 1), (9, 4)])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 1, 1), (2, 1, 1), (1, 0, 1), (2, (1, 0), 1), (1, "same", 1), (1, 1, 2)])
def test_gradients_of_small_maps_are_those_of_any_convolution(size, stride, padding, dilation):
    if min(size) < 3 and padding != 1 and padding != "same":
        size = (size[0] + 2, size[1] + 2)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    layer = layers.BinaryConv2d(3, 5, 3, bias=False, **options).double()
    plain = torch.nn.Conv2d(3, 5, 3, bias=False, **options).double()
    layer.binarised = False
    plain.load_state_dict(layer.state_dict())
    generator = torch.Generator().manual_seed(0)
    if dilation > 1:
        size = (size[0] + 2, size[1] + 2)
    x = torch.rand(4, 3, *size, dtype=torch.float64, generator=generator).contiguous(memory_format=torch.channels_last)
    found = []
    for kind in (layer, plain):
        image = x.clone().requires_grad_()
        out = kind(image)
        (out * torch.arange(out.numel(), dtype=torch.float64).reshape(out.shape)).sum().backward()
        found.append((out.detach(), image.grad, kind.weight.grad))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (2, 3), (1, 1)])
def test_small_maps_in_bfloat16_are_products_of_the_same_numbers(size, amx, monkeypatch):
    """Small integers, whose products and sums bfloat16 holds exactly or rounds once."""
    monkeypatch.setattr(layers, "AMX", amx)
    generator = torch.Generator().manual_seed(0)
    layer = layers.BinaryConv2d(3, 5, 3, padding=1, bias=False)
    layer.binarised = False
    found = []
    with torch.no_grad():
        layer.weight.copy_(torch.randint(-2, 3, layer.weight.shape, generator=generator))
    values = torch.randint(-3, 4, (4, 3, *size), generator=generator).float().contiguous(memory_format=torch.channels_last)
    for half in (True, False):
        image = values.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = layer(image)
        assert out.dtype == (torch.bfloat16 if half else torch.float32)
        layer.zero_grad()
        (out.float() * torch.randint(-2, 3, out.shape, generator=generator.manual_seed(1))).sum().backward()
        found.append((out.detach().float(), image.grad, layer.weight.grad))
    torch.testing.assert_close(found[0], found[1], rtol=2**-8, atol=0)


@pytest.mark.parametrize("size", [(8, 10), (8, 9), (4, 4)])
def test_a_convolution_and_its_pooling_at_once_are_one_after_the_other(size):
    model = torch.nn.Sequential(layers.BinaryConv2d(3, 5, 3, padding=1, bias=False), torch.nn.AvgPool2d(2, ceil_mode=True), layers.QCFS(4))
    model = model.double()
    x = torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for layer in (model[:2], layers.pool_at_once(model)[:1]):
        out = layer(x)
        model.zero_grad()
        (out * torch.arange(out.numel(), dtype=torch.float64).reshape(out.shape)).sum().backward()
        found.append((out.detach(), model[0].weight.grad))
    torch.testing.assert_close(found[0], found[1])
    assert len(layers.pool_at_once(model)) == 2


@pytest.mark.parametrize("shape", [(6, 3, 4, 5), (6, 3, 1, 1), (7, 3)])
def test_a_scale_is_the_root_mean_square_and_its_gradients_are_autograds(shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, requires_grad=True)
    scale, wanted = layers.Scale(3), torch.randn(shape, generator=generator)
    with torch.no_grad():
        scale.gain.copy_(torch.tensor([0.5, -2, 3]))
    places = (0, *range(2, x.ndim))
    squares = x.square().mean(places, keepdim=True)
    plain = x * (squares + scale.eps).rsqrt() * scale.gain.view(1, 3, *[1] * len(places[1:]))
    expected = torch.autograd.grad((plain * wanted).sum(), (x, scale.gain))
    found = scale(x)
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(torch.autograd.grad((found * wanted).sum(), (x, scale.gain)), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scale.mean_square, 0.9 + 0.1 * squares.flatten())


def test_a_network_with_scales_is_one_of_weights_alone_once_they_are_folded():
    torch.manual_seed(0)
    model = architectures.vgg((6, 8, "P"), (16,), 4, image=(2, 8, 8), levels=0, normalise=None, scaled=True)
    images = torch.rand(20, 2, 8, 8)
    for _ in range(5):
        model(images)
    before = model(images)
    model.eval()
    plain = layers.folded(model)
    # A layer's bias is scaled as its weights are.
    biased = torch.nn.Sequential(torch.nn.Linear(3, 2), layers.Scale(2)).eval()
    biased[1].mean_square.fill_(9.0)
    torch.testing.assert_close(layers.folded(biased)(images[:, :1, 0, :3]), biased(images[:, :1, 0, :3].flatten(1))[:, None])
    assert {type(layer).__name__ for layer in plain} == {"Conv2d", "AvgPool2d", "ReLU", "Flatten", "Linear"}
    assert all(layer.bias is None for layer in plain if hasattr(layer, "bias"))
    torch.testing.assert_close(plain(images), model(images))
    # (A running mean is not yet the batch's.)
    assert not torch.allclose(before, model(images), rtol=1e-2)
    for layer in plain[2:-1]:
        if hasattr(layer, "weight"):
            magnitudes = layer.weight.abs().flatten(1)
            torch.testing.assert_close(magnitudes, magnitudes[:, :1].expand_as(magnitudes), rtol=0, atol=0)


def test_a_network_with_levels_starts_as_one_with_scales_ends():
    torch.manual_seed(0)
    plan = {"plan": (6, 8, "P"), "hidden": (16,), "classes": 4, "image": (2, 8, 8)}
    source, model = architectures.vgg(levels=0, scaled=True, **plan), architectures.vgg(levels=64, constant=True, **plan)
    images = torch.rand(40, 2, 8, 8)
    for _ in range(5):
        source(images)
    layers.start_from(model, source, images)
    model.eval(), source.eval()
    expected = source(images)
    # Sixty-four levels are nearly as good as none; batch norm of batches makes what its running statistics make.
    assert (model(images) - expected).abs().max() < 0.1 * expected.std()
    before = [layer.running_mean.clone() for layer in model if hasattr(layer, "running_mean")]
    model.train()
    assert (model(images) - expected).abs().max() < 0.2 * expected.std()
    for layer, mean in zip([layer for layer in model if hasattr(layer, "running_mean")], before, strict=True):
        torch.testing.assert_close(layer.running_mean, mean, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("grad", [False, True])
def test_qcfs_is_clip_floor_shift(grad):
    layer = layers.QCFS(4, threshold=1.5)
    x = torch.linspace(-1, 3, 401)
    with torch.set_grad_enabled(grad):
        found = layer(x).detach().numpy()
    expected = 1.5 / 4 * np.clip(np.floor(x.numpy() * 4 / 1.5 + 0.5), 0, 4)
    assert np.mean(found != expected.astype(np.float32)) < 0.01  # ties alone
    assert set(np.round(found / 0.375).astype(int)) == {0, 1, 2, 3, 4}


def test_stochastic_rounding_is_right_on_average():
    layer = layers.QCFS(4, threshold=2.0).train()
    layer.noise = 1.0
    found = layer(torch.full((200_000,), 0.7)).detach()
    assert abs(float(found.mean()) - 0.7) < 0.005
    assert set(found.unique().tolist()) == {0.5, 1.0}
