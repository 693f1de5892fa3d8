"""NIR graphs as other tools write them: steps of other lengths, batch dimensions, one dimension, groups, graphs within graphs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from click.testing import CliRunner

import eventsim as es
from eventsim.cli.main import main
from eventsim.conversion import graph as g
from eventsim.conversion.from_nir import from_nir
from eventsim.conversion.judging import check_reading

nir = pytest.importorskip("nir")


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def chain(*nodes, shape, outputs, edges=None, metadata=None):
    """A graph of nodes one after the other, by number."""
    every = {"input": nir.Input({"input": np.array(shape)})}
    every |= {str(i): node for i, node in enumerate(nodes)} | {"output": nir.Output({"output": np.array(outputs)})}
    edges = list(itertools.pairwise(every)) if edges is None else edges
    return nir.NIRGraph(every, edges, metadata={} if metadata is None else metadata, type_check=False)


def neurons(shape, r=1.0, threshold=1.0):
    return nir.IF(r=np.full(shape, r), v_threshold=np.full(shape, threshold), v_reset=np.zeros(shape))


def computed(graph, x, **settings):
    """Outputs for inputs (n, *shape), after the graph itself has agreed."""
    read = from_nir(graph, **settings)
    x = x.reshape(len(x), *read.nodes[0].shape)
    check_reading(read, x)
    return read.evaluate(x)[read.output].reshape(len(x), -1), read


def small(r, metadata=None):
    weight = np.array([[0.2], [0.6]])
    return chain(nir.Linear(weight), neurons(2, r), nir.Linear(np.eye(2) + 0.01), shape=[1], outputs=[2], metadata=metadata)


@pytest.mark.parametrize(
    ("r", "metadata", "dt", "rates", "remark"),
    [
        (1.0, None, None, [0.2, 0.6], None),
        (10_000.0, None, None, [0.2, 0.6], "r = 10000: taken as 1/dt"),
        (10_000.0, {"dt": 5e-5}, None, [0.1, 0.3], None),
        (10_000.0, {"dt": 5e-5}, 1e-4, [0.2, 0.6], None),
        (0.5, None, None, [0.1, 0.3], "r = 0.5 .. 0.5, and a step's length is taken as dt = 1"),
        (0.5, None, 2.0, [0.2, 0.6], None),
        (10_000.0, None, 1.0, [1.0, 1.0], None),
    ],
)
def test_the_length_of_a_step(r, metadata, dt, rates, remark):
    found, read = computed(small(r, metadata), np.ones((1, 1)), dt=dt)
    np.testing.assert_allclose(found[0], (np.eye(2) + 0.01) @ rates)
    said = [text for text in read.remarks if "dt" in text]
    assert len(said) == (remark is not None)
    assert remark is None or remark in said[0]


def test_neurons_fire_as_often_as_their_rate_says(tmp_path):
    nir.write(tmp_path / "net.nir", small(10_000.0))
    for options, expected in (([], [20, 60]), (["--nir-dt", "5e-5"], [10, 30])):
        done = CliRunner().invoke(main, ["convert", str(tmp_path / "net.nir"), "-o", str(tmp_path / "net.h5"), *options])
        assert done.exit_code == 0, done.output
        net = es.load(tmp_path / "net.h5")
        result = es.run(net, np.full((1, 1, 1), 255, np.uint8), steps=100, resolution=1)
        np.testing.assert_allclose(result.spike_counts(next(iter(net.populations))), expected, atol=1)
    done = CliRunner().invoke(main, ["convert", str(tmp_path / "net.nir"), "-o", str(tmp_path / "net.h5"), "--nir-dt", "0"])
    assert done.exit_code == 1
    assert "dt must be a positive number" in done.output


def test_a_batch_dimension_of_one_is_left_out(rng):
    conv, matrix = rng.normal(size=(4, 1, 3, 3)), rng.normal(size=(5, 256))
    flat = nir.Flatten(input_type={"input": np.array([1, 4, 8, 8])}, start_dim=1, end_dim=-1)
    layers = nir.Conv2d((8, 8), conv, 1, (1, 1), 1, 1, np.zeros(4)), neurons((1, 4, 8, 8)), flat, nir.Linear(matrix)
    with_batch = chain(*layers, shape=[1, 1, 8, 8], outputs=[1, 5])
    bare = nir.Flatten(input_type={"input": np.array([4, 8, 8])}, start_dim=0, end_dim=-1)
    without = chain(layers[0], neurons((4, 8, 8)), bare, layers[3], shape=[1, 8, 8], outputs=[5])
    x = rng.random((4, 1, 8, 8))
    found, read = computed(with_batch, x)
    np.testing.assert_allclose(found, computed(without, x)[0])
    assert any("batch dimension" in remark for remark in read.remarks)
    with pytest.raises(es.ConversionError, match="batch dimension of 7"):
        from_nir(chain(*layers, shape=[7, 1, 8, 8], outputs=[7, 5]))
    vector, _ = computed(chain(nir.Linear(matrix), shape=[1, 256], outputs=[1, 5]), rng.random((3, 256)))
    assert vector.shape == (3, 5)


def test_signals_of_one_dimension(rng):
    weight, bias = rng.normal(size=(4, 2, 3)), rng.normal(size=4)
    conv = nir.Conv1d(input_shape=9, weight=weight, stride=2, padding=1, dilation=2, groups=1, bias=bias)
    flat = nir.Flatten(input_type={"input": np.array([4, 4])}, start_dim=0, end_dim=-1)
    graph = chain(conv, neurons((4, 4), threshold=2.0), flat, nir.Linear(rng.normal(size=(3, 16))), shape=[2, 9], outputs=[3])
    x = rng.normal(size=(5, 2, 9))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1)))
    z = np.stack([np.einsum("nik,oik->no", padded[:, :, 2 * t : 2 * t + 5 : 2], weight) + bias for t in range(4)], -1)
    expected = np.clip(z / 2, 0, 1).reshape(5, -1) @ graph.nodes["3"].weight.T
    np.testing.assert_allclose(computed(graph, x)[0], expected)
    assert from_nir(graph).nodes[0].shape == (2, 1, 9)


@pytest.mark.parametrize(
    ("groups", "stride", "padding", "dilation"),
    [(1, 1, "same", 1), (2, (2, 1), (1, 2), (1, 2)), (4, 1, "valid", 1), (1, 1, "same", (2, 1))],
)
def test_convolutions_of_every_kind(rng, groups, stride, padding, dilation):
    weight, bias = rng.normal(size=(4, 4 // groups, 3, 2)), rng.normal(size=4)
    x = rng.normal(size=(3, 4, 7, 6))
    (sy, sx), (dy, dx) = np.broadcast_to(stride, 2), np.broadcast_to(dilation, 2)
    spans = [2 * dy, dx] if padding == "same" else [0, 0]
    pads = [(n // 2, n - n // 2) for n in spans] if isinstance(padding, str) else [(n, n) for n in padding]
    padded = np.pad(x, ((0, 0), (0, 0), *pads))
    rows, columns = (padded.shape[2] - 2 * dy - 1) // sy + 1, (padded.shape[3] - dx - 1) // sx + 1
    expected = np.zeros((3, 4, rows, columns))
    for o, i, v, u in np.ndindex(4, 4 // groups, rows, columns):
        channel = o // (4 // groups) * (4 // groups) + i
        window = padded[:, channel, v * sy : v * sy + 2 * dy + 1 : dy, u * sx : u * sx + dx + 1 : dx]
        expected[:, o, v, u] += (window * weight[o, i]).sum((1, 2))
    expected += bias[:, None, None]
    graph = chain(nir.Conv2d((7, 6), weight, stride, padding, dilation, groups, bias), shape=[4, 7, 6], outputs=[4, rows, columns])
    np.testing.assert_allclose(computed(graph, x)[0], expected.reshape(3, -1))


@pytest.mark.parametrize("pool", ["SumPool2d", "AvgPool2d"])
def test_pools_that_overlap_with_padding_that_counts(rng, pool):
    x = rng.normal(size=(3, 2, 6, 5))
    made = getattr(nir, pool)(kernel_size=np.array([3, 2]), stride=np.array([2, 1]), padding=np.array([1, 0]))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    sums = np.stack([np.stack([padded[:, :, i : i + 3, j : j + 2].sum((2, 3)) for j in range(4)], -1) for i in (0, 2, 4)], -2)
    expected = sums if pool == "SumPool2d" else sums / 6
    np.testing.assert_allclose(computed(chain(made, shape=[2, 6, 5], outputs=[2, 3, 4]), x)[0], expected.reshape(3, -1))


def test_a_scale_of_every_number(rng):
    x, factor = rng.normal(size=(3, 2, 4, 3)), rng.normal(size=(2, 4, 3))
    graph = chain(nir.Scale(scale=factor), neurons((2, 4, 3)), shape=[2, 4, 3], outputs=[2, 4, 3])
    np.testing.assert_allclose(computed(graph, x)[0], np.clip(x * factor, 0, 1).reshape(3, -1))


def test_graphs_within_graphs(rng):
    first, second = rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
    inner = chain(nir.Linear(first), neurons(4), shape=[3], outputs=[4])
    twice = chain(inner, nir.Linear(second), shape=[3], outputs=[2])
    x = rng.normal(size=(5, 3))
    np.testing.assert_allclose(computed(twice, x)[0], np.clip(x @ first.T, 0, 1) @ second.T)
    # Around it, a connection past it.
    beside = chain(
        inner, nir.Linear(np.eye(4, 3)), nir.Linear(second), shape=[3], outputs=[2],
        edges=[("input", "0"), ("input", "1"), ("0", "2"), ("1", "2"), ("2", "output")],
    )  # fmt: skip
    np.testing.assert_allclose(computed(beside, x)[0], (np.clip(x @ first.T, 0, 1) + x @ np.eye(4, 3).T) @ second.T)
    inner.nodes["input 2"] = nir.Input({"input": np.array([3])})
    with pytest.raises(es.ConversionError, match="2 inputs and 1 outputs of 0; expected one of each"):
        from_nir(twice)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (nir.LIF(*(np.ones(3) for _ in range(4))), r"1 \(LIF\): not supported: its potential leaks"),
        (nir.LI(*(np.ones(3) for _ in range(3))), r"1 \(LI\): not supported: its potential leaks"),
        (nir.Threshold(np.ones(3)), r"1 \(Threshold\): not supported: it decides anew"),
        (nir.Delay(np.ones(3)), r"1 \(Delay\): not supported: a delay changes no rate"),
    ],
)
def test_what_is_not_supported_says_what_to_do(node, message):
    with pytest.raises(es.ConversionError, match=message):
        from_nir(chain(nir.Linear(np.eye(3)), node, shape=[3], outputs=[3]))


def test_a_graph_that_is_read_wrongly_is_found(rng):
    """The nodes themselves are the judge."""
    read = from_nir(chain(nir.Linear(rng.normal(size=(4, 3))), neurons(4), nir.Linear(rng.normal(size=(2, 4))), shape=[3], outputs=[2]))
    x = rng.normal(size=(4, 3))
    check_reading(read, x)
    number = next(i for i, node in enumerate(read.nodes) if isinstance(node.operator, g.Clip))
    read.nodes[number] = g.Node("1", g.Clip(0.0, 0.5), read.nodes[number].inputs, (4,))
    with pytest.raises(es.ConversionError, match=r"^1 \(IF\): the network itself computes other values"):
        check_reading(read, x)


def test_a_file_that_libhdf5_would_read_for_ever_is_refused(tmp_path):
    path = tmp_path / "net.nir"
    nir.write(path, small(1.0))
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL") + 16
    while content[at]:
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    content[at + 8 : at + 16] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(es.ConversionError, match="not a readable NIR file"):
        from_nir(path)
