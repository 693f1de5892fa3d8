"""Random graphs of all operators: branches that are put together or added, rearranged, padded and pooled in every way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eventsim.conversion import graph as g
from eventsim.errors import ConversionError


class Drawer:
    """A graph that grows by operators drawn at random; if it is to be ``exact``, its weights are +-1/2."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], activation: Callable[[Drawer], None], exact: bool = False):
        self.rng, self.exact = rng, exact
        self.graph = g.Graph()
        self.at = self.graph.add(g.Input(shape))
        self.draw_activation = activation
        self.earlier: list[int] = []

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the value so far."""
        return self.graph.shape(self.at)

    def pick(self, *choices):
        """One of the choices."""
        return choices[int(self.rng.integers(len(choices)))]

    def add(self, operator: g.Operator) -> None:
        """Append an operator on the value so far."""
        self.at = self.graph.add(operator, (self.at,))

    def weights(self, *shape: int) -> np.ndarray:
        """Binary with one magnitude a filter, or any."""
        if self.exact:
            return self.rng.choice([-0.5, 0.5], shape)
        size = np.sqrt(np.prod(shape[1:]))
        if self.rng.random() < 0.5:
            return self.rng.choice([-1.0, 1.0], shape) * self.rng.uniform(0.5, 1.5, (shape[0], *[1] * (len(shape) - 1))) / size
        return self.rng.normal(size=shape) / size

    # --- Operators -------------------------------------------------------------------------------------------------------

    def convolution(self) -> None:
        channels = self.shape[0]
        groups = self.pick(*[n for n in (1, 1, 2, 3, channels) if channels % n == 0])
        kernel = self.pick((1, 1), (3, 3), (2, 3), (1, 2))
        dilation = self.pick((1, 1), (1, 1), (2, 1), (2, 2))
        sides = tuple(int(self.rng.integers(0, 1 + (kernel[i % 2] - 1) * dilation[i % 2])) for i in range(4))
        outputs = groups * int(self.rng.integers(1, 3))
        bias = self.rng.normal(size=outputs) * 0.1 if self.rng.random() < 0.5 else None
        weight = self.weights(outputs, channels // groups, *kernel)
        self.add(g.Convolution(weight, bias, self.pick((1, 1), (1, 1), (2, 1)), sides, dilation, groups))

    def transposed(self) -> None:
        channels, groups = self.shape[0], self.pick(*[n for n in (1, 2) if self.shape[0] % n == 0])
        stride = self.pick((1, 1), (2, 2), (1, 2))
        extra = tuple(int(self.rng.integers(n)) for n in stride)
        self.add(g.TransposedConvolution(self.weights(channels, 2, 2, 3), None, stride, (0, 1, 1, 0), extra, groups=groups))

    def batch_norm(self) -> None:
        channels = self.shape[0]
        factor = self.rng.uniform(0.5, 1.5, channels) * self.rng.choice([-1, 1, 1], channels)
        self.at = self.graph.scale(self.at, factor, self.rng.normal(size=channels) * 0.2)

    def scale_everywhere(self) -> None:
        shape = tuple(self.pick(1, n) for n in self.shape)
        self.at = self.graph.affine(self.at, self.rng.uniform(0.5, 1.5, shape), self.rng.normal(size=shape) * 0.1)

    def average_pool(self) -> None:
        window = self.pick((2, 2), (3, 2), (1, 2), (2, 1))
        sides = tuple(int(self.rng.integers(window[i % 2])) for i in range(4)) if self.rng.random() < 0.5 else (0, 0, 0, 0)
        stride = self.pick(None, (1, 1), (2, 1))
        divisor = 1 if self.exact else self.pick(None, None, 1, 3)
        self.add(g.AveragePool(window, stride, sides, self.pick(False, True), self.pick(False, True), divisor))

    def adaptive(self) -> None:
        self.add(g.AdaptiveAveragePool(self.pick((1, 1), (2, 2), (3, 2))))

    def resample(self) -> None:
        self.add(g.Resample(self.rng.uniform(0, 1, (3, self.shape[1])), self.rng.uniform(0, 1, (4, self.shape[2]))))

    def pad(self) -> None:
        mode = self.pick("constant", "reflect", "edge", "wrap")
        widths = ((0, 0), *(tuple(int(self.rng.integers(0, max(1, min(n, 3)))) for _ in range(2)) for n in self.shape[1:]))
        self.add(g.Pad(widths, mode, self.pick(0.0, 0.5) if mode == "constant" else 0.0))

    def pad_channels(self) -> None:
        self.add(g.Pad(((0, 1), *[(0, 0)] * (len(self.shape) - 1))))

    def channels(self) -> None:
        count = int(self.rng.integers(1, self.shape[0] + 1))
        self.add(g.Select(0, self.rng.permutation(self.shape[0])[:count]))

    def shuffle(self) -> None:
        channels, *size = self.shape
        groups = self.pick(*[n for n in (1, 2, 3) if channels % n == 0])
        self.add(g.Reshape((groups, channels // groups, *size)))
        self.add(g.Permute((1, 0, *range(2, 2 + len(size)))))
        self.add(g.Reshape((channels, *size)))

    def upsample(self) -> None:
        axis = self.pick(1, 2)
        self.add(g.Select(axis, np.repeat(np.arange(self.shape[axis]), 2)))

    def crop(self) -> None:
        axis = self.pick(1, 2)
        first = int(self.rng.integers(self.shape[axis]))
        self.add(g.Select(axis, np.arange(first, self.shape[axis], self.pick(1, 2))))

    def turn(self) -> None:
        self.add(g.Permute((0, 2, 1)))

    def join(self) -> None:
        """Added to, or put beside, an earlier value that fits."""
        others = [n for n in self.earlier if len(self.graph.shape(n)) == len(self.shape)]
        same = [n for n in others if self.graph.shape(n) == self.shape]
        beside = [n for n in others if self.graph.shape(n)[1:] == self.shape[1:]]
        if same and self.rng.random() < 0.5:
            self.at = self.graph.add(g.Add(), (self.at, self.pick(*same)))
        elif beside:
            inputs = [self.at, self.pick(*beside)]
            self.rng.shuffle(inputs)
            self.at = self.graph.add(g.Concatenate(0), inputs)

    def beside(self) -> None:
        """Put beside itself along another axis."""
        axis = int(self.rng.integers(1, len(self.shape)))
        self.at = self.graph.add(g.Concatenate(axis), (self.at, self.at))

    def activation(self) -> None:
        self.draw_activation(self)
        self.earlier.append(self.at)

    def flatten(self) -> None:
        if self.rng.random() < 0.5:
            self.add(g.Permute((1, 2, 0)))
        self.add(g.Flatten())

    def linear(self, outputs: int) -> None:
        self.add(g.Linear(self.weights(outputs, self.shape[0]), self.rng.normal(size=outputs) * 0.1))


CHEAP = (
    "convolution",
    "convolution",
    "batch_norm",
    "activation",
    "activation",
    "join",
    "join",
    "channels",
    "shuffle",
    "average_pool",
    "pad",
)
RARE = ("transposed", "scale_everywhere", "adaptive", "resample", "pad_channels", "upsample", "crop", "turn", "beside")


INEXACT = ("batch_norm", "scale_everywhere", "adaptive", "resample")


def draw(rng: np.random.Generator, activation: Callable[[Drawer], None], length: int = 8, exact: bool = False) -> g.Graph:
    """A random graph on images (3, 5, 6): at least two activations, at the end a linear layer.

    With ``exact``, sums of spikes lie on a grid, where an activation's are only -1, 0 and 1.
    """
    d = Drawer(rng, (3, 5, 6), activation, exact)
    names = [name for name in (*CHEAP, *RARE) if not (exact and name in INEXACT)]
    d.convolution()
    d.activation()
    for _ in range(length):
        before = d.at
        name = d.pick(*names)
        try:
            getattr(d, name)()
        except ConversionError:  # what it drew does not fit
            d.at = before
        if np.prod(d.shape) > 600:
            d.at = before
    d.convolution()
    d.activation()
    d.flatten()
    if d.rng.random() < 0.5 and not exact:
        d.batch_norm()
    d.linear(4)
    return d.graph


def relu(d: Drawer) -> None:
    """A rectification."""
    d.add(g.Clip(0.0, np.inf))


def levels(d: Drawer) -> None:
    """Rounding to five levels, half to even or down."""
    d.at = d.graph.scale(d.at, 3.0, 0.3)
    d.add(d.pick(g.Round(), g.Floor()))
    d.add(g.Clip(0.0, 4.0))
    d.at = d.graph.scale(d.at, 0.25, 0.0)


def sign(d: Drawer) -> None:
    """The sign, of zero 1."""
    d.at = d.graph.scale(d.at, 1.0, 0.01)
    d.add(g.Sign(1.0))
