"""NIR written and read back, spike for spike; foreign NIR graphs against what their nodes say."""

from __future__ import annotations

import itertools
import tracemalloc

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import eventsim as es
from eventsim.cli.main import main
from eventsim.conversion import graph as g
from eventsim.conversion.from_nir import from_nir
from eventsim.conversion.lowering import lower
from eventsim.conversion.to_nir import to_nir, write_nir

nir = pytest.importorskip("nir")


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def images(rng, shape, n=12):
    channels, height, width = shape
    return rng.integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def residual(rng, activate):
    """Convolutions with and without stride, a residual connection, pooling before and behind, a dense layer, biases, a shifted input."""
    net = g.Graph()
    at = net.scale(net.add(g.Input((3, 8, 8))), [2.0, 3.0, 2.5], [-1.0, -1.5, -1.25])
    first = activate(net, net.add(g.Convolution(rng.normal(size=(6, 3, 3, 3)), rng.normal(size=6), padding=(1, 1, 1, 1)), (at,)), 6)
    second = net.add(g.Convolution(rng.choice([-1.0, 1.0], (6, 6, 3, 3)) / 9, None, padding=(1, 1, 1, 1)), (first,))
    at = activate(net, net.add(g.Add(), (second, first)), 6)
    at = net.add(g.Convolution(rng.normal(size=(4, 6, 3, 3)), rng.normal(size=4), (1, 1), (1, 1, 1, 1)), (at,))
    at = activate(net, net.add(g.AveragePool((2, 2)), (at,)), 4)
    at = net.add(g.Flatten(), (net.add(g.AveragePool((2, 2)), (at,)),))
    at = activate(net, net.add(g.Linear(rng.choice([-0.3, 0.3], (10, 16)), rng.normal(size=10) / 4), (at,)), 10)
    net.add(g.Linear(rng.normal(size=(5, 10)), rng.normal(size=5)), (at,))
    return net


def quantised(net, at, channels):
    """floor(x * 4 / 1.5 + 1/2), 0..4."""
    at = net.add(g.Clip(0.0, 4.0), (net.add(g.Floor(), (net.scale(at, 4 / 1.5, 0.5),)),))
    return net.scale(at, 1.5 / 4, 0.0)


def relu(net, at, channels):
    return net.add(g.Clip(0.0, np.inf), (at,))


@pytest.mark.parametrize("activate", [quantised, relu])
def test_written_and_read_back_the_spikes_are_the_same(rng, tmp_path, activate):
    pixels = images(rng, (3, 8, 8))
    # IF neurons are read as what they are, unsigned.
    made = es.convert(residual(rng, activate), pixels, signed=None if activate is quantised else False)
    losses = write_nir(made, tmp_path / "net.nir")
    assert any("signed" in loss for loss in losses) == any("refractory" in loss for loss in losses) == (activate is quantised)
    again = es.convert(from_nir(tmp_path / "net.nir"))
    assert [p.kind for p in again.network.populations.values()] == [p.kind for p in made.network.populations.values()]
    total = 0
    for pixel in pixels[:4]:
        for resolution in (1, 1000):
            a, b = (es.run(x.network, pixel, steps=10, resolution=resolution) for x in (made, again))
            np.testing.assert_array_equal(a.counts.spikes, b.counts.spikes)
            np.testing.assert_array_equal(a.readout, b.readout)
            for name in made.network.populations:
                if name in a.info.settings["recorded"]:
                    for x, y in zip(a.spikes(name), b.spikes(name), strict=True):
                        np.testing.assert_array_equal(x, y)
            total += int(a.counts.spikes.sum())
    assert total > 1000


def test_a_vector_network(rng):
    net = g.Graph()
    at = net.add(g.Linear(rng.normal(size=(8, 12)), rng.normal(size=8)), (net.scale(net.add(g.Input((12,))), 2.0, -1.0),))
    net.add(g.Linear(rng.normal(size=(3, 8))), (quantised(net, at, 8),))
    made = es.convert(net)
    written, _ = to_nir(made)
    again = es.convert(written)
    pixels = rng.integers(0, 256, (20, 1, 1, 12), dtype=np.uint8)
    np.testing.assert_allclose(again.evaluate(pixels), made.evaluate(pixels), atol=1e-4)
    for pixel in pixels[:5]:
        np.testing.assert_array_equal(es.run(made.network, pixel, steps=8).readout, es.run(again.network, pixel, steps=8).readout)


def foreign(rng, neurons=None, **changes):
    """A graph as another tool writes it: convolution, IF, pooling, flatten, affine."""
    w = rng.normal(size=(4, 2, 3, 3))
    shape = (4, 3, 3)
    threshold = np.broadcast_to(np.array([0.5, 1.0, 2.0, 4.0])[:, None, None], shape).copy()
    nodes = {
        "in": nir.Input(input_type={"input": np.array((2, 6, 6))}),
        "conv": nir.Conv2d((6, 6), w, 2, 1, 1, 1, rng.normal(size=4)),
        "lif": neurons or nir.IF(r=np.full(shape, 0.5), v_threshold=threshold),
        "pool": nir.SumPool2d(kernel_size=np.array([3, 3]), stride=np.array([3, 3]), padding=np.array([0, 0])),
        "flat": nir.Flatten(input_type={"input": np.array((4, 1, 1))}, start_dim=0, end_dim=-1),
        "fc": nir.Affine(weight=rng.normal(size=(3, 4)), bias=rng.normal(size=3)),
        "out": nir.Output(output_type={"output": np.array([3])}),
    } | changes
    names = list(nodes)
    return nir.NIRGraph(nodes=nodes, edges=list(itertools.pairwise(names)))


def test_a_foreign_graph_means_what_its_nodes_say(rng):
    graph = foreign(rng)
    x = rng.normal(size=(2, 6, 6))
    w, bias = graph.nodes["conv"].weight, graph.nodes["conv"].bias
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    current = np.array(
        [[[(padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * w[o]).sum() + bias[o] for j in range(3)] for i in range(3)] for o in range(4)]
    )
    rate = np.clip(0.5 * current / graph.nodes["lif"].v_threshold, 0, 1)
    expected = graph.nodes["fc"].weight @ rate.sum((1, 2)) + graph.nodes["fc"].bias
    assert 0 < np.mean((rate > 0) & (rate < 1)) < 1
    found = lower(from_nir(graph)).evaluate(x.transpose(1, 2, 0)[None])
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-9)
    hidden = [p for p in es.convert(graph).network.populations.values() if p.kind in ("driven", "spiking")]
    assert not any(getattr(p, "signed", False) for p in hidden)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lif": nir.LIF(*(np.ones((4, 3, 3)) for _ in range(4)))}, r"lif \(LIF\): not supported: its potential leaks"),
        ({"lif": nir.IF(np.ones((4, 3, 3)), -np.ones((4, 3, 3)))}, "thresholds and resistances must be positive"),
        ({"lif": nir.IF(np.ones((4, 2, 2)), np.ones((4, 2, 2)))}, r"shape \(4, 2, 2\) for neurons of shape \(4, 3, 3\)"),
        ({"lif": nir.IF(np.ones((4, 3, 3)), 1 + np.arange(36.0).reshape(4, 3, 3))}, "differ between the neurons of a channel"),
        ({"conv": nir.Conv2d((6, 6), np.ones((4, 1, 3, 3)), 2, 1, 1, 3, np.zeros(4))}, r"conv \(Conv2d\): .*3 groups"),
        ({"conv": nir.Conv2d((6, 6), np.ones((4, 2, 3, 3)), 2, "same", 1, 1, np.zeros(4))}, "padding 'same' with strides"),
        ({"lif": nir.Delay(np.ones((4, 3, 3)))}, r"lif \(Delay\): not supported: a delay changes no rate"),
        ({"lif": nir.IF(-np.ones((4, 3, 3)), np.ones((4, 3, 3)))}, "resistances must be positive"),
        ({"fc": nir.Linear(np.full((3, 4), np.nan))}, "not finite"),
        ({"fc": nir.Linear(np.ones((3, 5)))}, r"fc \(Linear\): a linear layer with weights"),
    ],
)  # fmt: skip
def test_what_is_refused_names_the_node(rng, change, message):
    graph = foreign(rng)
    graph.nodes.update(change)  # nir checks some of this itself, but not what it reads
    with pytest.raises(es.ConversionError, match=message):
        from_nir(graph)


def test_cycles_dangling_edges_and_damaged_files(rng, tmp_path):
    graph = foreign(rng)
    graph.edges.append(("fc", "flat"))
    with pytest.raises(es.ConversionError, match="a cycle, "):
        from_nir(graph)
    graph.edges[-1] = ("fc", "nowhere")
    with pytest.raises(es.ConversionError, match="from fc to nowhere"):
        from_nir(graph)
    graph.edges[:] = [edge for edge in graph.edges if "conv" not in edge]
    graph.edges.pop()
    with pytest.raises(es.ConversionError, match="does not depend on the input"):
        from_nir(graph)
    bad = tmp_path / "bad.nir"
    bad.write_bytes(b"no HDF5")
    with pytest.raises(es.ConversionError, match=r"bad\.nir: not a readable NIR file"):
        from_nir(bad)
    with pytest.raises(es.ConversionError, match="no such file"):
        from_nir(tmp_path / "none.nir")


def test_what_cannot_be_written_says_so(rng, tmp_path):
    net = g.Graph()
    at = net.add(g.Convolution(rng.normal(size=(4, 2, 2, 2)), padding=(0, 0, 1, 1)), (net.add(g.Input((2, 4, 4))),))
    at = net.add(g.Flatten(), (quantised(net, at, 4),))
    net.add(g.Linear(rng.normal(size=(3, 64))), (at,))
    target = tmp_path / "net.nir"
    target.write_text("good")
    with pytest.raises(es.ConversionError, match="opposite edges"):
        write_nir(es.convert(net), target)
    assert target.read_text() == "good"
    assert list(tmp_path.iterdir()) == [target]


def test_on_the_command_line(rng, tmp_path):
    nir.write(tmp_path / "net.nir", foreign(rng))
    first, second, copy = (str(tmp_path / name) for name in ("a.h5", "b.h5", "copy.nir"))
    done = CliRunner().invoke(main, ["convert", str(tmp_path / "net.nir"), "-o", first, "--nir", copy])
    assert done.exit_code == 0, done.output
    assert "warning" in done.output
    assert "reset by subtraction" in done.output
    done = CliRunner().invoke(main, ["convert", copy, "-o", second])
    assert done.exit_code == 0, done.output
    a, b = es.load(first), es.load(second)
    for name, population in a.populations.items():
        if population.kind in ("driven", "spiking"):
            np.testing.assert_array_equal(population.threshold, b.populations[name].threshold)
    pixel = rng.integers(0, 256, (6, 6, 2), dtype=np.uint8)
    np.testing.assert_array_equal(es.run(a, pixel, steps=9).readout, es.run(b, pixel, steps=9).readout)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions_in_groups(rng, groups):
    """As convolutions of all channels: the types that nir infers know no groups."""
    net = g.Graph()
    at = quantised(
        net, net.add(g.Convolution(rng.normal(size=(4, 1, 3, 3)), None, padding=(1, 1, 1, 1)), (net.add(g.Input((1, 8, 8))),)), 4
    )
    at = quantised(net, net.add(g.Convolution(rng.normal(size=(8, 4 // groups, 3, 3)), None, groups=groups), (at,)), 8)
    net.add(g.Linear(rng.normal(size=(3, 288))), (net.add(g.Flatten(), (at,)),))
    made = es.convert(net, check=False)
    again = es.convert(to_nir(made)[0], input_shape=(1, 8, 8))
    pictures = images(rng, (1, 8, 8))
    np.testing.assert_allclose(again.evaluate(pictures), made.evaluate(pictures), rtol=1e-6, atol=1e-6)


def test_synapses_of_some_channels_are_refused_whatever_their_number(rng):
    net = g.Graph()
    start = net.add(g.Input((1, 8, 8)))
    parts = [quantised(net, net.add(g.Convolution(rng.normal(size=(n, 1, 3, 3)), None), (start,)), n) for n in (2, 3)]
    at = net.add(g.AveragePool((6, 6)), (net.add(g.Concatenate(0), tuple(parts)),))
    net.add(g.Flatten(), (at,))
    with pytest.raises(es.ConversionError, match="NIR has no words for synapses of some channels"):
        to_nir(es.convert(net, check=False))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda group: group.create_dataset("weight", (8192, 8192), "f8", chunks=(64, 64)), "claims 536,870,912 bytes"),
        (lambda group: group.__setitem__("weight", h5py.SoftLink("/node/nodes")), "a soft or external link"),
        (lambda group: group.__setitem__("weight", h5py.ExternalLink("other.h5", "/x")), "a soft or external link"),
        (lambda group: group.create_dataset("weight", (4,), "f8", external=[("raw", 0, 32)]), "are in other files"),
    ],
)
def test_a_file_that_claims_more_than_it_holds_is_not_read(rng, tmp_path, change, words):
    nir.write(tmp_path / "net.nir", foreign(rng))
    with h5py.File(tmp_path / "net.nir", "a") as file:
        group = file["node/nodes/fc"]
        del group["weight"]
        change(group)
    tracemalloc.start()
    try:
        with pytest.raises(es.ConversionError, match=rf"net\.nir: not a readable NIR file .*{words}"):
            from_nir(tmp_path / "net.nir")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_path_is_converted_with_images_for_calibration(rng, tmp_path):
    pixels = images(rng, (3, 8, 8))
    made = es.convert(residual(rng, quantised), pixels)
    write_nir(made, tmp_path / "net.nir")
    again = es.convert(tmp_path / "net.nir", pixels)
    assert again.check is not None
    with pytest.raises(es.ConversionError, match=r"takes images of shape \(8, 8, 3\), the calibration images have \(8, 7, 3\)"):
        es.convert(tmp_path / "net.nir", pixels[:, :, :7])
    with pytest.raises(es.ConversionError, match="leave out --input-shape"):
        es.convert(tmp_path / "net.nir", pixels, input_shape=(3, 8, 8))
    assert es.convert(to_nir(made)[0], pixels).check is not None
