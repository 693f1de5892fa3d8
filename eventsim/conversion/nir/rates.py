"""What a NIR graph computes, by itself and not by way of ours: to judge how it was read (:mod:`eventsim.conversion.judging`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.conversion.judging import Run, Seen
from eventsim.conversion.nir.nodes import LEVELS
from eventsim.conversion.nir.structure import Step

Values = npt.NDArray[np.floating]


class Rates:
    """Runs the nodes of a NIR graph on constant inputs; a neuron's value is its rate.

    Parameters
    ----------
    steps : list of Step
        In order.
    output : str
        Name of the node that is the answer.
    numbers : dict of str to int
        Which of our graph's nodes each has become.
    dt : float
        Length of a step.
    """

    def __init__(self, steps: list[Step], output: str, numbers: dict[str, int], dt: float):
        self.steps, self.output, self.numbers, self.dt = steps, output, numbers, dt

    def __call__(self, values: Values) -> Run:
        """The values of all nodes for inputs (images, \\*shape)."""
        known: dict[str, Values] = {}
        seen: dict[int, Seen] = {}
        for step in self.steps:
            taken = [known[name] for name in step.takes if name in known]
            if not taken:
                if step.kind == "Input" and step.name in self.numbers:
                    known[step.name] = values.astype(np.float64)
                continue
            known[step.name] = _value(step, np.sum(taken, axis=0), self.dt)
            number = self.numbers[step.name]
            if number > 0:
                seen.setdefault(number, Seen(number, step.label, known[step.name]))
        return Run(known[self.output].reshape(len(values), -1), list(seen.values()), precision=float(np.finfo(np.float64).eps))


def _value(step: Step, x: Values, dt: float) -> Values:
    """What a node makes of (images, channels, rows, columns) or (images, features)."""
    node, kind = step.node, step.kind
    if kind in ("Linear", "Affine"):
        made: Values = np.einsum("ni,oi->no", x, np.asarray(node.weight, np.float64))
        return made + node.bias if kind == "Affine" else made
    if kind in ("Conv1d", "Conv2d"):
        return _convolved(node, kind == "Conv1d", x)
    if kind in ("AvgPool2d", "SumPool2d"):
        window, stride, padding = (np.broadcast_to(np.ravel(v), 2).astype(int) for v in (node.kernel_size, node.stride, node.padding))
        windows = _windows(np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)), window, stride, np.ones(2, int))
        return windows.sum((-2, -1)) if kind == "SumPool2d" else windows.mean((-2, -1))
    if kind == "Flatten":
        return x.reshape(len(x), -1)
    if kind == "Scale":
        return x * _shaped(node.scale, x)
    if kind == "I":
        return x * _shaped(node.r, x) * dt
    if kind == "IF":
        rate = x * _shaped(node.r, x) * dt / _shaped(node.v_threshold, x)
        levels = int(np.asarray((node.metadata or {}).get(LEVELS, 0)))
        return np.clip(np.floor(rate * levels + 0.5), 0, levels) / levels if levels else np.clip(rate, 0, 1)
    return x


def _shaped(values: Any, x: Values) -> Values:
    """Parameters per neuron, whatever dimensions of one they have too many or too few."""
    array = np.asarray(values, np.float64)
    return array if array.size == 1 else array.reshape(x.shape[1:])


def _windows(x: Values, size: Any, stride: Any, dilation: Any) -> Values:
    """(images, channels, windows down, windows across, rows of one, columns of one)"""
    reach = (np.asarray(size) - 1) * dilation + 1
    views = np.lib.stride_tricks.sliding_window_view(x, tuple(int(n) for n in reach), (2, 3))
    made: Values = views[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    return made


def _convolved(node: Any, flat: bool, x: Values) -> Values:
    weight = np.asarray(node.weight, np.float64)
    weight = weight[:, :, None] if flat else weight
    lead = [1] if flat else []
    stride, dilation = (np.broadcast_to(np.array([*lead, *np.ravel(v)], int), 2) for v in (node.stride, node.dilation))
    padding = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
    if isinstance(padding, str):
        spans = (np.array(weight.shape[2:]) - 1) * dilation if padding == "same" else np.zeros(2, int)
        sides = [(int(n) // 2, int(n) - int(n) // 2) for n in spans]
    else:
        numbers = np.broadcast_to(np.array([*([0] if flat else []), *np.ravel(padding)], int), 2)
        sides = [(int(n), int(n)) for n in numbers]
    padded = np.pad(x, ((0, 0), (0, 0), *sides))
    groups = int(node.groups)
    # Channels of a group beside one another.
    windows = _windows(padded, weight.shape[2:], stride, dilation)
    parts = windows.reshape(len(x), groups, -1, *windows.shape[2:])
    kernels = weight.reshape(groups, -1, *weight.shape[1:])
    made = np.einsum("ngiyxuv,goiuv->ngoyx", parts, kernels, optimize=True)
    return made.reshape(len(x), len(weight), *made.shape[3:]) + np.asarray(node.bias, np.float64).reshape(-1, 1, 1)
