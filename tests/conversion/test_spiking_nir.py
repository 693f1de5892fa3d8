"""Neurons taken over from NIR graphs: clocked, they do what the graph says, step by step."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from click.testing import CliRunner
from judges.nir_graphs import STEPS, clocked, constants, drawn, graph, spikes_of

import eventsim as es
from eventsim.cli.main import main

nir = pytest.importorskip("nir")


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def test_lif_as_nir_defines_it(rng):
    # Euler steps of tau dv/dt = (v_leak - v) + r I, a spike above the threshold, to v_reset; numbers that are integers throughout.
    weight, bias = rng.integers(-8, 9, (7, 5)).astype(float), rng.integers(-2, 3, 7).astype(float)
    lif = nir.LIF(**constants(7, tau=4.0, r=4.0, v_leak=2.0, v_threshold=9.0, v_reset=-3.0))
    net, remarks = es.spiking_from_nir(graph({"a": nir.Affine(weight, bias), "lif": lif}, [5], [7]), dt=1.0)
    x = drawn(rng, 5)
    v, expected = np.full(7, 2.0), []
    for step in x:
        v = v + 0.25 * ((2.0 - v) + 4.0 * (weight @ step + bias))
        expected.append(v > 9)
        v[v > 9] = -3
    assert np.array_equal(spikes_of(clocked(net, x), "lif", (7,)), expected)
    assert np.sum(expected) > 50
    assert remarks == ["output (Output): what arrives is added up over the run (NIR's output has no memory)"]


@pytest.mark.parametrize(("writer", "fires"), [("nir", [2]), ("spikingjelly", [1])])
def test_a_tie_fires_where_the_writer_has_it_so(writer, fires):
    neuron = nir.IF(r=np.ones(1), v_threshold=np.full(1, 3.0), v_reset=np.zeros(1))
    net, _ = es.spiking_from_nir(graph({"a": nir.Linear(np.array([[3.0]])), "if": neuron}, [1], [1]), writer=writer, dt=1.0)
    assert clocked(net, np.ones((2, 1))).spikes("if").ticks.tolist()[:1] == fires  # 3, then 6


def test_cuba_lif_and_a_leaky_readout(rng):
    weight, second = rng.integers(-4, 9, (6, 5)).astype(float), rng.integers(-9, 9, (3, 6)).astype(float)
    cuba = nir.CubaLIF(**constants(6, tau_syn=2.0, tau_mem=4.0, r=4.0, v_leak=0.0, v_threshold=16.0, w_in=2.0, v_reset=0.0))
    li = nir.LI(**constants(3, tau=2.0, r=2.0, v_leak=0.0))
    nodes = {"a": nir.Linear(weight), "cuba": cuba, "b": nir.Linear(second), "li": li}
    net, remarks = es.spiking_from_nir(graph(nodes, [5], [3]), dt=1.0)
    assert remarks == []
    x = drawn(rng, 5)
    i, v, u, expected = np.zeros(6), np.zeros(6), np.zeros(3), []
    for step in x:
        i = i + 0.5 * (-i + 2 * (weight @ step))
        v = v + 0.25 * (-v + 4 * i)
        fired = v > 16
        v[fired] = 0
        u = u + 0.5 * (-u + 2 * (second @ fired))
        expected.append((fired.copy(), u.copy()))
    run = clocked(net, x)
    assert np.array_equal(spikes_of(run, "cuba", (6,)), [fired for fired, _ in expected])
    assert np.sum([fired for fired, _ in expected]) > 30
    scale = run.readout[-1].astype(float) @ expected[-1][1] / (expected[-1][1] @ expected[-1][1])
    assert np.allclose(run.readout / scale, [u for _, u in expected], atol=1e-3)


def test_cycles_take_a_step_and_delays_their_time(rng):
    weight, back = rng.integers(1, 6, (4, 3)).astype(float), rng.integers(-6, 7, (4, 4)).astype(float)
    lif = nir.LIF(**constants(4, tau=2.0, r=2.0, v_leak=0.0, v_threshold=7.5, v_reset=0.0))
    delays = np.array([0.0, 1.0, 3.0, 1.0])
    nodes = {"a": nir.Linear(weight), "d": nir.Delay(delays), "lif": lif}
    every = graph(nodes, [3], [4])
    every.nodes["back"] = nir.Linear(back)
    every.edges += [("lif", "back"), ("back", "lif")]
    net, _ = es.spiking_from_nir(every, dt=1.0)
    x = drawn(rng, 3)
    v, fired, expected = np.zeros(4), np.zeros(4), []
    for t in range(STEPS):
        late = np.array([weight[k] @ x[t - int(d)] if t >= d else 0.0 for k, d in enumerate(delays)])
        v = v / 2 + late + back @ fired
        fired = (v > 7.5).astype(float)
        v[fired > 0] = 0
        expected.append(fired)
    assert np.array_equal(spikes_of(clocked(net, x), "lif", (4,)), expected)
    assert 30 < np.sum(expected) < 220


@pytest.mark.parametrize("flat", [True, False])
def test_convolutions(rng, flat):
    shape = (2, 9) if flat else (2, 5, 6)
    weight = rng.integers(-3, 5, (3, 2, 3) if flat else (3, 2, 3, 3)).astype(float)
    bias = np.array([1.0, 0.0, -1.0])
    conv = nir.Conv1d(9, weight, 1, 1, 1, 1, bias) if flat else nir.Conv2d((5, 6), weight, 1, 1, 1, 1, bias)
    outputs = (3, *shape[1:])
    neurons = nir.IF(r=np.ones(outputs), v_threshold=np.full(outputs, 6.0), v_reset=np.zeros(outputs))
    net, _ = es.spiking_from_nir(graph({"c": conv, "if": neurons}, shape, outputs), dt=1.0, reset="subtract")
    x = drawn(rng, *shape)
    v, expected = np.zeros(outputs), []
    for step in x:
        padded = np.pad(step.reshape(2, -1, shape[-1]), ((0, 0), (0 if flat else 1,) * 2, (1, 1)))
        kernel = weight.reshape(3, 2, -1, 3)
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(1, 2))
        v = v + (np.einsum("cyxuv,ocuv->oyx", windows, kernel) + bias[:, None, None]).reshape(outputs)
        fired = v > 6
        v = v - 6 * fired
        expected.append(fired.reshape(3, -1, shape[-1]).transpose(1, 2, 0))
    x = x.reshape(STEPS, 2, -1, shape[-1])
    assert np.array_equal(spikes_of(clocked(net, x), "if", expected[0].shape), expected)
    assert np.sum(expected) > 100


def convolved(x, weight, stride, padding, dilation, groups):
    """Channel first, one tap after the other."""
    rows, cols = ((n + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(x.shape[1:], weight.shape[2:], strict=True))
    padded, per = np.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2)), len(weight) // groups
    out = np.zeros((len(weight), rows, cols))
    for o, i, u, v in np.ndindex(weight.shape):
        channel = padded[o // per * weight.shape[1] + i, u * dilation :, v * dilation :]
        out[o] += weight[o, i, u, v] * channel[: (rows - 1) * stride + 1 : stride, : (cols - 1) * stride + 1 : stride]
    return out


def pooled(values):
    """Sums over windows of 2 x 2."""
    rows, cols = values.shape[1] // 2, values.shape[2] // 2
    return values[:, : 2 * rows, : 2 * cols].reshape(len(values), rows, 2, cols, 2).sum((2, 4))


def test_convolutions_stay_convolutions(rng):
    # One in groups and dilated; one with pools before and behind it, its channels scaled; and a pool and a matrix at the end.
    first, second = rng.integers(-3, 6, (4, 1, 2, 3)).astype(float), rng.integers(-2, 4, (3, 4, 2, 2)).astype(float)
    last, scale, bias = rng.integers(-4, 8, (2, 12)).astype(float), np.array([1.0, 2.0, 0.5])[:, None, None], np.array([1.0, 0, 0, -1])

    def neurons(shape, threshold):
        return nir.IF(r=np.ones(shape), v_threshold=np.full(shape, threshold), v_reset=np.zeros(shape))

    def pool(kind=nir.SumPool2d):
        return kind(np.array([2, 2]), np.array([2, 2]), np.zeros(2, int))

    nodes = {
        "c1": nir.Conv2d((17, 19), first, 1, 1, 2, 2, bias),
        "one": neurons((4, 17, 17), 25.0),
        "p1": pool(),
        "c2": nir.Conv2d((8, 8), second, 1, 1, 1, 1, np.zeros(3)),
        "p2": pool(nir.AvgPool2d),
        "s": nir.Scale(np.broadcast_to(scale, (3, 4, 4))),
        "two": neurons((3, 4, 4), 12.0),
        "p3": pool(),
        "f": nir.Flatten({"input": np.array([3, 2, 2])}, 0, -1),
        "l": nir.Linear(last),
        "three": neurons((2,), 25.0),
    }
    net, _ = es.spiking_from_nir(graph(nodes, (2, 17, 19), (2,)), dt=1.0, reset="subtract")
    tables = {p.target: p.table for p in net.projections if net.populations[p.source].emits != "clock"}
    assert [tables[name].kind for name in ("one", "two", "three")] == ["grouped_conv2d", "conv2d", "dense"]
    assert [tables[name].pool_before for name in ("two", "three")] == [(2, 2), (2, 2)]
    x = drawn(rng, 2, 17, 19, rate=0.2)
    v, expected = [np.zeros((4, 17, 17)), np.zeros((3, 4, 4)), np.zeros(2)], {"one": [], "two": [], "three": []}

    def fire(k, name, arriving, threshold):
        v[k] = v[k] + arriving
        fired = v[k] > threshold
        v[k] = v[k] - threshold * fired
        expected[name].append(fired.transpose(1, 2, 0) if fired.ndim == 3 else fired)
        return fired.astype(float)

    for step in x:
        one = fire(0, "one", convolved(step, first, 1, 1, 2, 2) + bias[:, None, None], 25)
        two = fire(1, "two", pooled(convolved(pooled(one), second, 1, 1, 1, 1)) / 4 * scale, 12)
        fire(2, "three", last @ pooled(two).ravel(), 25)
    run = clocked(net, x)
    for name, fired in expected.items():
        assert np.array_equal(spikes_of(run, name, fired[0].shape), fired), name
        assert 20 < np.sum(fired) < 0.7 * np.size(fired)


def test_neurons_of_one_channel_that_differ_take_their_convolution_one_by_one(rng):
    weight, thresholds = rng.integers(-2, 5, (2, 2, 2, 2)).astype(float), rng.integers(3, 9, (2, 4, 5)).astype(float)
    neurons = nir.IF(r=np.ones((2, 4, 5)), v_threshold=thresholds, v_reset=np.zeros((2, 4, 5)))
    conv, after = nir.Conv2d((5, 6), weight, 1, 0, 1, 1, np.zeros(2)), nir.Conv2d((4, 5), weight, 1, 0, 1, 1, np.zeros(2))
    second = nir.IF(r=np.ones((2, 3, 4)), v_threshold=np.full((2, 3, 4), 5.0), v_reset=np.zeros((2, 3, 4)))
    made = graph({"c": conv, "one": neurons, "d": after, "two": second}, (2, 5, 6), (2, 3, 4))
    net, _ = es.spiking_from_nir(made, dt=1.0, reset="subtract")
    x, v, u, expected = drawn(rng, 2, 5, 6), np.zeros((2, 4, 5)), np.zeros((2, 3, 4)), []
    for step in x:
        v = v + convolved(step, weight, 1, 0, 1, 1)
        fired = v > thresholds
        v = v - thresholds * fired
        u = u + convolved(fired.astype(float), weight, 1, 0, 1, 1)
        expected.append((u > 5).transpose(1, 2, 0))
        u = u - 5 * (u > 5)
    assert np.array_equal(spikes_of(clocked(net, x), "two", (3, 4, 2)), expected)
    assert np.sum(expected) > 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tau": np.full(2, 0.5)}, "a step of dt = 1 is longer than the time constant 0.5"),
        ({"tau": np.zeros(2)}, "time constants must be positive"),
        ({"v_threshold": np.zeros(2)}, "thresholds must lie above"),
        ({"v_reset": np.ones(2)}, "v_reset must be below the threshold"),
        ({"r": np.full(2, np.nan)}, "r is not finite"),
        ({"r": -np.ones(2)}, "resistances r must be positive"),
        ({"tau": np.ones(3)}, r"parameters of shape \(3,\) for neurons of shape \(2,\)"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    values = constants(2, tau=2.0, r=1.0, v_leak=0.0, v_threshold=1.0, v_reset=0.0)
    lif = nir.LIF(**values)
    for name, value in change.items():
        setattr(lif, name, value)
    with pytest.raises(es.ConversionError, match=message):
        es.spiking_from_nir(graph({"a": nir.Linear(np.eye(2)), "lif": lif}, [2], [2]), dt=1.0)


def test_a_step_needs_a_length_and_a_writer_a_name():
    made = graph({"lif": nir.LIF(**constants(2, tau=2.0, r=1.0, v_leak=0.0, v_threshold=1.0, v_reset=0.0))}, [2], [2])
    with pytest.raises(es.ConversionError, match="NIR does not say how long a step is"):
        es.spiking_from_nir(made)
    with pytest.raises(es.ConversionError, match="no writer 'lava' of NIR files is known; there are: nir, snntorch"):
        es.spiking_from_nir(made, writer="lava")


def test_if_neurons_by_snntorch_take_a_step_whole(rng):
    # It reads none but those of r = 1, whatever its dt; a factor of 1e-4 silenced them.
    weight = rng.integers(-3, 6, (4, 5)).astype(float)
    neurons = nir.IF(r=np.ones(4), v_threshold=np.full(4, 7.0), v_reset=np.zeros(4))
    net, remarks = es.spiking_from_nir(graph({"a": nir.Linear(weight), "if": neurons}, [5], [4]), writer="snntorch")
    x, v, expected = drawn(rng, 5), np.zeros(4), []
    for step in x:
        v = v + weight @ step
        expected.append(v > 7)
        v = v - 7 * (v > 7)
    assert np.array_equal(spikes_of(clocked(net, x), "if", (4,)), expected)
    assert np.sum(expected) > 30
    assert [remark for remark in remarks if remark.startswith("if (IF): snnTorch writes no IF neurons")]
    with pytest.raises(es.ConversionError, match="snnTorch takes IF neurons of r = 1 alone, found 10000; give the file's writer"):
        es.spiking_from_nir(graph({"if": nir.IF(r=np.full(4, 1e4), v_threshold=np.ones(4))}, [4], [4]), writer="snntorch")


@pytest.mark.parametrize(("beta", "kept"), [(1.0, 1.0), (1.25, 1.0), (-0.25, 0.0)])
def test_decays_that_snntorch_clamps(rng, beta, kept):
    # What it writes of a beta that was learnt: dt / (1 - beta), infinite, negative or shorter than a step; its neurons keep 0 to 1 of V.
    with np.errstate(divide="ignore"):
        tau = 1e-4 / (1 - np.full(4, beta, np.float32))
    weight = rng.integers(-3, 6, (4, 5)).astype(float)
    lif = nir.LIF(tau=tau, r=tau / 1e-4, v_leak=np.zeros(4), v_threshold=np.full(4, 7.0), v_reset=np.zeros(4))
    net, _ = es.spiking_from_nir(graph({"a": nir.Linear(weight), "lif": lif}, [5], [4]), writer="snntorch", reset="value")
    x, v, expected = drawn(rng, 5, rate=0.6), np.zeros(4), []
    for step in x:
        v = kept * v + weight @ step
        expected.append(v > 7)
        v[v > 7] = 0
    assert np.array_equal(spikes_of(clocked(net, x), "lif", (4,)), expected)
    assert np.sum(expected) > 10


@pytest.mark.parametrize("kind", ["IF", "LIF", "CubaLIF"])
def test_neurons_that_hardly_fire_are_remarked_on(kind):
    lif = constants(2, r=1.0, v_leak=0.0, v_threshold=1.0, v_reset=0.0)
    made = {
        "IF": lambda: nir.IF(r=np.ones(2), v_threshold=np.ones(2)),
        "LIF": lambda: nir.LIF(tau=np.full(2, 2.0), **lif),
        "CubaLIF": lambda: nir.CubaLIF(tau_mem=np.full(2, 2.0), tau_syn=np.full(2, 2.0), w_in=np.ones(2), **lif),
    }
    for dt, said in ((1e-4, 1), (1.0, 0)):
        _, remarks = es.spiking_from_nir(graph({"a": nir.Linear(3 * np.eye(2)), "n": made[kind]()}, [2], [2]), dt=dt, writer="nir")
        found = [remark for remark in remarks if remark.startswith(f"n ({kind}): fires never, or less than once in 100 steps")]
        assert len(found) == said, remarks


def test_on_the_command_line(tmp_path):
    weight = np.array([[0.3, 0.7], [1.0, -0.4]])
    lif = nir.LIF(**constants(2, tau=3.0, r=1.0, v_leak=0.0, v_threshold=0.2, v_reset=0.0))
    nir.write(tmp_path / "net.nir", graph({"a": nir.Linear(weight), "lif": lif}, [2], [2]))
    arguments = ["convert", str(tmp_path / "net.nir"), "-o", str(tmp_path / "net.h5"), "--nir-neurons", "nir", "--nir-dt", "1"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "lif: decay of potentials: 0.333333 a step becomes 1365/4096, 0.024 % off" in result.output
    net = es.load(tmp_path / "net.h5")
    assert net.provenance["nir"]["dt"] == 1.0
    assert [p.kind for p in net.populations.values()] == ["source", "leaky", "leaky_readout"]
    late = CliRunner().invoke(main, [*arguments, "--no-nir-reset-delay"])
    assert (late.exit_code, "neurons of 'nir' know none" in late.output) == (1, True)
    alone = CliRunner().invoke(main, [*arguments[:4], "--nir-reset-delay"])
    assert (alone.exit_code, "go with --nir-neurons" in alone.output) == (2, True)
    refused = CliRunner().invoke(main, [*arguments, "--percentile", "99"])
    assert refused.exit_code == 2
    assert "leave out --percentile" in refused.output


def test_the_output_of_the_graph_decides():
    """Not another readout beside it that comes first."""
    nodes = {
        "a": nir.Linear(np.eye(2) * 3),
        "lif": nir.LIF(**constants(2, tau=2.0, r=2.0, v_leak=0.0, v_threshold=2.0, v_reset=0.0)),
        "b": nir.Linear(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])),
        "out": nir.LI(**constants(3, tau=2.0, r=2.0, v_leak=0.0)),
    }
    every = graph(nodes, [2], [3])
    every.nodes = {"pw": nir.Linear(np.ones((1, 2))), "probe": nir.LI(**constants(1, tau=2.0, r=2.0, v_leak=0.0))} | every.nodes
    every.edges += [("lif", "pw"), ("pw", "probe")]
    net, _ = es.spiking_from_nir(every, dt=1.0)
    assert {"probe", "out"} <= set(net.populations)
    assert net.output == "out"
    assert clocked(net, np.ones((6, 2))).decision == 2


def test_a_bias_before_a_delay_comes_late():
    neuron = nir.IF(r=np.ones(1), v_threshold=np.full(1, 4.5), v_reset=np.zeros(1))
    nodes = {"a": nir.Affine(np.ones((1, 1)), np.ones(1)), "d": nir.Delay(np.full(1, 3.0)), "b": nir.Affine(np.ones((1, 1)), np.zeros(1))}
    net, _ = es.spiking_from_nir(graph(nodes | {"if": neuron}, [1], [1]), dt=1.0)
    v, expected = 0.0, []
    for step in range(1, 21):
        v += float(step > 3)
        if v > 4.5:
            expected.append(step)
            v = 0.0
    assert clocked(net, np.zeros((20, 1))).spikes("if").ticks.tolist() == expected == [8, 13, 18]
    nodes["d"] = nir.Delay(np.array([1.0, 2.0]))
    nodes["a"] = nir.Affine(np.ones((2, 1)), np.ones(2))
    nodes["b"] = nir.Linear(np.ones((1, 2)))
    with pytest.raises(es.ConversionError, match="delays of single neurons behind a bias"):
        es.spiking_from_nir(graph(nodes | {"if": neuron}, [1], [1]), dt=1.0)


def test_delays_that_all_differ_take_memory_by_their_synapses(rng):
    n = 200
    neuron = nir.LIF(**constants(n, tau=2.0, r=2.0, v_leak=0.0, v_threshold=9.0, v_reset=0.0))
    nodes = {"d": nir.Delay(np.arange(float(n)) / 8), "a": nir.Linear(rng.integers(-5, 6, (n, n)).astype(float)), "lif": neuron}
    every = graph(nodes, [n], [n])
    tracemalloc.start()
    try:
        net, _ = es.spiking_from_nir(every, dt=1.0)
        # A matrix for each delay would be 64 MB.
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
    assert sum(np.count_nonzero(p.table.weights) for p in net.projections if p.source == "input") == np.count_nonzero(nodes["a"].weight)
