"""Convolutions in groups, dilated or between some channels: worked out by hand, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

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
    rows = table.to_rows(source, target)
    assert rows.targets[rows.indptr[5] : rows.indptr[6]].tolist() == [2, 8]
    assert rows.weights[rows.indptr[5] : rows.indptr[6]].tolist() == [-1, 5]


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
    large = es.GroupedConv2d(np.ones((1, 1, 256, 256), np.int8), stride=1)
    with pytest.raises(NetworkError, match="the limit is 134217728; a plain convolution has no list"):
        large.check((64, 64, 256), (64, 64, 256))
