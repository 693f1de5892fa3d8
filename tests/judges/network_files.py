"""Sample networks of all kinds, and whether two networks are the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventsim.errors import NetworkFileError
from eventsim.model import netfile
from eventsim.model.network import Network
from eventsim.model.tables import Conv2d, Dense, GroupedConv2d, Sparse, Windows


def everything() -> Network:
    """One of each: kind of population, table, option."""
    rng = np.random.default_rng(1)
    net = Network()
    net.image_input((6, 5, 3), scale=[2, 3, 4], offset=[100, -5, 0])
    first = Conv2d(rng.integers(-300, 300, (3, 3, 3, 4)), stride=(1, 2), padding=(1, 0, 1, 1))
    shape = first.output_shape((6, 5, 3))
    net.driven("in", shape, [900, 800, 700, 600], v0=450, refractory=0.5, encoder=first, bias=[1, -2, 3, -4])
    conv = Conv2d(rng.choice([-3, 3], (3, 3, 4, 5)), padding=1, pool_before=1, pool_after=(2, 1))
    net.spiking("hidden: a.b > c", conv.output_shape(shape), 7, v0=[0, 1, -2, 3, 4], signed=True, refractory=0.25, onset=0.5)
    net.connect("in", "hidden: a.b > c", conv, delay=1.5, name="first one")
    net.spiking("hid+den-2", 7, 5, reset="zero")
    hidden = net.populations["hidden: a.b > c"].shape
    net.connect("hidden: a.b > c", "hid+den-2", Dense(rng.choice([-200, 200], (int(np.prod(hidden)), 7))))
    net.connect("hid+den-2", "hid+den-2", Sparse([0, 2, 2, 3, 3, 3, 3, 4], [1, 6, 0, 2], [5, -6, 70000, 0], 7), delay=2)
    net.connect("hid+den-2", "hid+den-2", Sparse([0, 0, 0, 0, 0, 0, 0, 3], [0, 3, 4], [2, -2, 2], 7), delay=3)
    net.source("noise", (2, 2, 2), "poisson", rate=rng.random((2, 2, 2)))
    net.source("steady", 3, "poisson", rate=0.25)
    net.source("camera", (4, 4, 2))
    net.connect("noise", "hid+den-2", Sparse(np.zeros(9, int), np.zeros(0, int), np.zeros(0, int), 7))
    net.connect("steady", "hid+den-2", Dense(rng.integers(-5, 5, (3, 7))))
    net.connect("camera", "hid+den-2", Dense(rng.integers(-5, 5, (8, 7)), pool_before=2))
    net.readout("out", 3, v0=[0, 1, 2])
    net.readout("other", 2)
    net.leaky("leaky", 7, [3, 4, 5, 6, 7, 8, 9], decay=[0, 1, 2, 3, 4, 4095, 4096], v0=-1, reset="value", amount=-2, refractory=0.5)
    net.leaky("synaptic", 2, 5, leak=[0, 3], current_decay=[410, 4096], amount=[4, 6])
    net.leaky_readout("leaking", 2, decay=100, v0=[5, -5])
    net.leaky_readout("flowing", 2, leak=1, current_decay=[5, 6])
    net.connect("hid+den-2", "leaky", Dense(rng.integers(-5, 5, (7, 7))))
    net.connect("hid+den-2", "out", Dense(rng.integers(-9, 10, (7, 3))))
    net.bias("out", [1, 2, 3])
    windows = Windows((2, 3), (1, 2), (0, 1, 1, 0))
    net.maximum("pooled", windows.output_shape(hidden), largest=[1, 0, 1, 1, 0], signed=True)
    net.connect("hidden: a.b > c", "pooled", windows, delay=0.5)
    net.labels = ["cat", "Köter", ""]
    net.provenance = {"model": "née", "accuracy": 0.935, "layers": [1, 2, {"a": None}], "big": 2**70, "ok": True, "text": "two\nlines"}
    return net


def binary() -> Network:
    rng = np.random.default_rng(2)
    net = Network()
    net.driven("in", 13, threshold=np.arange(1, 14))
    net.spiking("mid", (1, 3, 3), 3)
    net.readout("out", 2)
    net.connect("in", "mid", Dense(rng.choice([-1, 1], (13, 9))))
    net.connect("mid", "out", Conv2d(rng.choice([-1, 1], (1, 3, 3, 2))))
    return net


def recurrent() -> Network:
    """No input, no output, no labels."""
    net = Network()
    net.source("clock", (1, 1, 2), "clock")
    net.spiking("ring", (1, 1, 2), 4)
    net.connect("clock", "ring", [[1, 2], [3, 4]])
    net.connect("ring", "ring", Sparse([0, 1, 2], [1, 0], [-1, 1], 2), delay=0.125)
    return net


def grouped() -> Network:
    """Convolutions in groups: depthwise with binary weights, and dilated between some channels."""
    rng = np.random.default_rng(3)
    net = Network()
    net.source("events", (5, 4, 4))
    net.spiking("depthwise", (5, 4, 4), 3)
    net.spiking("some", (3, 2, 6), 3)
    net.connect("events", "depthwise", GroupedConv2d(rng.choice([-2, 2], (3, 3, 1, 4)), 4, padding=1))
    some = GroupedConv2d(
        rng.integers(-300, 300, (2, 2, 1, 4)), 2, stride=(1, 2), dilation=(2, 1), sources=[3, 1], targets=[5, 0, 1, 3], channels=6
    )
    net.connect("depthwise", "some", some)
    return net


SAMPLES: dict[str, Callable[[], Network]] = {"everything": everything, "binary": binary, "recurrent": recurrent, "grouped": grouped}


def same(a: Any, b: Any) -> bool:
    """Deep equality of networks, types and dtypes included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool(np.all(a == b))
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def refused(path: Path) -> str:
    """Loading fails as it should; returns the message without the path."""
    with pytest.raises(NetworkFileError) as caught:
        netfile.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable(), ascii(message)
    assert len(message) < 600
    return message[len(f"{path}: ") :]
