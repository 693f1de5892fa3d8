"""A dense time-stepped loop for resolution 1, written from the contract and not from the engines: their independent judge.

Every projection becomes a plain matrix by explicit loops over output positions; a step adds ``spikes @ matrix`` to every
potential and compares with the threshold. Nothing here looks at a single event.
"""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import TopologicalSorter

import numpy as np


@dataclass
class Unrolled:
    """A table as matrices (source neurons, target neurons).

    Attributes
    ----------
    weights : int64
    synapses : int64
        Synapses of each pair, before pooling is fused.
    nonzero : int64
        Those of them whose weight is not zero.
    """

    weights: np.ndarray
    synapses: np.ndarray
    nonzero: np.ndarray


@dataclass
class Dense:
    """What the loop saw; a row is a step.

    Attributes
    ----------
    spikes : dict of str to int64 (steps, neurons)
        Number of spikes with their signs; sources may emit several in a step.
    readout : dict of str to (steps, neurons)
    deliveries, synaptic_events, additions, effective : dict of str to int64 (steps,)
    decision : int64 (steps,) or None
        At the end of each step; -1 before the first spike reached an output whose initial potentials are all the same.
    """

    spikes: dict[str, np.ndarray]
    readout: dict[str, np.ndarray]
    deliveries: dict[str, np.ndarray]
    synaptic_events: dict[str, np.ndarray]
    additions: dict[str, np.ndarray]
    effective: dict[str, np.ndarray]
    decision: np.ndarray | None


def _three(shape):
    return (1, 1, *shape) if len(shape) == 1 else tuple(shape)


def _pooling(height, width, channels, window):
    """Matrix (neurons, pooled neurons) of ones: which neurons every complete window sums."""
    rows, cols = height // window[0], width // window[1]
    number = np.arange(height * width * channels).reshape(height, width, channels)
    matrix = np.zeros((number.size, rows * cols * channels), np.int64)
    column = 0
    for y in range(rows):
        for x in range(cols):
            block = number[y * window[0] : (y + 1) * window[0], x * window[1] : (x + 1) * window[1]]
            for c in range(channels):
                matrix[block[:, :, c].ravel(), column] = 1
                column += 1
    return matrix, (rows, cols, channels)


def _convolution(kernel, shape, stride, padding):
    """Matrix (neurons, outputs) of a convolution, made output by output from an index image with a border of -1."""
    height, width, channels = shape
    top, left, bottom, right = padding
    index = np.full((height + top + bottom, width + left + right, channels), -1)
    index[top : top + height, left : left + width] = np.arange(height * width * channels).reshape(shape)
    kh, kw, _, c_out = kernel.shape
    ys = range(0, index.shape[0] - kh + 1, stride[0])
    xs = range(0, index.shape[1] - kw + 1, stride[1])
    matrix = np.zeros((height * width * channels, len(ys) * len(xs) * c_out), np.int64)
    for place, (y, x) in enumerate((y, x) for y in ys for x in xs):
        window = index[y : y + kh, x : x + kw].ravel()
        inside = window >= 0
        matrix[window[inside], place * c_out : (place + 1) * c_out] = kernel.reshape(-1, c_out)[inside]
    return matrix, (len(ys), len(xs), c_out)


def _windows(table, source_shape, target_shape):
    """Matrix (neurons, windows) of ones: which neurons each window holds, from an index image with a border of -1."""
    height, width, channels = _three(source_shape)
    top, left, bottom, right = table.padding
    index = np.full((height + top + bottom, width + left + right, channels), -1)
    index[top : top + height, left : left + width] = np.arange(height * width * channels).reshape(height, width, channels)
    ys = range(0, index.shape[0] - table.kernel[0] + 1, table.stride[0])
    xs = range(0, index.shape[1] - table.kernel[1] + 1, table.stride[1])
    assert (len(ys), len(xs), channels) == _three(target_shape)
    matrix = np.zeros((height * width * channels, len(ys) * len(xs) * channels), np.int64)
    for place, (y, x) in enumerate((y, x) for y in ys for x in xs):
        for c in range(channels):
            window = index[y : y + table.kernel[0], x : x + table.kernel[1], c].ravel()
            matrix[window[window >= 0], place * channels + c] = 1
    return matrix


def _grouped(kernel, shape, table):
    """Matrix (neurons, outputs) of a convolution in groups, weight by weight."""
    height, width, channels = shape
    kh, kw, each, c_out = kernel.shape
    per = c_out // table.groups
    top, left, bottom, right = table.padding
    rows = (height + top + bottom - (kh - 1) * table.dilation[0] - 1) // table.stride[0] + 1
    cols = (width + left + right - (kw - 1) * table.dilation[1] - 1) // table.stride[1] + 1
    matrix = np.zeros((height, width, channels, rows, cols, table.channels), np.int64)
    for (u, v, i, o), weight in np.ndenumerate(kernel):
        source, target = table.sources[o // per * each + i], table.targets[o]
        for y in range(rows):
            for x in range(cols):
                at = y * table.stride[0] + u * table.dilation[0] - top, x * table.stride[1] + v * table.dilation[1] - left
                if 0 <= at[0] < height and 0 <= at[1] < width:
                    matrix[*at, source, y, x, target] += weight
    return matrix.reshape(height * width * channels, -1), (rows, cols, table.channels)


def unroll(table, source_shape, target_shape):
    """The matrices of a table between populations of these shapes."""
    n_target = int(np.prod(target_shape))
    if table.kind == "windows":
        held = _windows(table, source_shape, target_shape)
        return Unrolled(np.zeros_like(held), held, np.zeros_like(held))
    if table.kind == "sparse":
        n_source = int(np.prod(source_shape))
        weights, synapses = np.zeros((n_source, n_target), np.int64), np.zeros((n_source, n_target), np.int64)
        for i in range(n_source):
            row = slice(table.indptr[i], table.indptr[i + 1])
            weights[i, table.indices[row]] = table.weights[row]
            synapses[i, table.indices[row]] = 1
        return Unrolled(weights, synapses, synapses * (weights != 0))
    before, pooled_shape = _pooling(*_three(source_shape), table.pool_before)
    values = table.weights.astype(np.int64)
    kinds = []
    for kernel in (values, np.ones_like(values), (values != 0).astype(np.int64)):
        if table.kind == "dense":
            assert before.shape[1] == kernel.shape[0]
            kinds.append(before @ kernel)
            continue
        if table.kind == "grouped_conv2d":
            matrix, out_shape = _grouped(kernel, pooled_shape, table)
            kinds.append(before @ matrix)
            assert out_shape == _three(target_shape)
            continue
        matrix, conv_shape = _convolution(kernel, pooled_shape, table.stride, table.padding)
        after, out_shape = _pooling(*conv_shape, table.pool_after)
        kinds.append(before @ matrix @ after)
        assert out_shape == _three(target_shape) or int(np.prod(out_shape)) == n_target == target_shape[0]
    assert kinds[0].shape[1] == n_target
    return Unrolled(*kinds)


def _best(population, held, count, size):
    """The maximum, or in some channels the minimum, of the counts in each window: int64 (windows,)."""
    takes_largest = np.tile(population.largest, size // population.shape[-1]) == 1
    far = 10**9
    highest = np.where(held == 1, count[:, None], -far).max(0)
    lowest = np.where(held == 1, count[:, None], far).min(0)
    return np.where(takes_largest, highest, lowest)


def _left(values, population, size, name="decay"):
    """What the end of a step leaves of potentials or currents: a truncated share is taken, or a constant towards zero."""
    share = np.tile(np.asarray(getattr(population, name)), size // population.shape[-1])
    values = values - np.trunc(values * share / 4096).astype(np.int64)
    constant = np.tile(np.asarray(population.leak), size // population.shape[-1]) * (name == "decay")
    return np.sign(values) * (np.abs(values) - constant).clip(0)


def _whole_steps(period):
    return int(np.floor(period + 0.5))


def run(network, *, steps, currents=None, image=None, events=None, poisson=None, dtype=np.int64):  # noqa: C901 - the rules of a tick, one after another
    """Run ``steps`` steps of a network at resolution 1.

    Parameters
    ----------
    network : eventsim.model.network.Network
    currents : dict of str to array
        Currents of the driven populations; those missing are computed from ``image``.
    image : integer array, optional
        Pixels.
    events : dict of str to (times in steps, neurons); of event inputs structured arrays of x, y, t, p
    poisson : dict of str to (ticks, neurons)
        The trains that were drawn: a loop cannot draw them independently.
    dtype : numpy.int64 or numpy.float64
        Of potentials, weights and thresholds.
    """
    populations = network.populations
    size = {name: int(np.prod(p.shape)) for name, p in populations.items()}

    def per_neuron(values, name):
        return np.tile(np.asarray(values), size[name] // populations[name].shape[-1]).astype(dtype)

    delay = {p.name: _whole_steps(p.delay) for p in network.projections}
    before = {name: [p.source for p in network.projections if p.target == name and delay[p.name] == 0] for name in populations}
    order = list(TopologicalSorter(before).static_order())
    tables = {p.name: unroll(p.table, populations[p.source].shape, populations[p.target].shape) for p in network.projections}
    matrix = {name: t.weights.astype(dtype) for name, t in tables.items()}

    spikes = {name: np.zeros((steps + 1, n), np.int64) for name, n in size.items()}  # row t is step t; row 0 stays empty
    current, v, theta, last, net, synaptic = {}, {}, {}, {}, {}, {}
    emitted = dict(spikes)  # of event inputs, whose spikes of either sign may cancel out: how many there are
    for name, p in populations.items():
        if p.kind == "event_input":
            emitted[name] = np.zeros_like(spikes[name])
            for event in events[name]:
                step = max(1, -(-int(event["t"]) // p.step_us))
                if step <= steps:
                    where = np.ravel_multi_index((event["y"], event["x"], int(event["p"] > 0) if p.polarity == "split" else 0), p.shape)
                    spikes[name][step, where] += -1 if p.polarity == "sign" and event["p"] <= 0 else 1
                    emitted[name][step, where] += 1
            continue
        if p.kind == "source":
            if p.emits == "clock":
                spikes[name][1:] = 1
            elif p.emits == "start":
                for neuron in range(size[name]):
                    step = 1 + neuron * _whole_steps(p.period)
                    if step <= steps:
                        spikes[name][step, neuron] = 1
            elif p.emits == "poisson":
                np.add.at(spikes[name], poisson[name], 1)
            else:
                for time, neuron in zip(*events[name], strict=True):
                    tick = max(1, int(np.ceil(time)))
                    if tick <= steps:
                        spikes[name][tick, neuron] += 1
            continue
        if p.kind == "maximum":
            continue
        v[name] = per_neuron(p.v0, name)
        synaptic[name] = np.zeros(size[name], dtype)
        if "readout" in p.kind:
            continue
        theta[name] = per_neuron(p.threshold, name)
        last[name] = np.full(size[name], -(10**9))
        net[name] = np.zeros(size[name], np.int64)
        if p.kind == "driven":
            if currents is not None and name in currents:
                current[name] = np.asarray(currents[name]).ravel().astype(dtype)
            else:
                pixels = np.asarray(image, np.int64).reshape(network.input.shape) * network.input.scale - network.input.offset
                encoder = unroll(p.encoder, network.input.shape, p.shape).weights
                current[name] = (pixels.ravel() @ encoder).astype(dtype) + per_neuron(p.bias, name)

    compared = {p.name for p in network.projections if populations[p.target].kind == "maximum"}

    def added(name, t):
        return np.zeros_like(t.synapses) if name in compared else t.synapses > 0

    kinds = ("deliveries", "synaptic_events", "additions", "effective")
    fan_out = {
        name: dict(zip(kinds, (np.ones(len(t.weights), np.int64), t.synapses.sum(1), added(name, t).sum(1), t.nonzero.sum(1)), strict=True))
        for name, t in tables.items()
    }
    tally = {kind: {p.name: np.zeros(steps, np.int64) for p in network.projections} for kind in kinds}
    readout = {name: np.zeros((steps, size[name]), dtype) for name, p in populations.items() if "readout" in p.kind}
    decision = None if network.output is None else np.full(steps, -1)
    decides = network.output is not None and len(np.unique(v[network.output])) > 1
    for t in range(1, steps + 1):
        for name in order:
            p = populations[name]
            if p.kind in ("source", "event_input"):
                continue
            if "leaky" in p.kind and t > 1:
                v[name] = _left(v[name], p, size[name])
            if "current" in p.kind and t > 1:
                synaptic[name] = _left(synaptic[name], p, size[name], "current_decay")
            for projection in network.projections:
                if projection.target == name and t - delay[projection.name] >= 1:
                    arriving = spikes[projection.source][t - delay[projection.name]]
                    number = np.abs(emitted[projection.source][t - delay[projection.name]])
                    if p.kind == "maximum":
                        # Net counts of all inputs, as far as they have arrived, against those of a tick before.
                        count = spikes[projection.source][: t - delay[projection.name] + 1].sum(0)
                        spikes[name][t] = _best(p, tables[projection.name].synapses, count, size[name]) - spikes[name][:t].sum(0)
                        assert np.abs(spikes[name][t]).max() <= 1
                        for kind in kinds:
                            tally[kind][projection.name][t - 1] = np.abs(arriving) @ fan_out[projection.name][kind]
                        continue
                    brought = synaptic if "current" in p.kind else v
                    brought[name] = brought[name] + arriving.astype(dtype) @ matrix[projection.name]
                    decides |= name == network.output and bool(number.any())
                    for kind in kinds:
                        tally[kind][projection.name][t - 1] = number @ fan_out[projection.name][kind]
            if p.kind == "maximum":
                continue
            v[name] = v[name] + synaptic[name] if "current" in p.kind else v[name]
            if "readout" in p.kind:
                readout[name][t - 1] = v[name]
                if decides and name == network.output:
                    decision[t - 1] = v[name].argmax()
                continue
            if p.kind == "driven":
                v[name] = v[name] + current[name]
            allowed = (t - last[name] >= max(1, _whole_steps(p.refractory))) & (t >= _whole_steps(p.onset))
            plus = allowed & (v[name] >= theta[name])
            minus = allowed & (v[name] < 0) & (net[name] > 0) if p.signed else np.zeros_like(plus)
            sign = plus.astype(np.int64) - minus
            amount = per_neuron(p.amount, name) if "leaky" in p.kind else theta[name]
            if p.reset == "value":
                v[name] = np.where(plus, amount, v[name])
            else:
                v[name] = np.where(plus, 0, v[name]) if p.reset == "zero" else v[name] - sign.astype(dtype) * amount
            net[name] += sign
            last[name][sign != 0] = t
            spikes[name][t] = sign
    return Dense({name: s[1:] for name, s in spikes.items()}, readout, *(tally[kind] for kind in kinds), decision)
