"""Leaky neurons: worked out by hand, all engines alike, and a dense loop at resolution 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from judges import dense_loop
from judges.engines import ENGINES, Spikes, assert_same
from judges.leaky_networks import LARGE, leaky_cases

import eventsim as es
from eventsim.engines.reference.loop import Loop
from eventsim.engines.reference.synapses import Synapses
from eventsim.engines.registry import Engines
from eventsim.errors import PotentialOverflow
from eventsim.job.job import NoRecorder
from eventsim.job.preparation import prepare
from eventsim.model.exits import ExitRule

DRAWN = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
STEPS = 8


def runnable(net, job):
    """The engines that run a network."""
    engines = Engines(net)
    return [name for name in ENGINES if engines.why_not(name, job) is None]


def prepared(net, inputs, resolution, **settings):
    """A job; cycles of delays that are no ticks are drawn again."""
    try:
        return prepare(net, inputs, steps=STEPS, resolution=resolution, **settings)
    except es.NetworkError:
        assume(False)


@DRAWN
@given(leaky_cases(), st.sampled_from([1, 2, 7, 1000]), st.sampled_from([None, 1, 4]))
def test_engines_agree(case, resolution, margin):
    net, inputs = case
    rule = None if margin is None else ExitRule("margin", margin)
    try:
        job = prepared(net, inputs, resolution, exit_rule=rule)
    except es.RunError:  # a rule that holds before the first spike
        assume(False)
    assert runnable(net, job)[:2] == ["reference", "queue"]
    expected, *others = [(ENGINES[name](job, spikes), spikes) for name in runnable(net, job) for spikes in [Spikes()]]
    for counts, spikes in others:
        assert_same(expected[0], counts)
        assert spikes.all() == expected[1].all()


@DRAWN
@given(leaky_cases())
def test_clocked_runs_equal_a_dense_loop(case):
    net, inputs = case
    job = prepared(net, inputs, 1)
    times, neurons = inputs["src"]
    seen = dense_loop.run(net, steps=STEPS, events={"src": (times, neurons)})
    for name in runnable(net, job):
        spikes = Spikes()
        counts = ENGINES[name](job, spikes)
        for population, p in net.populations.items():
            if p.fires:
                found = np.zeros_like(seen.spikes[population])
                for tick, neuron, sign in spikes.of(population):
                    found[tick - 1, neuron] += sign
                np.testing.assert_array_equal(found, seen.spikes[population], err_msg=population)
            elif p.reads_out:
                np.testing.assert_array_equal(counts.readout[population], seen.readout[population], err_msg=population)
        decided = seen.decision[seen.decision >= 0]
        assert counts.decision == (int(decided[-1]) if len(decided) else None)
        if len(decided):
            changes = np.flatnonzero(np.diff(np.concatenate([[-2], seen.decision])))
            assert counts.decision_tick == changes[-1] + 1


@DRAWN
@given(leaky_cases(), st.sampled_from([1, 3, 10]))
def test_potentials_follow_from_the_spikes(case, resolution):
    net, inputs = case
    loop = Noting(prepared(net, inputs, resolution), Synapses(net), NoRecorder())
    loop.run()
    run = es.run(net, inputs, steps=STEPS, resolution=resolution, potentials="all", engine="reference")
    for name, population in net.populations.items():
        if population.v0 is not None:
            np.testing.assert_array_equal(run.potentials(name), [row[name] for row in loop.rows], err_msg=name)


@DRAWN
@given(leaky_cases(LARGE), st.sampled_from([1, 3]))
def test_engines_agree_on_what_32_bits_do_not_hold(case, resolution):
    net, inputs = case
    job = prepared(net, inputs, resolution)
    outcomes = []
    for name in runnable(net, job):
        spikes = Spikes()
        try:
            outcomes.append((ENGINES[name](job, spikes), spikes.all()))
        except PotentialOverflow as error:
            outcomes.append(str(error))
    for outcome in outcomes[1:]:
        if isinstance(outcome, str) or isinstance(outcomes[0], str):
            assert outcome == outcomes[0]
        else:
            assert_same(outcomes[0][0], outcome[0])
            assert outcome[1] == outcomes[0][1]


class Noting(Loop):
    """The reference engine, which notes the potentials at the end of every step as it goes along."""

    def end_steps(self, tick):
        """Those that ended before this tick."""
        rows = self.__dict__.setdefault("rows", [])
        for end in range((len(rows) + 1) * self.job.resolution, tick, self.job.resolution):
            super().end_steps(end)
            rows.append({name: neurons.potentials(end) for name, neurons in self.neurons.items()})
        super().end_steps(tick)


def leaky(**neuron):
    """A source of two neurons of weights 6 and -6, a leaky one, and a readout."""
    net = es.Network()
    net.source("src", 2)
    net.leaky("n", 1, **neuron)
    net.readout("out", 1)
    net.connect("src", "n", np.array([[6], [-6]]))
    net.connect("n", "out", np.array([[1]]))
    return net


@pytest.mark.parametrize(
    ("neuron", "potentials"),
    [
        # 6; half of it is 3; 1.5 is taken as 1: 2; then 1; then half of 1 is taken as 0, and 1 stays.
        ({"decay": 2048}, [6, 3, 2, 1, 1, 1]),
        ({"decay": 4096}, [6, 0, 0, 0, 0, 0]),
        ({"decay": 4095}, [6, 1, 1, 1, 1, 1]),
        ({"leak": 4}, [6, 2, 0, 0, 0, 0]),
        ({"leak": 0}, [6, 6, 6, 6, 6, 6]),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("resolution", [1, 4])
def test_a_step_takes_its_share_of_the_magnitude(neuron, potentials, sign, resolution):
    net = leaky(threshold=100, **neuron)
    net.leaky_readout("beside", 1, **neuron)
    net.connect("src", "beside", np.array([[6], [-6]]))
    for engine in runnable(net, prepare(net, {"src": ([], [])}, steps=1)):
        given = {"src": ([1.0], [0 if sign > 0 else 1])}
        run = es.run(net, given, steps=6, resolution=resolution, potentials=["n", "beside"], engine=engine)
        for name in ("n", "beside"):  # derived from the spikes, and as the engine has it
            assert run.potentials(name).ravel().tolist() == [sign * v for v in potentials]


@pytest.mark.parametrize(
    ("times", "fires"),
    [
        ([1.0, 1.0], [4]),  # both in the last tick of the first step
        ([0.25, 1.0], [4]),  # in one step, however far apart: 12
        ([1.0, 1.25], []),  # a tick later the first has decayed: 3 + 6
        ([1.0, 1.25, 1.5], [6]),  # 3 + 6 + 6
    ],
)
def test_potentials_decay_between_the_last_tick_of_a_step_and_the_first_of_the_next(times, fires):
    net = leaky(threshold=12, decay=2048)
    for engine in runnable(net, prepare(net, {"src": ([], [])}, steps=1)):
        run = es.run(net, {"src": (times, [0] * len(times))}, steps=3, resolution=4, engine=engine)
        assert run.spikes("n").ticks.tolist() == fires


@pytest.mark.parametrize(
    ("reset", "left"), [({"reset": "subtract"}, 7), ({"amount": 4}, 8), ({"reset": "zero"}, 0), ({"reset": "value", "amount": -9}, -9)]
)
def test_resets(reset, left):
    # 12 at once, and a period long enough that it fires once.
    net = leaky(threshold=5, refractory=3, **reset)
    run = es.run(net, {"src": ([1.0, 1.0], [0, 0])}, steps=2, resolution=1, potentials=["n"])
    assert run.spikes("n").ticks.tolist() == [1]
    assert run.potentials("n").ravel().tolist() == [left, left]


def test_a_neuron_that_may_not_fire_yet_may_not_be_due_any_more_when_it_may():
    # 6 at tick 1 fires and leaves 2; with 6 more it is due at tick 2, but may fire at tick 4 only. By then 7 (of 1 + 6) has become 2.
    for decay, fires in ((2048, [1]), (0, [1, 4])):
        net = leaky(threshold=4, decay=decay, refractory=3)
        for engine in runnable(net, prepare(net, {"src": ([], [])}, steps=1)):
            run = es.run(net, {"src": ([1, 2], [0, 0])}, steps=6, resolution=1, engine=engine)
            assert run.spikes("n").ticks.tolist() == fires


def test_a_current_flows_at_the_end_of_each_step():
    net = leaky(threshold=100, current_decay=2048)
    net.leaky_readout("beside", 1, current_decay=2048)
    net.connect("src", "beside", np.array([[6], [-6]]))
    firing = leaky(threshold=9, current_decay=2048)
    for engine in runnable(net, prepare(net, {"src": ([], [])}, steps=1)):
        run = es.run(net, {"src": ([0.25], [0])}, steps=4, resolution=4, potentials=["n", "beside"], engine=engine)
        for name in ("n", "beside"):
            assert run.potentials(name).ravel().tolist() == [6, 9, 11, 12]  # I = 6, 3, 2 (3 less the half of it, 1), 1
        run = es.run(firing, {"src": ([0.25], [0])}, steps=4, resolution=4, engine=engine)
        assert run.spikes("n").ticks.tolist() == [8]


@pytest.mark.parametrize(
    ("weights", "times", "tick"),
    [
        ([2**30, 2**30], [1, 1], 4),  # the current itself
        ([2**30, 2**29], [1, 1], 8),  # what it has flown into: 1.5 and then 3 times 2**30
        ([2**30, 2**30 - 1], [1, 1.25], 8),  # 2**30, and 2 * 2**30 + 2**30 - 1
        ([2**30, -(2**30)], [1, 1.25], None),  # it comes to nothing before it flows again
    ],
)
@pytest.mark.parametrize("resolution", [4, 1])
def test_currents_stay_within_32_bits_and_so_does_what_they_flow_into(weights, times, tick, resolution):
    net = es.Network()
    net.source("src", 2)
    net.leaky("n", 1, threshold=2**31 - 1, current_decay=0)
    net.connect("src", "n", np.array(weights)[:, None])
    for engine in runnable(net, prepare(net, {"src": ([], [])}, steps=1)):
        if tick is None:
            run = es.run(net, {"src": (times, [0, 1])}, steps=4, resolution=resolution, potentials=["n"], engine=engine)
            assert run.potentials("n").ravel().tolist() == [2**30] * 4
        else:
            with pytest.raises(PotentialOverflow, match=rf"^n: .*\(tick {tick * resolution // 4}\)"):
                es.run(net, {"src": (times, [0, 1])}, steps=4, resolution=resolution, engine=engine)


def test_what_decays_may_decide_otherwise():
    # 1 and 2 become 1 and 1 at the end of the step: the first of both is the answer from the next step's first tick on.
    net = es.Network()
    net.source("src", 1)
    net.leaky_readout("out", 2, decay=3000)
    net.connect("src", "out", np.array([[1, 2]]))
    for engine in runnable(net, prepare(net, {"src": ([], [])}, steps=1)):
        run = es.run(net, {"src": ([0.5], [0])}, steps=5, resolution=4, engine=engine)
        assert (run.decision, run.counts.decision_tick) == (0, 5)
        assert run.readout.tolist() == [[1, 2], [1, 1], [1, 1], [1, 1], [1, 1]]


@pytest.mark.parametrize("resolution", [1, 2**20])
def test_the_layered_engine_runs_them_clocked_and_asynchronous(resolution):
    assert es.run(leaky(threshold=3), {"src": ([1], [0])}, steps=1, resolution=resolution).counts.engine == "layered"
