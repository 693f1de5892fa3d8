"""Modules are read as they are called: hooks, aliases, weights of the moment, wrappers; what depends on more than the image is refused."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import eventsim as es
from eventsim.conversion.from_torch import from_torch

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))).float() / 255


class Network(nn.Module):
    """Two convolutions and a layer, and what is done between them by a function that may use the network."""

    def __init__(self, between, before=lambda x: x):
        super().__init__()
        self.conv, self.second, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(256, 5)
        self.relu, self.between, self.before = nn.ReLU(inplace=True), between, before

    def forward(self, x):
        return self.out(self.between(self, self.conv(self.before(x))).flatten(1))


def preactivated(network, x):
    y = network.second(network.relu(x))  # changes x, too
    return torch.relu(y + x)


def under_two_names(network, x):
    y = torch.relu(x)
    z = y
    y += 1
    return torch.relu(network.second(y) + z)


def normalised_in_place(x):
    x = x.clone()
    x.sub_(0.5).div_(0.25)
    return x


def by_hooks():
    model = Network(lambda network, x: torch.relu(x))
    model.conv.register_forward_hook(lambda module, inputs, output: output.clamp(max=0.3))
    model.register_forward_pre_hook(lambda module, inputs: ((inputs[0] - 0.5) / 0.25,))
    model.register_forward_hook(lambda module, inputs, output: output * 2 - 1)
    return model


def with_norms(norm):
    def make():
        model = Network(lambda network, x: torch.relu(x))
        model.conv, model.out = norm(model.conv), norm(model.out)
        trained = copy.deepcopy(model.state_dict())
        for values in trained.values():
            values.mul_(1.7)
        model.load_state_dict(trained)
        return model

    return make


def patched():
    model = Network(lambda network, x: torch.relu(x))
    model.out.forward = lambda x: F.linear(x, torch.sign(model.out.weight) / 16)
    return model


def wrapped():
    return nn.DataParallel(torch.compile(Network(lambda network, x: torch.relu(x)), backend="eager"))


def shared():
    def twice(network, x):
        return torch.relu(network.second(torch.relu(network.second(torch.relu(x)))))

    return Network(twice)


def reshaped_in_place(network, x):
    y = torch.relu(x)
    return y.unsqueeze_(1).transpose_(1, 2).squeeze_(2).swapaxes_(2, 3)


def channels_last():
    """Pooling over all of an image says in place how its result lies in memory."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    return model.to(memory_format=torch.channels_last)


MODELS = {
    "other shapes in place": lambda: Network(reshaped_in_place),
    "channels last": channels_last,
    "a residual block that begins in place": lambda: Network(preactivated),
    "statements in place": lambda: Network(under_two_names, normalised_in_place),
    "hooks": by_hooks,
    "weight_norm": with_norms(nn.utils.parametrizations.weight_norm),
    "spectral_norm": with_norms(nn.utils.parametrizations.spectral_norm),
    "a patched forward": patched,
    "wrappers": wrapped,
    "a shared module": shared,
    "branches": lambda: Network(lambda network, x: torch.cat([torch.relu(x), torch.relu(network.second(torch.relu(x)))], 1)[:, ::2]),
    "channel shuffle, upsampling, pooling": lambda: Network(
        lambda network, x: F.interpolate(
            F.avg_pool2d(torch.relu(x), 2).view(-1, 2, 2, 4, 4).transpose(1, 2).reshape(-1, 4, 4, 4), scale_factor=2
        )
    ),
    "sizes as numbers": lambda: Network(lambda network, x: torch.relu(x).view(x.shape[0], x.size(1), -1)),
    "scripted": lambda: torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_modules_are_converted_as_they_are_called(name):
    torch.manual_seed(1)
    model = MODELS[name]().eval()
    made = es.convert(model, IMAGES)
    with torch.no_grad():
        expected = model(PIXELS.clone()).numpy()
    np.testing.assert_allclose(made.evaluate(IMAGES), expected, atol=1e-5)
    assert not model.training


class Drifting(nn.Module):
    """Counts its calls."""

    def __init__(self):
        super().__init__()
        self.out, self.calls = nn.Linear(192, 3), 0

    def forward(self, x):
        self.calls += 1
        return self.out(x.flatten(1)) * self.calls


def escaped(network, x):
    return torch.relu(x) + torch.from_numpy(x.detach().numpy().mean((0, 2, 3)))[:, None, None]


def deciding(network, x):
    return torch.relu(x) if x.mean() > 0 else x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Drifting, "something else for other images, for more of them at a time, or each time"),
        (lambda: Network(escaped), r"add \(add\): the network itself computes other values .* depends on the other images"),
        (lambda: Network(deciding), "mean: reduces over the images|reduces over the images of a batch"),
        (lambda: Network(lambda network, x: x if bool((x[:, 0] > 0).any()) else -x), "any"),
        (lambda: Network(lambda network, x: F.dropout(x)), "draws random numbers, in evaluation mode too"),
        (lambda: Network(lambda network, x: torch.relu(x) * torch.sigmoid(network.second(x))), r"mul \(mul\): a product of two values"),
        (lambda: Network(lambda network, x: torch.relu(torch.softmax(x.flatten(1), 1))), r"softmax inside a network has no spiking"),
        (lambda: Network(lambda network, x: x.new_tensor(x.tolist())), r"not through PyTorch's operators \(NumPy\?\)"),
        (lambda: Network(lambda network, x: x.view(1, -1)), "mixes the images of a batch"),
        (lambda: Network(lambda network, x: x.view(1, 4, 8, 8)), r"the module does not run on images \(2, 3, 8, 8\)"),
        (lambda: Network(lambda network, x: 1 / 0), "ZeroDivisionError"),
        (lambda: Network(lambda network, x: x.roll(1, 0)), "mixes the images of a batch"),
        (lambda: Network(lambda network, x: torch.zeros_like(x)), "does not depend on its input"),
        (lambda: nn.Sequential(nn.InstanceNorm2d(3), nn.Flatten(), nn.Linear(192, 2)), "statistics of the batch"),
    ],
)
def test_what_depends_on_more_than_the_image_is_refused(make, message):
    torch.manual_seed(0)
    with pytest.raises(es.ConversionError, match=message) as caught:
        es.convert(make(), IMAGES)
    assert "\n" not in str(caught.value)


class Several(nn.Module):
    def __init__(self, pack):
        super().__init__()
        self.a, self.b, self.pack = nn.Linear(192, 3), nn.Linear(192, 4), pack

    def forward(self, x):
        x = x.flatten(1)
        return self.pack(self.a(x), self.b(x))


@pytest.mark.parametrize(
    ("pack", "output", "count"),
    [(lambda a, b: (a, b), 1, 4), (lambda a, b: [a, None], None, 3), (lambda a, b: {"logits": a, "features": b}, "logits", 3)],
)
def test_one_of_several_outputs_is_chosen(pack, output, count):
    assert es.convert(Several(pack), IMAGES, output=output).network.populations["fc1"].size == count


@pytest.mark.parametrize("output", [None, 2, "logits"])
def test_several_outputs_are_listed(output):
    with pytest.raises(es.ConversionError, match=r"returns 2 outputs \(0: \(2, 3\), 1: \(2, 4\)\); say which one is the answer"):
        es.convert(Several(lambda a, b: (a, b)), IMAGES, output=output)


def test_each_part_of_a_module_keeps_its_mode():
    model = Network(lambda network, x: torch.relu(x)).train()
    model.second.eval()
    es.convert(model, IMAGES)
    assert [part.training for part in (model, model.conv, model.second, model.out)] == [True, True, False, True]


def test_names_are_those_of_modules():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return torch.relu(torch.relu(self.conv(x)) + x)

    graph = from_torch(nn.Sequential(Block(), Block(), nn.Flatten(), nn.Linear(192, 2)), (3, 8, 8))
    names = [node.name for node in graph.nodes]
    assert names == [
        "input", "0.conv (Conv2d)", "0.relu (relu)", "0.add (add)", "0.relu_1 (relu)",
        "1.conv (Conv2d)", "1.relu (relu)", "1.add (add)", "1.relu_1 (relu)", "3 (Linear)", "3 (Linear)",
    ]  # fmt: skip
