"""PyTorch modules against what PyTorch itself computes, and their ONNX exports against them, spike for spike."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import eventsim as es
from eventsim.conversion.from_nir import from_nir
from eventsim.conversion.from_onnx import from_onnx
from eventsim.conversion.from_torch import from_torch
from eventsim.conversion.lowering import lower
from eventsim.conversion.to_nir import write_nir

torch = pytest.importorskip("torch")
nn = torch.nn


class Residual(nn.Module):
    """Two residual connections, a shortcut with weights, functions and methods rather than modules."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding="same", bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.c = nn.Conv2d(8, 8, 1, stride=2)
        self.d = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.f = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.a((x - 0.5) / 0.25))
        y = (self.bn(self.b(x)) + x).relu()
        y = nn.functional.relu(self.c(y) + self.d(y))
        y = nn.functional.adaptive_avg_pool2d(y, 1)
        return self.f(y.view(y.size(0), -1))


class Signs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w):
        return torch.where(w < 0, -torch.ones_like(w), torch.ones_like(w))


class OwnBinary(nn.Module):
    """A binarised layer written by hand, with an autograd function."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.w = nn.Parameter(torch.randn(outputs, inputs))

    def forward(self, x):
        return nn.functional.linear(x, Signs.apply(self.w) * self.w.abs().mean())


def own_binary():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), OwnBinary(16, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 4))


def recipe(levels):
    from architectures import CIFAR10, vgg

    return vgg((6, 6, "P", 8, "P"), (12,), 5, image=(3, 8, 8), levels=levels, normalise=CIFAR10, dropout=0.1)


def module(make, seed):
    torch.manual_seed(seed)
    model = make()
    for part in model.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return model.eval()


MODELS = {"residual": Residual, "own binary": own_binary, "recipe QCFS": lambda: recipe(4), "recipe ReLU": lambda: recipe(0)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_layers_compute_what_pytorch_computes(name, seed):
    model = module(MODELS[name], seed).double()
    x = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        expected = model(x).numpy()
    found = lower(from_torch(model, (3, 8, 8))).evaluate(x.numpy().transpose(0, 2, 3, 1))
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize(("name", "binary"), [("own binary", 1), ("recipe QCFS", 3), ("recipe ReLU", 3), ("residual", 0)])
def test_binary_layers_are_recognised_and_keep_their_signs(name, binary):
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    made = es.convert(module(MODELS[name], 1), images)
    assert made.report.binary_layers == binary
    assert made.report.signs_changed == 0
    assert sum(layer.binary_table for layer in made.report.layers) == binary


def spikes(made, image, resolution):
    result = es.run(made.network, image, steps=6, resolution=resolution)
    return {name: result.spikes(name) for name, p in made.network.populations.items() if p.kind in ("driven", "spiking")}


@pytest.mark.parametrize("resolution", [1, es.DEFAULT_RESOLUTION])
@pytest.mark.parametrize("name", ["own binary", "recipe QCFS", "recipe ReLU", "residual"])
def test_onnx_and_nir_exports_make_the_same_spikes(name, resolution, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    model = module(MODELS[name], 2)
    path = tmp_path / "model.onnx"
    torch.onnx.export(model, (torch.rand(1, 3, 8, 8),), path, dynamo=True, external_data=False, optimize=True)
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    ours, theirs = es.convert(model, images), es.convert(from_onnx(path), images)
    write_nir(ours, tmp_path / "model.nir")
    # What NIR cannot say has to be said again.
    signed = any(p.signed for p in ours.network.populations.values())
    for other in (theirs, es.convert(from_nir(tmp_path / "model.nir"), signed=signed)):
        assert list(ours.network.populations) == list(other.network.populations)
        for image in images[:3]:
            expected, found = spikes(ours, image, resolution), spikes(other, image, resolution)
            assert sum(len(s.ticks) for s in expected.values()) > 0
            for population in expected:
                for a, b in zip(expected[population], found[population], strict=True):
                    np.testing.assert_array_equal(a, b)


class WrittenOut(nn.Conv2d):
    """A binarised convolution whose weights the exported file computes, node by node."""

    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        alpha = w.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-3)
        return self._conv_forward(x, torch.where(w < 0, -alpha, alpha), None)


def test_onnx_that_computes_its_weights(tmp_path):
    pytest.importorskip("onnx")
    parts = [nn.Conv2d(3, 8, 3), nn.ReLU(), WrittenOut(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)]
    model, path = module(lambda: nn.Sequential(*parts), 3), tmp_path / "model.onnx"
    with pytest.warns(DeprecationWarning, match="legacy"):
        torch.onnx.export(model, (torch.rand(1, 3, 8, 8),), path, dynamo=False, do_constant_folding=False)
    kinds = {node.op_type for node in importlib.import_module("onnx").load(path).graph.node}
    assert {"ReduceMean", "Where", "Less"} <= kinds
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    ours, theirs = es.convert(model, images), es.convert(from_onnx(path), images)
    assert ours.report.binary_layers == theirs.report.binary_layers == 1
    for image in images[:3]:
        expected, found = spikes(ours, image, 1), spikes(theirs, image, 1)
        for a, b in zip(expected.values(), found.values(), strict=True):
            np.testing.assert_array_equal(a.neurons, b.neurons)
            np.testing.assert_array_equal(a.ticks, b.ticks)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU()), r"1 \(GELU\): gelu: not supported: its curve .* train with ReLU"),
        (lambda: {"weight": np.ones(3)}, r"expected a torch.nn.Module, a NIR graph, or the path of an ONNX or NIR file, found a dict"),
        (lambda: nn.Sequential(nn.LeakyReLU()), r"0 \(LeakyReLU\): leaky_relu: not supported: what is below zero .* ReLU"),
        (lambda: nn.Sequential(nn.GroupNorm(1, 3)), r"0 \(GroupNorm\): native_group_norm: not supported: normalises .* batch norm"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmax(1), nn.ReLU()), r"2 \(ReLU\): a softmax over other axes"),
        (lambda: nn.Sequential(nn.Flatten(0), nn.Linear(384, 3)), "mixes the images of a batch"),
    ],
)
def test_what_is_not_supported_is_named(model, message):
    with pytest.raises(es.ConversionError, match=message):
        from_torch(model(), (3, 8, 8))
