"""Random small networks with their inputs. Magnitudes are small, so ties at threshold and simultaneous spikes are common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eventsim.errors import NetworkError
from eventsim.job.job import Job
from eventsim.job.preparation import prepare
from eventsim.model.exits import ExitRule
from eventsim.model.network import Network
from eventsim.model.periods import ticks
from eventsim.model.populations import Readout
from eventsim.model.tables import Conv2d, Dense, GroupedConv2d, Sparse, Windows, spatial

# Potentials of a population move in multiples of its unit or near them: int8, int16 and int32 weights.
UNITS = (1, 1, 1, 1, 300, 70_000)


@dataclass
class Case:
    """A network with everything that a run of it needs but the resolution."""

    network: Network
    inputs: Any
    steps: int
    exit_rule: ExitRule | None
    seed: int

    def job(self, resolution: int) -> Job:
        """Prepare the run."""
        return prepare(self.network, self.inputs, steps=self.steps, resolution=resolution, exit_rule=self.exit_rule, seed=self.seed)


def pick(rng: np.random.Generator, *choices: Any) -> Any:
    """One of the choices, unconverted."""
    return choices[rng.integers(len(choices))]


def random_shape(rng: np.random.Generator) -> tuple[int, ...]:
    """A population's shape: flat or an image, up to 75 neurons; now and then more than two blocks of 64."""
    way = rng.random()
    if way < 0.4:
        return (int(rng.integers(130, 150)),) if way < 0.03 else (int(rng.integers(1, 13)),)
    return int(rng.integers(1, 6)), int(rng.integers(1, 6)), int(rng.integers(1, 4))


def random_weights(rng: np.random.Generator, shape: tuple[int, ...], unit: int = 1) -> np.ndarray:
    """Binary weights, or small ones with zeros among them, or any about ``unit``."""
    way = rng.integers(4)
    if way == 0:
        return unit * int(rng.integers(1, 4)) * rng.choice([-1, 1], shape)
    if way == 1:
        return unit * rng.integers(-2, 3, shape)
    if way == 2:
        return rng.integers(-2 * unit, 2 * unit + 1, shape)
    return unit * rng.choice([-1, 0, 0, 1, 2], shape)


def random_conv(rng: np.random.Generator, source: tuple[int, ...], unit: int = 1) -> Conv2d:
    """A convolution that fits the source, with any stride, padding and pooling."""
    channels = spatial(source)[2]
    while True:
        kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        if rng.random() < 0.5:
            padding: Any = tuple(int(rng.integers(0, k)) for k in kernel * 2)
        else:
            padding = int(rng.integers(0, min(kernel)))
        table = Conv2d(
            random_weights(rng, (*kernel, channels, int(rng.integers(1, 4))), unit),
            stride=pick(rng, 1, 1, 1, 2, 3, (1, 2), (3, 1)),
            padding=padding,
            pool_before=pick(rng, 1, 1, 1, 2, (1, 2), (2, 1), 3),
            pool_after=pick(rng, 1, 1, 1, 2, (1, 2), (2, 1), 3),
        )
        try:
            table.output_shape(source)
        except NetworkError:  # too small for all this; draw again
            continue
        return table


def random_dense(rng: np.random.Generator, source: tuple[int, ...], targets: int, unit: int = 1) -> Dense:
    """A dense table that fits the source, now and then pooled."""
    height, width, channels = spatial(source)
    window = pick(rng, 1, 1, 2, (1, 2), (2, 1))
    rows, cols = (window, window) if isinstance(window, int) else window
    if height < rows or width < cols:
        window, rows, cols = 1, 1, 1
    return Dense(random_weights(rng, ((height // rows) * (width // cols) * channels, targets), unit), pool_before=window)


def random_sparse(rng: np.random.Generator, source: tuple[int, ...], targets: int, unit: int = 1) -> Sparse:
    """A sparse table that fits the source; rows may be empty and entries zero."""
    rows = int(np.prod(source))
    mask = rng.random((rows, targets)) < pick(rng, 0.2, 0.6)
    counts = mask.sum(1)
    return Sparse(np.concatenate(([0], np.cumsum(counts))), np.nonzero(mask)[1], random_weights(rng, (int(counts.sum()),), unit), targets)


def random_grouped(rng: np.random.Generator, source: tuple[int, ...], unit: int = 1) -> GroupedConv2d:
    """A convolution in groups that fits the source, dilated or between some channels of it and of its target."""
    channels = spatial(source)[2]
    while True:
        inputs = int(rng.integers(1, channels + 1))
        groups = pick(rng, *[n for n in (1, 2, 3, inputs) if inputs % n == 0])
        kernel, dilation = (int(rng.integers(1, 4)), int(rng.integers(1, 3))), (int(rng.integers(1, 3)), int(rng.integers(1, 4)))
        outputs = groups * int(rng.integers(1, 3))
        target = outputs + int(rng.integers(0, 2))
        table = GroupedConv2d(
            random_weights(rng, (*kernel, inputs // groups, outputs), unit),
            groups,
            stride=pick(rng, 1, 1, 2, (1, 3)),
            padding=tuple(int(rng.integers(0, (kernel[i % 2] - 1) * dilation[i % 2] + 1)) for i in range(4)),
            dilation=dilation,
            pool_before=pick(rng, 1, 1, 2, (2, 1)),
            sources=rng.permutation(channels)[:inputs],
            targets=rng.permutation(target)[:outputs],
            channels=target,
        )
        try:
            table.output_shape(source)
        except NetworkError:  # too small for all this; draw again
            continue
        return table


def random_table(rng: np.random.Generator, source: tuple[int, ...], unit: int = 1) -> tuple[Any, tuple[int, ...]]:
    """A table of any kind from the source and the shape of the target it makes."""
    way = rng.integers(6)
    if way not in (3, 4):
        table = random_grouped(rng, source, unit) if way == 5 else random_conv(rng, source, unit)
        return table, table.output_shape(source)
    target = random_shape(rng)
    make = random_dense if way == 3 else random_sparse
    return make(rng, source, int(np.prod(target)), unit), target


def _table_to(rng: np.random.Generator, source: tuple[int, ...], target: tuple[int, ...], unit: int) -> Any:
    """A table between two given shapes: one more projection into a population."""
    if len(source) == len(target) == 3 and source[:2] == target[:2]:
        return Conv2d(random_weights(rng, (3, 3, source[2], target[2]), unit), padding=1)
    make = random_dense if rng.random() < 0.5 else random_sparse
    return make(rng, source, int(np.prod(target)), unit)


def random_windows(rng: np.random.Generator, source: tuple[int, ...]) -> Windows:
    """Windows that fit the source: of any size, overlapping or with gaps, with paddings that may differ, or one of all."""
    height, width, _ = spatial(source)
    if rng.random() < 0.15:
        return Windows((height, width))
    while True:
        kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        padding: Any = tuple(int(rng.integers(0, k)) for k in kernel * 2) if rng.random() < 0.5 else 0
        table = Windows(kernel, pick(rng, None, 1, 2, 3, (1, 2)), padding)
        try:
            table.output_shape(source)
        except NetworkError:
            continue
        return table


def _maximum(rng: np.random.Generator, net: Network, name: str, source: str, delay: float) -> None:
    """A maximum population over another one."""
    population = net.populations[source]
    table = random_windows(rng, population.shape)
    shape = table.output_shape(population.shape)
    largest = rng.integers(0, 2, shape[-1]) if rng.random() < 0.5 else bool(rng.random() < 0.6)
    net.maximum(name, shape, largest=largest, signed=population.signed or bool(rng.random() < 0.2))
    net.connect(source, name, table, delay=delay)


def _per_channel(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> Any:
    if rng.random() < 0.5:
        return int(rng.integers(low, high + 1))
    return rng.integers(low, high + 1, shape[-1])


def _events(rng: np.random.Generator, size: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    n = int(rng.integers(0, 4 * steps))
    # Quarters of steps coincide at any resolution; some times are arbitrary, some after the end.
    times = np.where(rng.random(n) < 0.7, rng.integers(0, 4 * steps + 3, n) / 4, rng.random(n) * (steps + 0.5))
    neurons = rng.integers(0, size, n)
    repeated = rng.integers(0, n, n // 3) if n else []
    return np.concatenate((times, times[repeated])), np.concatenate((neurons, neurons[repeated]))


def _refractory(rng: np.random.Generator) -> float:
    return float(pick(rng, 0, 0, 0.3, 0.5, 1, 1.4, 1.5, 2))


def _exit_rule(rng: np.random.Generator, network: Network, unit: int) -> ExitRule | None:
    if rng.random() < 0.7:
        return None
    output = network.populations[network.output or ""]
    assert isinstance(output, Readout)
    start = np.broadcast_to(output.v0, output.shape).ravel()
    kind = pick(rng, "potential", "margin") if len(start) > 1 else "potential"
    lowest = start.max() if kind == "potential" else np.ptp(np.sort(start)[-2:])
    return ExitRule(kind, int(lowest) + int(rng.integers(1, 5 * unit + 1)))


def random_case(rng: np.random.Generator, resolution: int = 1) -> Case:  # noqa: C901 - a branch for each kind of network
    """A random network; delays round to at least one tick at this resolution where a cycle needs it."""
    net = Network()
    inputs: Any = {}
    steps = int(rng.integers(2, 13))
    layers: list[str] = []  # in an order without backward projections
    unit_of: dict[str, int] = {}
    has_image = rng.random() < 0.3
    if has_image:
        net.image_input(
            (int(rng.integers(2, 7)), int(rng.integers(2, 7)), int(rng.integers(1, 4))),
            scale=int(rng.integers(1, 3)),
            offset=int(rng.integers(0, 200)),
        )
        assert net.input is not None
        shape = net.input.shape
        inputs = rng.integers(0, 256, shape, dtype=np.uint8)
        for i in range(int(rng.integers(1, 3))):
            encoder, target = random_table(rng, shape)
            net.driven(
                f"image{i}",
                target,
                _per_channel(rng, target, 200, 1500),
                v0=_per_channel(rng, target, -300, 2000),
                refractory=_refractory(rng),
                encoder=encoder,
                bias=_per_channel(rng, target, -100, 300),
            )
            layers.append(f"image{i}")
    for i in range(int(rng.integers(0 if has_image else 1, 3))):
        shape, name = random_shape(rng), f"in{i}"
        size = int(np.prod(shape))
        kind = pick(rng, "poisson", "clock") if has_image else pick(rng, "driven", "driven", "events", "events", "poisson", "clock")
        if kind == "driven":
            unit = pick(rng, *UNITS)
            net.driven(
                name,
                shape,
                _per_channel(rng, shape, unit, 6 * unit),
                v0=_per_channel(rng, shape, -3 * unit, 13 * unit),
                refractory=_refractory(rng),
            )
            inputs[name] = rng.integers(-2 * unit, 7 * unit, size)
        else:
            rate = rng.random(shape) if kind == "poisson" else None
            # Some clocks emit once only.
            once = kind == "clock" and i == 1
            net.source(name, shape, "start" if once else kind, rate=rate, period=(0.0, 0.3, 0.5, 1.0)[size % 4] if once else 0)
            if kind == "events":
                inputs[name] = _events(rng, size, steps)
        layers.append(name)

    def delay(at_least: int) -> float:
        periods = [d for d in (0.0, 0.0, 0.0, 0.2, 0.4, 0.5, 1.0, 1.0, 1.49, 1.5, 2.0, 3.25) if ticks(d, resolution) >= at_least]
        return float(pick(rng, *periods))

    for i in range(int(rng.integers(1, 4))):
        name, unit = f"layer{i}", pick(rng, *UNITS)
        first = layers[rng.integers(max(0, len(layers) - 2), len(layers))]
        table, shape = random_table(rng, net.populations[first].shape, unit)
        reset = pick(rng, "subtract", "subtract", "zero")
        net.spiking(
            name,
            shape,
            _per_channel(rng, shape, unit, 5 * unit),
            v0=_per_channel(rng, shape, -3 * unit, 3 * unit) if rng.random() < 0.8 else _per_channel(rng, shape, -3 * unit, 9 * unit),
            reset=reset,
            signed=bool(reset == "subtract" and rng.random() < 0.5),
            refractory=_refractory(rng),
        )
        unit_of[name] = unit
        net.connect(first, name, table, delay=delay(0))
        for _ in range(pick(rng, 0, 0, 1, 2)):  # residuals, or the same source twice
            other = layers[rng.integers(len(layers))]
            net.connect(other, name, _table_to(rng, net.populations[other].shape, shape, unit), delay=delay(0))
        if rng.random() < 0.3:
            net.bias(name, _per_channel(rng, shape, -2 * unit, 2 * unit))
        layers.append(name)
        if rng.random() < 0.4:
            pooled = layers[rng.integers(max(0, len(layers) - 2), len(layers))]
            if net.populations[pooled].emits != "events":
                _maximum(rng, net, f"pool{i}", pooled, delay(0))
                layers.append(f"pool{i}")
    for i in range(pick(rng, 1, 1, 2)):
        name, unit = f"out{i}", pick(rng, *UNITS)
        first = layers[rng.integers(max(0, len(layers) - 2), len(layers))]
        table, shape = random_table(rng, net.populations[first].shape, unit)
        net.readout(name, shape, v0=_per_channel(rng, shape, -2 * unit, 2 * unit))
        unit_of[name] = unit
        net.connect(first, name, table, delay=delay(0))
        if rng.random() < 0.4:
            other = layers[rng.integers(len(layers))]
            net.connect(other, name, _table_to(rng, net.populations[other].shape, shape, unit), delay=delay(0))
        if rng.random() < 0.3:
            net.bias(name, _per_channel(rng, shape, -unit, unit))
    spiking = [name for name in layers if name.startswith("layer")]
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 3))):  # recurrent: back to an earlier layer or to itself
            target = spiking[rng.integers(len(spiking))]
            source = spiking[rng.integers(spiking.index(target), len(spiking))]
            table = _table_to(rng, net.populations[source].shape, net.populations[target].shape, unit_of[target])
            net.connect(source, target, table, delay=delay(1))
    return Case(net, inputs, steps, _exit_rule(rng, net, unit_of[net.output or ""]), int(rng.integers(1000)))
