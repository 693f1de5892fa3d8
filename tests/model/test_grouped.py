"""Convolutions in groups, dilated or between some channels: worked out by hand, and what they refuse."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from judges.random_networks import random_grouped

import eventsim as es
from eventsim.errors import NetworkError


def test_worked_out_by_hand():
    """A row of five positions with two channels; kernel of two taps, two apart; outputs in channels 2 and 0 of three."""
    table = es.GroupedConv2d(np.array([[[[5, 7]], [[-1, 2]]]]), 2, dilation=(1, 2), sources=[1, 0], targets=[2, 0], channels=3)
    source, target = (1, 5, 2), (1, 3, 3)
    assert table.output_shape(source) == target
    table.check(source, target)
    # Position 2, channel 1 (the first group): tap 0 of output 2, tap 1 of output 0, both in channel 2.
    assert list(table.synapses_from(2 * 2 + 1, source, target)) == [(0 * 3 + 2, -1), (2 * 3 + 2, 5)]
    assert list(table.synapses_from(0, source, target)) == [(0, 7)]
    assert table.fan_out(source, target).tolist() == [1, 1, 1, 1, 2, 2, 1, 1, 1, 1]
    assert table.macs(source, target) == 3 * 4
    stencil = table.to_stencil(source, target)
    assert (stencil.begins.tolist(), stencil.columns.step, stencil.columns.stride) == ([0, 2], 2, 1)
    assert [int(of[2]) for of in (stencil.columns.first, stencil.columns.count, stencil.columns.tap)] == [0, 2, 1]
    assert stencil.weights[0, :, 1].tolist() == [[5], [-1]]


def test_outputs_that_are_no_neighbours_are_listed():
    """Both outputs of one group, in channels 2 and 0."""
    table = es.GroupedConv2d(np.array([[[[5, 7]], [[-1, 2]]]]), targets=[2, 0], channels=3)
    source, target = (1, 3, 1), (1, 2, 3)
    assert table.to_stencil(source, target) is None
    rows = table.to_rows(source, target)
    assert rows.targets[rows.indptr[1] : rows.indptr[2]].tolist() == [0, 2, 3, 5]
    assert rows.weights[rows.indptr[1] : rows.indptr[2]].tolist() == [2, -1, 7, 5]


@pytest.mark.parametrize("seed", range(60))
def test_a_stencil_has_the_synapses_of_the_table(seed):
    """Unrolled by what its axes mean, each synapse once, and no weight where there is none."""
    rng = np.random.default_rng(seed)
    source = tuple(int(n) for n in rng.integers(1, 7, 3))
    table = random_grouped(rng, source)
    target = table.output_shape(source)
    table.check(source, target)
    expected = Counter((n, m, w) for n in range(int(np.prod(source))) for m, w in table.synapses_from(n, source, target))
    stencil, rows = table.to_stencil(source, target), table.to_rows(source, target)
    assert (stencil is None) == (table.form == "rows") == (rows is not None)
    if rows is not None:
        neurons = np.repeat(np.arange(len(rows.indptr) - 1), np.diff(rows.indptr))
        assert Counter(zip(neurons, rows.targets, rows.weights, strict=True)) == expected
        return
    assert not stencil.weights[:, :, stencil.begins < 0].any()
    assert Counter(unrolled(stencil, source)) == expected


def unrolled(stencil, source):
    """(Source neuron, target neuron, weight) of each synapse of a stencil with ``begins``."""
    for y, x, c in np.ndindex(source):
        if stencil.begins[c] < 0:
            continue
        (rows, ky), (columns, kx) = reached(stencil.rows, y), reached(stencil.columns, x)
        for (row, column), (i, j) in zip(itertools.product(rows, columns), itertools.product(ky, kx), strict=True):
            for o, weight in enumerate(stencil.weights[i, j, c]):
                target = np.ravel_multi_index((row, column, stencil.begins[c] + o), stencil.target)
                yield int(np.ravel_multi_index((y, x, c), source)), int(target), int(weight)


def reached(axis, position):
    """The target positions that a source position reaches, and the taps."""
    number = np.arange(axis.count[position])
    return axis.first[position] + number * axis.step, axis.tap[position] - number * axis.stride


def test_a_depthwise_layer_costs_what_it_has():
    """Not what a plain one does: one synapse a tap."""
    table = es.GroupedConv2d(np.ones((3, 3, 1, 8), int), 8, padding=1)
    plain = es.Conv2d(np.ones((3, 3, 8, 8), int), padding=1)
    shape = (6, 6, 8)
    assert (table.fan_out(shape, shape) * 8 == plain.fan_out(shape, shape)).all()
    assert table.macs(shape, shape) * 8 == plain.macs(shape, shape)
    assert table.stored_bytes == 9 + 2 * 8 * 4
    dilated = es.GroupedConv2d(np.ones((3, 3, 8, 8), int), padding=2, dilation=2)
    assert dilated.fan_out(shape, shape).reshape(shape)[0, 0].tolist() == [4 * 8] * 8
    assert dilated.fan_out((9, 9, 8), (9, 9, 8)).reshape(9, 9, 8)[4, 4, 0] == 9 * 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": np.ones((3, 3, 4), int)}, "weights must be"),
        ({"weights": np.ones((3, 3, 1, 4))}, "must be integers"),
        ({"groups": 3}, "4 outputs cannot be divided into 3 groups"),
        ({"groups": 0}, "groups must be a whole number from 1"),
        ({"dilation": 0}, "dilation must be"),
        ({"padding": 3}, r"padding \(3, 3, 3, 3\) must be smaller than the kernel"),
        ({"sources": [0, 0]}, "sources must be different channels"),
        ({"sources": [0]}, "sources must be 2 channels"),
        ({"targets": [0, 1, 2, 4]}, r"targets must be different channels of 0\.\.3"),
        ({"channels": 3}, "channels must be a whole number from 4"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(NetworkError, match=message):
        es.GroupedConv2d(**({"weights": np.ones((3, 3, 1, 4), int), "groups": 2} | arguments))


def test_what_does_not_fit_is_refused():
    table = es.GroupedConv2d(np.ones((3, 3, 1, 4), int), 2, sources=[0, 5])
    for source, message in (((5, 5, 5), "takes channel 5, the source has 5"), ((2, 5, 6), "too small")):
        with pytest.raises(NetworkError, match=message):
            table.output_shape(source)
    with pytest.raises(NetworkError, match="but the target has shape"):
        table.check((5, 5, 6), (3, 3, 5))
    shapes = (64, 64, 256), (64, 64, 256)
    large = np.ones((1, 1, 256, 256), np.int8)
    es.GroupedConv2d(large).check(*shapes)
    with pytest.raises(NetworkError, match="has 268435456 synapses, which are listed, and the limit is 134217728; outputs of a group"):
        es.GroupedConv2d(large, targets=np.arange(256)[::-1]).check(*shapes)


def test_a_small_file_makes_no_large_stencil():
    """One channel of many, with many outputs: for compiled code each channel has as many weights."""
    table = es.GroupedConv2d(np.ones((3, 3, 1, 2**14), np.int8), padding=1)
    table.check((2, 2, 8), (2, 2, 2**14))
    with pytest.raises(NetworkError, match=r"a stencil of 150994944 weights for 1024 channels of the source, the limit is 67108864"):
        table.check((2, 2, 1024), (2, 2, 2**14))
    es.GroupedConv2d(np.ones((3, 3, 1, 1024), np.int8), 1024).check((3, 3, 1024), (1, 1, 1024))


@pytest.mark.parametrize("kind", [es.Conv2d, es.GroupedConv2d])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_small_file_makes_no_long_list_of_taps(kind, axis):
    """A kernel of a few thousand weights over a long row of locations: what is found of each pair of them takes memory."""
    size, kernel = [1, 1], [1, 1]
    size[axis], kernel[axis] = 4096, 8192
    table = kind(np.ones((*kernel, 1, 1), np.int8), padding=(8191 * (1 - axis), 8191 * axis))
    target = table.output_shape((*size, 1))
    with pytest.raises(NetworkError, match=r"8192 taps for \d+ positions, the limit is 16777216 pairs"):
        table.check((*size, 1), target)
