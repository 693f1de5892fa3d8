"""Files as PyTorch's exporters write them, the old one and the new one, read and compared with the modules themselves."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from judges.onnx_models import read  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from eventsim.conversion.from_onnx import from_onnx  # noqa: E402
from eventsim.conversion.judging import check_reading  # noqa: E402

OLD, NEW = (11, 20), (18, 24)


class Of(nn.Module):
    """A function of the image, and the layers that it uses."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.function(self, x)


def conv(*args, **settings):
    return nn.Conv2d(*args, **settings)


def shuffled(m, x):
    x = F.relu(m.conv(x))
    n, c, h, w = x.shape
    return m.out(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w).flatten(1))


def parts(m, x):
    one, two = F.relu(m.conv(x)).chunk(2, 1)
    return m.out(torch.cat([two, one, two * 0.5], 1)[:, :, 1:].mean((2, 3)))


def up(m, x):
    return m.out(F.interpolate(F.relu(m.conv(x)), scale_factor=2, mode="nearest").flatten(1))


def reflected(m, x):
    return m.out(F.relu(m.conv(F.pad(x, (1, 2, 1, 0), mode="reflect"))).flatten(1))


def quantised(m, x):
    x = torch.clamp(torch.round(m.conv(x) * 4), 0, 7) / 4
    return m.out(F.max_pool2d(x, 3, 2, 1, ceil_mode=True).flatten(1))


def signs(m, x):
    x = torch.where(m.conv(x) >= 0.1, 1.0, -1.0)
    return torch.log_softmax(m.out(torch.flatten(x, 1).sign()), -1)


def whole(m, x):
    return m.out((m.conv(x) * 4).to(torch.int32).float().clamp(0, 3).div(4).view(x.shape[0], -1))


def by_rows(m, x):
    return m.out((F.hardtanh(m.conv(x), 0, 1) + m.shift).transpose(1, 2).flatten(1))


NETWORKS = {
    "plain": lambda: nn.Sequential(
        conv(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), conv(8, 8, 3, groups=4, dilation=2, padding=2), nn.ReLU6(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(32, 5), nn.Softmax(1),
    ),
    "pools": lambda: nn.Sequential(
        conv(3, 4, 3, stride=2, padding=(2, 1)), nn.ReLU(), nn.AvgPool2d(3, 2, 1),
        nn.AvgPool2d(2, 1, 1, count_include_pad=False, ceil_mode=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5),
    ),
    "transposed": lambda: nn.Sequential(
        conv(3, 4, 3), nn.ReLU(),
        nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2), nn.Hardtanh(), nn.Flatten(), nn.Linear(864, 5)
    ),
    "one dimension": lambda: Of(
        lambda m, x: m.out(F.relu(m.conv(x.flatten(2)))[:, :, ::2].amax(2)), conv=nn.Conv1d(3, 6, 5, 3, 2), out=nn.Linear(6, 5)
    ),
    "shuffle": lambda: Of(shuffled, conv=conv(3, 8, 3, 2), out=nn.Linear(72, 5)),
    "parts": lambda: Of(parts, conv=conv(3, 8, 3, 2), out=nn.Linear(12, 5)),
    "up": lambda: Of(up, conv=conv(3, 8, 3, 3), out=nn.Linear(128, 5)),
    "reflected": lambda: Of(reflected, conv=conv(3, 4, 3, 3), out=nn.Linear(36, 5)),
    "quantised": lambda: Of(quantised, conv=conv(3, 4, 3), out=nn.Linear(64, 5)),
    "signs": lambda: Of(signs, conv=conv(3, 4, 3), out=nn.Linear(144, 5)),
    "whole numbers": lambda: Of(whole, conv=conv(3, 4, 3), out=nn.Linear(144, 5)),
    "by rows": lambda: Of(by_rows, conv=conv(3, 4, 3), out=nn.Linear(144, 5), shift=nn.Parameter(torch.linspace(0, 1, 6))),
}  # fmt: skip


def exported(network, path, **settings):
    """A trained network (its statistics are not the initial ones) and its file."""
    torch.manual_seed(1)
    made = NETWORKS[network]()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    made.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(made, (torch.rand(1, 3, 8, 8),), path, verbose=False, **settings)
    return made


def compare(network, path, **settings):
    made = exported(network, path, **settings)
    x = np.random.default_rng(2).random((8, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        expected = made(torch.from_numpy(x)).numpy()
    found = read(path, x)
    if network in ("plain", "signs"):  # (log-)softmax is left out
        found = found - found.max(1, keepdims=True)
        found -= np.log(np.exp(found).sum(1, keepdims=True))
        expected = np.log(expected) if network == "plain" else expected
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    check_reading(from_onnx(path), x)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("opset", OLD)
def test_the_old_exporter(network, opset, tmp_path):
    compare(network, tmp_path / "model.onnx", opset_version=opset, dynamo=False)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_old_exporter_with_any_batch(network, tmp_path):
    settings = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
    compare(network, tmp_path / "model.onnx", opset_version=17, dynamo=False, **settings)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("opset", NEW)
@pytest.mark.parametrize("external", [False, True])
def test_the_new_exporter(network, opset, external, tmp_path):
    pytest.importorskip("onnxscript")
    if external and opset != NEW[0]:
        pytest.skip("once is enough")
    compare(network, tmp_path / "model.onnx", opset_version=opset, dynamo=True, external_data=external)
