"""Figures of reports show what the reports say."""

from __future__ import annotations

import numpy as np
import pytest
from judges.architectures import architecture

import eventsim as es

plot = pytest.importorskip("eventsim.hardware.plot")


def report():
    text = 'name = "p"\n[chip]\ncolumns = 3\nrows = 2\nstep_us = 1\n[core]\nkind = "event"\nneurons = 4\nsynapse_ns = 10'
    net = es.Network()
    net.source("input", 4)
    net.readout("output", 4)
    net.connect("input", "output", np.ones((4, 4), int))
    return es.Hardware(architecture(text, input=[0], output=[5])).run(net, {"input": ([0.5, 1, 2], [0, 1, 2])}, steps=4)[1]


def test_a_mesh_shows_tiles_and_links(tmp_path):
    figure = plot.mesh(report())
    axes = figure.axes[0]
    shown = np.asarray(axes.images[0].get_array().filled(np.nan))
    assert shown.shape == (2, 3)
    # Tile 5 served 3 times 40 ns in 4 us; tile 0 only sent; nothing lies elsewhere.
    assert shown[1, 2] == pytest.approx(0.03)
    assert shown[0, 0] == 0
    assert np.isnan(shown).sum() == 4
    # East, east, south.
    ends = [segment.tolist() for segment in axes.collections[0].get_segments()]
    assert ends == [[[0, 0], [1, 0]], [[1, 0], [2, 0]], [[2, 0], [2, 1]]]
    figure.savefig(tmp_path / "mesh.svg")


def test_a_timeline_shows_steps():
    found = report()
    (stairs,) = plot.timeline(found).axes[0].patches
    assert stairs.get_data().values.tolist() == [1.0] * 4
