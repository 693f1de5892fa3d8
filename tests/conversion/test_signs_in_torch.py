"""However a sign activation is written in PyTorch, it is found, with what it makes of zero, and every spike is the module's activation."""

from __future__ import annotations

import numpy as np
import pytest

import eventsim as es

torch = pytest.importorskip("torch")
F = torch.nn.functional


class Above(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Nudged(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign().add(0.5).sign()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def straight_through(x):
    return (torch.sign(x) - x).detach() + x


def straight_through_bounded(x):
    bounded = torch.clamp(x, -1, 1)
    return (torch.sign(x) - bounded).detach() + bounded


def straight_through_bounded_in_front(x):
    bounded = F.hardtanh(x)
    return bounded + (torch.sign(x) - bounded).detach()


FORMS = {
    "torch.sign": torch.sign,
    "method": lambda x: x.sign(),
    "where, tensors": lambda x: torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x)),
    "where, numbers": lambda x: torch.where(x > 0, 1.0, -1.0),
    "where, the other way": lambda x: torch.where(x < 0, -1.0, 1.0),
    "comparison as float": lambda x: (x >= 0).float() * 2 - 1,
    "comparison as type": lambda x: 1 - 2 * (x < 0).to(x.dtype),
    "0 and 1": lambda x: (x > 0).float(),
    "up to": lambda x: (x <= 0).float(),
    "heaviside": lambda x: torch.heaviside(x, torch.tensor(0.5)),
    "function": Above.apply,
    "function, nudged": Nudged.apply,
    "straight through": straight_through,
    "straight through a bound": straight_through_bounded,
    "straight through a bound in front": straight_through_bounded_in_front,
    "Hardtanh before": lambda x: torch.sign(F.hardtanh(x)),
    "Hardtanh behind": lambda x: F.hardtanh(torch.sign(x)),
    "of a ReLU": lambda x: torch.sign(torch.relu(x)),
    "ternary": lambda x: (x > 1).float() - (x < -1).float(),
    "rounded": lambda x: torch.floor(torch.clamp(x / 2 + 0.5, -1, 1)),
}


class Network(torch.nn.Module):
    """Weights +-1 on black and white pixels: sums are whole numbers, and often zero."""

    def __init__(self, activation, normed: bool):
        super().__init__()
        generator = torch.Generator().manual_seed(int(normed))

        def signs(*shape):
            return torch.sign(torch.rand(*shape, generator=generator) - 0.5)

        self.activation, self.seen = activation, []
        self.conv, self.hidden, self.out = signs(6, 1, 3, 3), signs(20, 216), signs(10, 20)
        self.norm = torch.nn.BatchNorm2d(6) if normed else torch.nn.Identity()
        if normed:
            for values in (self.norm.running_mean, self.norm.weight.data, self.norm.bias.data):
                values.normal_(generator=generator)

    def forward(self, x):
        x = self.activation(self.norm(F.conv2d(x, self.conv)))
        first = x
        x = self.activation(F.linear(torch.flatten(x, 1), self.hidden))
        self.seen = [first, x]
        return F.linear(x, self.out)


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_every_spike_is_the_modules_activation(form, normed):
    module = Network(FORMS[form], normed).eval()
    images = (np.random.default_rng(0).random((4, 8, 8, 1)) > 0.5).astype(np.uint8) * 255
    made = es.convert(module, input_shape=(1, 8, 8))
    low, high = (-1.0, 1.0) if form not in ("0 and 1", "up to", "heaviside", "of a ReLU") else (0.0, 1.0)
    for image in images:
        with torch.no_grad():
            answer = module(torch.tensor(image.transpose(2, 0, 1)[None] / 255).float())
        for resolution in (1, 2**20):
            result = es.run(made.network, image, resolution=resolution)
            layers = list(made.steps.values())
            # The difference of two comparisons is two layers, which the answer below shows to be right.
            for neurons, seen in [] if form == "ternary" else zip(layers, module.seen, strict=True):
                expected = (seen[0].movedim(0, -1) if seen.ndim == 4 else seen[0]).numpy().ravel()
                spikes = sum(np.bincount(result.spikes(n.name).neurons, minlength=expected.size) * n.share for n in neurons)
                # ("Up to" spikes where the comparison fails: the next layer's weights are turned round.)
                value = low + (high - low) * (1 - spikes if form == "up to" else spikes)
                np.testing.assert_allclose(value, expected, err_msg=f"R = {resolution}")
            scale = np.abs(result.readout[-1]).max() / answer.abs().max().item()
            np.testing.assert_allclose(result.readout[-1], scale * answer[0].numpy(), atol=1e-4 * scale)


def test_pooling_as_torch_has_it():
    """Windows that overlap, padding, ceil mode: the converter's reading of the module against the module."""
    from itertools import product

    for size, window, stride, padding, ceil in product((7, 8), (2, 3), (1, 2, 3), (0, 1), (False, True)):
        module = torch.nn.Sequential(
            torch.nn.Conv2d(1, 2, 3, bias=False), torch.nn.MaxPool2d(window, stride, padding, ceil_mode=ceil), Sign(), torch.nn.Flatten()
        )
        shape = module(torch.zeros(1, 1, size, size)).shape[1]
        module.append(torch.nn.Linear(shape, 2))
        images = np.random.default_rng(size).integers(0, 256, (3, size, size, 1)).astype(np.uint8)
        made = es.convert(module, input_shape=(1, size, size))
        with torch.no_grad():
            expected = module(torch.tensor(images.transpose(0, 3, 1, 2) / 255).float()).numpy()
        np.testing.assert_allclose(made.evaluate(images), expected, rtol=1e-4, atol=1e-5)


class Sign(torch.nn.Module):
    def forward(self, x):
        return torch.sign(x)
