"""Spikes in the SONATA layout as the events of a source: our own traces, and those of others."""

from __future__ import annotations

import io

import h5py
import numpy as np
import pytest
from judges.heaps import free_length

import eventsim as es
from eventsim.batch.inputs import Item, read_input
from eventsim.data.recordings.sonata import read_sonata
from eventsim.errors import InputError


def network():
    net = es.Network()
    net.source("in", 4)
    net.spiking("n", 2, 2)
    net.readout("out", 2)
    net.connect("in", "n", np.arange(8).reshape(4, 2) - 3)
    net.connect("n", "out", np.eye(2, dtype=int))
    return net


def test_a_trace_is_run_again(tmp_path):
    rng = np.random.default_rng(0)
    events = np.sort(rng.random(40) * 5), rng.integers(0, 4, 40)
    first = es.run(network(), {"in": events}, steps=5, trace=tmp_path / "run.h5")
    again = es.run(network(), read_input(network(), Item(str(tmp_path / "run.h5")))[0], steps=5)
    for name in ("in", "n"):
        for a, b in zip(first.spikes(name), again.spikes(name), strict=True):
            assert np.array_equal(a, b)


def written(populations, units="ms"):
    file = io.BytesIO()
    with h5py.File(file, "w") as hdf5:
        for name, (times, neurons) in populations.items():
            hdf5[f"spikes/{name}/timestamps"] = np.array(times)
            hdf5[f"spikes/{name}/timestamps"].attrs["units"] = units
            hdf5[f"spikes/{name}/node_ids"] = np.array(neurons, "u8")
    return file


def test_files_of_others():
    times, neurons = read_sonata(written({"v1": ([0.001, 0.002], [3, 1])}, "s"), "x", "in")
    assert (times.tolist(), neurons.tolist()) == ([1.0, 2.0], [3, 1])
    both = {"in": ([1.0], [1]), "v1": ([2.0], [2])}
    assert read_sonata(written(both), "x", "in")[0].tolist() == [1.0]
    with pytest.raises(InputError, match=r"spikes of in, v1 .*expected those of other"):
        read_sonata(written(both), "x", "other")
    with pytest.raises(InputError, match="in 'hours'"):
        read_sonata(written({"v1": ([1.0], [1])}, "hours"), "x", "in")
    with pytest.raises(InputError, match="no population"):
        read_sonata(written({}), "x", "in")


def test_units_without_an_end():
    """libhdf5 would read them for ever."""
    content = written({"in": ([1.0], [1])}).getvalue()
    length = free_length(content)
    damaged = io.BytesIO(content[:length] + bytes(8) + content[length + 8 :])
    with pytest.raises(InputError, match="texts without an end"):
        read_sonata(damaged, "x", "in")


def test_spikes_that_are_taken_back_are_refused(tmp_path):
    """A source's spikes have no signs: +1 and -1 would be 2, not 0."""
    net = es.Network()
    net.source("in", 2)
    net.spiking("n", 1, 1, signed=True)
    net.connect("in", "n", np.array([[1], [-1]]))
    path = tmp_path / "run.h5"
    es.run(net, {"in": ([0.3, 0.6], [0, 1])}, steps=1, trace=path)
    other = es.Network()
    other.source("n", 1)
    with pytest.raises(InputError, match="1 of 2 spikes of n take one back"):
        read_input(other, Item(str(path)))
    # Signed, but nothing is taken back.
    es.run(net, {"in": ([0.3], [0])}, steps=1, trace=path)
    with h5py.File(path) as file:
        assert file["spikes/n/signs"][()].tolist() == [1]
    times, neurons = read_input(other, Item(str(path)))[0]["n"]
    assert (len(times), neurons.tolist()) == (1, [0])
