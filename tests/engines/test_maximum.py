"""Maximum populations, worked out by hand: net counts, ticks, windows, signs, delays; and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from judges.small_networks import at_ticks

import eventsim as es
from eventsim.errors import NetworkError


def pooled(shape, windows, *, signed=False, largest=True, delay=0.0):
    """Events (neuron k up, neuron N + k down) move the net count of neuron k, and a maximum population follows ``windows`` of them."""
    n = int(np.prod(shape))
    net = es.Network()
    net.source("src", 2 * n)
    net.spiking("n", shape, 1, signed=signed)
    net.maximum("max", windows.output_shape(shape), largest=largest, signed=signed)
    net.readout("out", 1)
    net.connect("src", "n", np.concatenate([np.eye(n, dtype=int), -np.eye(n, dtype=int)]))
    net.connect("n", "max", windows, delay=delay)
    net.connect("max", "out", np.ones((net.populations["max"].size, 1), int))
    return net


def up(tick, neuron):
    return tick, neuron


def test_it_rises_with_the_first_and_not_with_the_second(engine):
    # Counts of a pair: 1 0 at tick 2, 1 1 at tick 3, 2 2 at tick 5: the maximum rises at 2 and 5, the minimum at 3 and 5.
    events = at_ticks(8, up(2, 0), up(3, 1), up(5, 0), up(5, 1))
    counts, spikes = engine(pooled((1, 2, 1), es.Windows((1, 2))), events, steps=1, resolution=8)
    assert spikes.of("max") == [(2, 0, 1), (5, 0, 1)]
    assert counts.readout["out"].tolist() == [[2]]
    _, spikes = engine(pooled((1, 2, 1), es.Windows((1, 2)), largest=False), events, steps=1, resolution=8)
    assert spikes.of("max") == [(3, 0, 1), (5, 0, 1)]


def test_it_falls_when_the_last_of_the_highest_falls(engine):
    # 1 0, 1 1, then neuron 0 takes its spike back (0 1), neuron 1 too (0 0): only then does the maximum fall. V = -1 < 0 takes back.
    net = pooled((1, 2, 1), es.Windows((1, 2)), signed=True)
    events = at_ticks(8, up(2, 0), up(3, 1), (5, 2), (6, 3))
    counts, spikes = engine(net, events, steps=1, resolution=8)
    assert spikes.of("n") == [(2, 0, 1), (3, 1, 1), (5, 0, -1), (6, 1, -1)]
    assert spikes.of("max") == [(2, 0, 1), (6, 0, -1)]
    assert counts.readout["out"].tolist() == [[0]]
    assert counts.negative_spikes.tolist() == [[0, 2, 1, 0]]
    # The minimum rises with the second and falls with the first.
    net = pooled((1, 2, 1), es.Windows((1, 2)), signed=True, largest=False)
    assert engine(net, events, steps=1, resolution=8)[1].of("max") == [(3, 0, 1), (5, 0, -1)]


def test_all_of_a_tick_is_delivered_before_counts_are_compared(engine):
    # At tick 4 one falls and the other rises: the maximum stays at 1, and no spike says so. The minimum stays at 0.
    events = at_ticks(8, up(2, 0), (4, 2), up(4, 1))
    for largest, expected in ((True, [(2, 0, 1)]), (False, [])):
        net = pooled((1, 2, 1), es.Windows((1, 2)), signed=True, largest=largest)
        assert engine(net, events, steps=1, resolution=8)[1].of("max") == expected


def test_windows_overlap_reach_over_the_border_and_leave_neurons_out(engine):
    # Windows of 3 with a stride of 2 over 6 neurons in a row, a padding of 1 before: {0, 1}, {1, 2, 3}, {3, 4, 5}; spikes of neuron k at
    # tick k + 1.
    events = at_ticks(8, *(up(k + 1, k) for k in range(6)))
    counts, spikes = engine(pooled((1, 6, 1), es.Windows((1, 3), (1, 2), (0, 1, 0, 0))), events, steps=1, resolution=8)
    assert spikes.of("max") == [(1, 0, 1), (2, 1, 1), (4, 2, 1)]
    assert counts.synaptic_events.tolist() == [[36, 1 + 2 + 1 + 2 + 1 + 1, 3]]  # windows that each lies in
    assert (counts.additions[0, 1], counts.effective[0, 1], counts.toolbox[0, 1], counts.deliveries[0, 1]) == (0, 0, 6, 6)
    # A stride of 3 leaves neurons 2 and 5 out; a ceil mode is padding behind.
    _, spikes = engine(pooled((1, 6, 1), es.Windows((1, 2), (1, 3))), events, steps=1, resolution=8)
    assert spikes.of("max") == [(1, 0, 1), (4, 1, 1)]
    _, spikes = engine(pooled((1, 5, 1), es.Windows((1, 2), (1, 2), (0, 0, 0, 1))), at_ticks(8, up(3, 4)), steps=1, resolution=8)
    assert spikes.of("max") == [(3, 2, 1)]


def test_padding_is_no_zero(engine):
    # The minimum of the only neuron of a window rises with it: the cell of padding beside it is not there.
    net = pooled((1, 1, 1), es.Windows((1, 2), 1, (0, 1, 0, 0)), largest=False)
    assert engine(net, at_ticks(8, up(2, 0)), steps=1, resolution=8)[1].of("max") == [(2, 0, 1)]


def test_channels_are_compared_apart(engine):
    # Two rows of two channels, (y, c) = neuron 2 y + c: maximum of channel 0, minimum of channel 1.
    net = pooled((2, 1, 2), es.Windows((2, 1)), largest=[True, False])
    events = at_ticks(8, up(1, 0), up(2, 1), up(3, 2), up(4, 3))
    assert engine(net, events, steps=1, resolution=8)[1].of("max") == [(1, 0, 1), (4, 1, 1)]


def test_counts_arrive_with_the_delay_of_the_projection(engine):
    # 0.25 steps of 8 ticks: two later. What would arrive after the run does not.
    net = pooled((1, 2, 1), es.Windows((1, 2)), delay=0.25)
    counts, spikes = engine(net, at_ticks(8, up(2, 0), up(3, 1), up(7, 1)), steps=1, resolution=8)
    assert spikes.of("max") == [(4, 0, 1)]
    assert counts.deliveries[:, 1].tolist() == [2]


def test_a_cycle_with_a_delay(engine):
    # A neuron fires once, its maximum follows, and comes back half a step later to fire it again.
    net = es.Network()
    net.source("src", 1)
    net.spiking("n", 1, 1)
    net.maximum("max", 1)
    net.connect("src", "n", [[1]])
    net.connect("n", "max", es.Windows(1))
    net.connect("max", "n", [[1]], delay=0.5)
    _, spikes = engine(net, {"src": ([0.125], [0])}, steps=2, resolution=8)
    assert spikes.of("max") == [(1, 0, 1), (5, 0, 1), (9, 0, 1), (13, 0, 1)]


def test_its_spikes_are_recorded_with_their_signs(tmp_path):
    net = pooled((1, 2, 1), es.Windows((1, 2)), signed=True)
    es.save(net, tmp_path / "net.h5")
    again = es.load(tmp_path / "net.h5")
    assert again == net
    result = es.run(again, at_ticks(8, up(2, 0), (5, 2)), steps=1, resolution=8, trace=tmp_path / "run.h5")
    assert [a.tolist() for a in result.spikes("max")] == [[2, 5], [0, 0], [1, -1]]
    assert result.total_spikes == 2 + 2 + 2
    assert result.total_synaptic_events == 2 * 2 + 2  # of the events and of the maximum's own spikes: comparisons are counted apart
    with es.Trace(tmp_path / "run.h5") as trace:
        report = es.counting.count_operations([trace])
        rows = {row.name: row for row in report.rows}
        assert (rows["n->max"].role, rows["n->max"].comparisons, rows["n->max"].synaptic_events) == ("comparisons", 2, 0)
        assert (report.comparisons.comparisons, report.synapses.synaptic_events, report.synapses.neurobench_acs) == (2, 6, 4)
        costs = es.counting.Costs(comparison=5.0, int8_add=1.0)
        assert report.energy_parts(costs)["int8"]["arithmetic"] == 2 * 5.0 + 6 * 1.0
    assert "max: maximum 1x1x1, signed" in str(net)
    assert "n->max: windows 1x2 stride 1x2" in str(net)


@pytest.mark.parametrize("name", ["reference", "queue", "layered"])
def test_the_limit_of_spikes_counts_them(name):
    net = pooled((1, 1, 1), es.Windows(1))
    result = es.run(net, at_ticks(8, up(2, 0), up(4, 0)), steps=1, resolution=8, max_spikes=2, engine=name)
    assert (result.counts.stopped, result.counts.end_tick) == ("max_spikes", 4)


def test_what_would_break_it_is_refused():
    net = pooled((1, 2, 1), es.Windows((1, 2)))
    with pytest.raises(NetworkError, match=r"n->max\+2: a maximum population takes one projection, found 2"):
        net.connect("n", "max", es.Windows((1, 2)))
    net = es.Network()
    net.source("events", 4)
    net.spiking("signed", 4, 1, signed=True)
    net.spiking("n", 4, 1)
    net.maximum("max", 4)
    with pytest.raises(NetworkError, match="events->max: events may have a neuron spike twice in a tick"):
        net.connect("events", "max", es.Windows(1))
    with pytest.raises(NetworkError, match="signed->max: spikes of sign -1 may arrive"):
        net.connect("signed", "max", es.Windows(1))
    with pytest.raises(NetworkError, match="compares counts, and a dense table has weights"):
        net.connect("n", "max", np.eye(4, dtype=int))
    with pytest.raises(NetworkError, match="n->signed: a windows table has no weights and ends at maximum populations only"):
        net.connect("n", "signed", es.Windows(1))
    with pytest.raises(NetworkError, match="max: a maximum population takes one projection, found 0"):
        net.check()
    with pytest.raises(NetworkError, match=r"largest must be in 0\.\.1"):
        net.maximum("other", 4, largest=[0, 1, 2, 1])
    net.image_input((2, 2, 1))
    with pytest.raises(NetworkError, match="a windows table has no weights and cannot make currents"):
        net.driven("image", (1, 1, 1), 1, encoder=es.Windows(2))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "message"),
    [
        (2, 2, 2, "must be smaller than the kernel"),
        (3, 1, 0, "too small for a window"),
        (0, 1, 0, "kernel must be"),
        ((1, 2, 3), 1, 0, "kernel must be"),
    ],
)
def test_windows_that_make_no_sense(kernel, stride, padding, message):
    with pytest.raises(NetworkError, match=message):
        es.Windows(kernel, stride, padding).output_shape((2, 2, 1))


def test_potentials_behind_it_are_derived_from_its_spikes():
    """V of a neuron behind maxima is its weight times their net counts, less thresholds; maxima have no potentials."""
    net = pooled((1, 4, 1), es.Windows((1, 2)), signed=True)
    net.spiking("behind", 1, 5)
    net.connect("max", "behind", [[2], [1]])
    events = at_ticks(8, up(1, 0), up(2, 0), up(3, 2), (9, 4), up(10, 1), up(17, 1), up(18, 1))
    result = es.run(net, events, steps=3, resolution=8, potentials="all")
    # Counts at the ends of the steps: 2 0 1 0, 1 1 1 0, 1 3 1 0; maxima 2 1, 1 1, 3 1: sums 5, 3, 7, and a spike at 5, at tick 3.
    assert [a.tolist() for a in result.spikes("behind")] == [[3], [0], [1]]
    assert result.potentials("behind").tolist() == [[0], [-2], [2]]
    with pytest.raises(es.RunError, match="no membrane potentials of 'max'"):
        es.run(net, events, steps=3, resolution=8, potentials=["max"])
