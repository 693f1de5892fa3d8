"""Event inputs, worked out by hand: ticks, channels, signs, the order of ties; what they take, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import eventsim as es
from eventsim.errors import InputError, NetworkError
from eventsim.job.preparation import prepare
from eventsim.job.recordings import with_event_input

ROW = np.dtype([("t", "i8"), ("x", "i2"), ("y", "i2"), ("p", "i1")])


def recording(*rows):
    """Events (t, x, y, p)."""
    return np.array(list(rows), ROW)


def camera(polarity="split", shape=(2, 3), step_us=100):
    net = es.Network()
    net.event_input("camera", (*shape, 2 if polarity == "split" else 1), polarity=polarity, step_us=step_us)
    net.readout("out", 1)
    net.connect("camera", "out", np.ones((net.populations["camera"].size, 1), int))
    return net


def given(net, events, steps=3, resolution=10):
    """(tick, neuron, sign) of the spikes that a run is given."""
    job = prepare(net, {"camera": events}, steps=steps, resolution=resolution)
    ticks, neurons = job.events["camera"]
    signs = job.signs["camera"] if "camera" in job.signs else np.ones(len(ticks), int)
    return list(zip(ticks.tolist(), neurons.tolist(), signs.tolist(), strict=True))


def test_ticks_are_rounded_up_and_begin_with_one():
    # A step is 100 us and 10 ticks: 10 us a tick.
    times = {0: 1, 1: 1, 10: 1, 11: 2, 100: 10, 101: 11, 300: 30}
    found = given(camera("merge"), recording(*((t, 0, 0, 1) for t in times)))
    assert [tick for tick, _, _ in found] == list(times.values())


def test_what_comes_after_the_last_step_is_left_out():
    assert given(camera("merge"), recording((300, 0, 0, 1), (301, 1, 0, 1))) == [(30, 0, 1)]


@pytest.mark.parametrize(("step_us", "resolution", "t"), [(3, 7, 2), (10**9, 2**20, 999_999_999), (7 * 10**8 + 1, 2**40, 699_999_999)])
def test_ticks_are_exact_where_floats_and_64_bits_are_not(step_us, resolution, t):
    found = given(camera("merge", step_us=step_us), recording((t, 0, 0, 1)), steps=1, resolution=resolution)
    assert found == [(-(-t * resolution // step_us), 0, 1)]


def test_polarity():
    events = recording((5, 1, 0, 0), (5, 1, 0, 1), (25, 2, 1, 1))
    assert given(camera("split"), events) == [(1, 2, 1), (1, 3, 1), (3, 11, 1)]
    assert given(camera("merge"), events) == [(1, 1, 1), (1, 1, 1), (3, 5, 1)]
    assert given(camera("sign"), events) == [(1, 1, 1), (1, 1, -1), (3, 5, 1)]


def test_ties_are_ordered_by_neuron_then_sign_whatever_the_order_of_the_recording():
    events = recording((1, 2, 1, 0), (2, 2, 1, 1), (3, 0, 0, 0), (4, 2, 1, 1))
    expected = [(1, 0, -1), (1, 5, 1), (1, 5, 1), (1, 5, -1)]
    assert given(camera("sign"), events) == expected
    assert given(camera("sign"), events[::-1]) == expected


@pytest.mark.parametrize("p", [np.array([-1, 1, 0], "i1"), np.array([False, True, False])])
def test_polarities_in_their_usual_codes(p):
    events = np.zeros(3, [("x", "u2"), ("y", "u2"), ("t", "u8"), ("p", p.dtype)])
    events["p"] = p
    assert [sign for _, _, sign in given(camera("sign"), events)] == [1, -1, -1]


@pytest.mark.parametrize("engine", ["reference", "queue", "layered"])
def test_every_event_of_a_step_is_a_spike(engine):
    events = recording((10, 0, 0, 1), (20, 0, 0, 1), (30, 0, 0, 0), (150, 0, 0, 1))
    result = es.run(camera("sign"), {"camera": events}, steps=2, resolution=1, engine=engine)
    assert result.readout.tolist() == [[1], [2]]
    assert result.counts.spikes[:, 0].tolist() == [3, 1]
    assert result.counts.negative_spikes[:, 0].tolist() == [1, 0]
    assert result.counts.deliveries[:, 0].tolist() == [3, 1]


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (recording((0, 3, 0, 1)), r"x = 3\.\.3, and the network has 3 x 2 pixels"),
        (recording((0, 0, -1, 1)), r"y = -1\.\.-1"),
        (recording((-1, 0, 0, 1)), "before the run's start"),
        (recording((0, 0, 0, 2)), r"polarity of an event is 1, or 0 or -1, found 2\.\.2"),
        (np.zeros((3, 4)), "structured array of x, y, t, p"),
        (np.zeros(2, [("x", "i4"), ("y", "i4"), ("t", "f8"), ("p", "i4")]), "t of a recording must be whole numbers"),
        (np.zeros(2, [("x", "i4"), ("y", "i4"), ("p", "i4")]), "structured array of x, y, t, p"),
        (None, "needs a recording"),
    ],
)
def test_what_is_no_recording_for_it_is_refused(events, words):
    with pytest.raises(InputError, match=words):
        prepare(camera(), None if events is None else {"camera": events}, steps=3)


@pytest.mark.parametrize(
    ("shape", "settings", "words"),
    [
        ((2, 2, 1), {}, r"'split' has the shape \(height, width, 2\), found \(2, 2, 1\)"),
        ((2, 2, 2), {"polarity": "sign"}, r"\(height, width, 1\)"),
        ((4,), {"polarity": "merge"}, r"found \(4,\)"),
        ((2, 2, 1), {"polarity": "on"}, "'split', 'merge' or 'sign', found 'on'"),
        ((2, 2, 2), {"step_us": 0}, "whole number of microseconds"),
        ((2, 2, 2), {"step_us": 1.5}, "found 1.5"),
    ],
)
def test_what_makes_no_sense_is_refused(shape, settings, words):
    with pytest.raises(NetworkError, match=words):
        es.Network().event_input("camera", shape, **settings)


def test_maxima_cannot_follow_it():
    net = camera("merge")
    net.maximum("max", (2, 3, 1))
    with pytest.raises(NetworkError, match="spike twice in a tick"):
        net.connect("camera", "max", es.Windows(1))


@pytest.mark.parametrize("polarity", ["split", "merge", "sign"])
def test_it_is_kept_in_files(tmp_path, polarity):
    net = camera(polarity, step_us=250)
    es.save(net, tmp_path / "net.h5")
    again = es.load(tmp_path / "net.h5")
    assert again == net
    assert again.populations["camera"].details() == [f"polarity {polarity}", "250 us a step"]


def test_a_source_of_events_may_take_recordings():
    net = es.Network()
    net.source("camera", (2, 3, 1))
    net.readout("out", 1)
    net.connect("camera", "out", np.ones((6, 1), int))
    changed = with_event_input(net, 50, "sign").populations["camera"]
    assert (changed.kind, changed.polarity, changed.step_us) == ("event_input", "sign", 50)
    changed = with_event_input(camera("split"), 50, None).populations["camera"]
    assert (changed.polarity, changed.step_us) == ("split", 50)
    with pytest.raises(NetworkError, match="'merge' has the shape"):
        with_event_input(camera("split"), None, "merge")
    net.source("other", (2, 3, 1))
    with pytest.raises(InputError, match="several: camera, other"):
        with_event_input(net, 50, None)


def test_traces_keep_the_signs(tmp_path):
    events = recording((5, 1, 0, 0), (5, 1, 0, 1), (25, 2, 1, 1))
    result = es.run(camera("sign"), {"camera": events}, steps=1, resolution=10, trace=tmp_path / "run.h5")
    with es.Trace(tmp_path / "run.h5") as trace:
        spikes = trace.spikes("camera")
        assert spikes.signs.tolist() == [1, -1, 1]
        assert spikes.ticks.tolist() == [1, 1, 3]
    assert result.readout.tolist() == [[1]]
