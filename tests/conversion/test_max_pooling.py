"""Max pooling of rates: net counts against PyTorch's pooling of the layer before and against the dense loop, rates against the source."""

from __future__ import annotations

import numpy as np
import pytest
from judges import dense_loop

import eventsim as es
from eventsim.conversion import graph as g
from eventsim.conversion.faithfulness import faithfulness
from eventsim.conversion.to_nir import write_nir

torch = pytest.importorskip("torch")
nn = torch.nn

SIZE = (9, 8)
POOLS = {
    "side by side": nn.MaxPool2d(2),
    "overlapping, padded": nn.MaxPool2d(3, 2, 1),
    "ceil mode": nn.MaxPool2d(3, 2, ceil_mode=True),
    "ceil mode, padded": nn.MaxPool2d((3, 2), (2, 3), (1, 0), ceil_mode=True),
    "with gaps": nn.MaxPool2d(1, 2),
    "global": nn.MaxPool2d(SIZE),
}


class Norm(nn.BatchNorm2d):
    """Batch norm with scales of either sign."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.weight.data = torch.randn(channels) + 0.3 * torch.sign(torch.randn(channels))
        self.bias.data = 0.3 * torch.randn(channels)


def module(pool: nn.Module, place: str, activation: nn.Module, seed: int = 0) -> nn.Module:
    """Two convolutions and a classifier; the pool stands behind the activation of the second, before it, or in the first layer."""
    torch.manual_seed(seed)
    first, second = nn.Conv2d(2, 5, 3, padding=1), nn.Conv2d(5, 6, 3, padding=1)
    layers = {
        "behind": [first, activation, second, Norm(6), activation, pool],
        "before": [first, activation, second, pool, Norm(6), activation],
        "first layer": [first, activation, pool, nn.Conv2d(5, 6, 1), Norm(6), activation],
        "first layer, before": [first, Norm(5), pool, activation, nn.Conv2d(5, 6, 1), activation],
        "twice": [first, activation, nn.MaxPool2d(2, 1), pool, nn.Conv2d(5, 6, 1), activation],
    }[place]
    inside = nn.Sequential(*layers, nn.Flatten()).eval()
    features = inside(torch.zeros(1, 2, *SIZE)).shape[1]
    return nn.Sequential(*inside, nn.Linear(features, 4)).eval()


def pictures(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *SIZE, 2), dtype=np.uint8)


def net_counts(result: es.Result, name: str) -> np.ndarray:
    """Of each neuron, channels first: (1, channels, height, width)."""
    spikes, shape = result.spikes(name), result.population(name).shape
    counts = np.bincount(spikes.neurons, weights=spikes.signs, minlength=int(np.prod(shape)))
    return counts.reshape(shape).transpose(2, 0, 1)[None]


def check_pools(made: es.Conversion, image: np.ndarray, resolution: int, pool: nn.MaxPool2d, steps: int = 12) -> None:
    """Every maximum population's net counts are PyTorch's maxima of the net counts before it."""
    result = es.run(made.network, image, steps=steps, resolution=resolution)
    pooled = {p.name: p for p in made.source.layers if p.activation is not None and p.activation.kind == "extreme"}
    (layer,) = pooled.values()
    before = net_counts(result, layer.terms[0].source)
    sign = np.where(layer.terms[0].operator.largest, 1.0, -1.0)[:, None, None]
    expected = pool(torch.from_numpy(before * sign)).numpy() * sign
    np.testing.assert_array_equal(net_counts(result, layer.name), expected)
    assert expected.any()


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("place", ["behind", "before", "first layer"])
def test_net_counts_are_the_maxima_of_those_before(name, place):
    made = es.convert(module(POOLS[name], place, nn.ReLU()), pictures(8), check=False)
    assert any(p.kind == "maximum" for p in made.network.populations.values())
    for resolution in (1, 2**20):
        check_pools(made, pictures(1, 1)[0], resolution, POOLS[name])


@pytest.mark.parametrize("settings", [{"signed": False}, {"signed": True, "refractory": 0.25}, {"per_channel": True}, {"initial": "zero"}])
def test_of_neurons_of_every_kind(settings):
    made = es.convert(module(POOLS["overlapping, padded"], "behind", nn.ReLU(), 3), pictures(8), check=False, **settings)
    (pool,) = (p for p in made.network.populations.values() if p.kind == "maximum")
    assert pool.signed == settings.get("signed", True)
    for resolution in (1, 16, 2**20):
        check_pools(made, pictures(1, 2)[0], resolution, POOLS["overlapping, padded"])


@pytest.mark.parametrize("place", ["behind", "before", "first layer", "first layer, before", "twice"])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Hardtanh(0.0, 1.5)])
def test_clocked_spikes_are_those_of_a_dense_loop(place, activation):
    made = es.convert(module(POOLS["ceil mode"], place, activation, 1), pictures(8), check=False)
    image, steps = pictures(1, 3)[0], 10
    seen = dense_loop.run(made.network, steps=steps, image=image.astype(np.int64))
    for engine in ("reference", "queue", "layered"):
        result = es.run(made.network, image, steps=steps, resolution=1, engine=engine)
        for name, population in made.network.populations.items():
            if population.fires:
                ticks, neurons, signs = result.spikes(name)
                found = np.zeros((steps, population.size), np.int64)
                found[ticks - 1, neurons] = signs
                np.testing.assert_array_equal(found, seen.spikes[name], err_msg=name)
        np.testing.assert_array_equal(result.readout, seen.readout[made.network.output])


@pytest.mark.parametrize("place", ["behind", "before", "first layer", "first layer, before", "twice"])
@pytest.mark.parametrize("name", ["side by side", "overlapping, padded", "ceil mode, padded"])
def test_rates_are_those_of_the_source(name, place):
    """Wherever the pool stands, the network answers as the module does; rates differ by what rounding and a spike more or less explain."""
    model, images = module(POOLS[name], place, nn.ReLU(), 2), pictures(8)
    made = es.convert(model, images, percentile=100)
    with torch.no_grad():
        expected = model(torch.from_numpy(images.transpose(0, 3, 1, 2)) / 255).numpy()
    np.testing.assert_allclose(made.evaluate(images), expected, rtol=1e-4, atol=1e-4)
    for steps, most in ((64, 0.03), (1024, 0.012)):
        compared = faithfulness(made, images[:4], steps=steps)
        for mode, layers in compared.layers.items():
            for layer in layers:
                assert layer.error < most, (mode, layer)


def test_residuals_and_a_pool_in_one_branch():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.out = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4 * 72, 3)
            self.pool = nn.MaxPool2d(3, 1, 1)

        def forward(self, x):
            x = torch.relu(self.first(x))
            x = torch.relu(self.second(x) + self.pool(x))
            return self.out(self.pool(x).flatten(1))

    torch.manual_seed(0)
    made = es.convert(Residual().eval(), pictures(8), percentile=100, check=False)
    assert sum(p.kind == "maximum" for p in made.network.populations.values()) == 2
    compared = faithfulness(made, pictures(4), steps=256)
    for layers in compared.layers.values():
        assert max(layer.error for layer in layers) < 0.02


class Branches(nn.Module):
    """Two branches side by side, pooled together."""

    def __init__(self):
        super().__init__()
        self.one, self.other, self.out = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 4, 1), nn.Linear(7 * 16, 3)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        x = self.pool(torch.cat([torch.relu(self.one(x)), torch.relu(self.other(x))], 1))
        return self.out(x.flatten(1))


@pytest.mark.parametrize("of_image", [False, True])
def test_branches_and_the_image_itself(of_image):
    torch.manual_seed(0)
    image = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    made = es.convert((image if of_image else Branches()).eval(), pictures(8), percentile=100, check=False)
    pools = [p for p in made.network.populations.values() if p.kind == "maximum"]
    assert [p.shape for p in pools] == [(4, 4, 2)] if of_image else [(4, 4, 3), (4, 4, 4)]
    compared = faithfulness(made, pictures(4), steps=256)
    for layers in compared.layers.values():
        assert max(layer.error for layer in layers) < 0.02


def test_of_quantised_activations_with_signed_neurons():
    """More levels than signs have: rates, and the maxima of levels."""
    rng = np.random.default_rng(0)
    graph = g.Graph()
    at = graph.add(g.Input((2, *SIZE)))
    at = graph.add(g.Convolution(rng.normal(size=(4, 2, 3, 3)), None, (1, 1), (1, 1, 1, 1)), (at,))
    at = graph.add(g.Clip(0.0, 7.0), (graph.add(g.Floor(), (graph.add(g.Scale(np.asarray(8.0), np.asarray(0.0)), (at,)),)),))
    at = graph.add(g.Convolution(rng.normal(size=(5, 4, 3, 3)), None, (1, 1), (1, 1, 1, 1)), (at,))
    at = graph.add(g.Clip(0.0, 7.0), (graph.add(g.Floor(), (at,)),))
    at = graph.add(g.MaxPool((3, 3), (2, 2), (1, 1, 1, 0)), (at,))
    graph.add(g.Linear(rng.normal(size=(3, 100))), (graph.add(g.Flatten(), (at,)),))
    made = es.convert(graph, pictures(8), check=False)
    assert made.network.provenance["steps"] == 14
    (pool,) = (p for p in made.network.populations.values() if p.kind == "maximum")
    assert pool.signed
    compared = faithfulness(made, pictures(4), steps=64)
    # Rates resolve what lies between two levels, seven of which are a spike a step; then comes rounding.
    assert max(layer.error for layer in compared.layers["clocked"]) < 1 / 7 / 12**0.5 + 0.01


def test_a_file_of_it_and_its_counts(tmp_path):
    made = es.convert(module(POOLS["side by side"], "behind", nn.ReLU()), pictures(8), check=False)
    es.save(made.network, tmp_path / "net.h5")
    assert es.load(tmp_path / "net.h5") == made.network
    result = es.run(made.network, pictures(1)[0], steps=8)
    assert result.info.settings["engine"] == "layered"
    report = es.counting.count_operations([result])
    compared = {row.name for row in report.rows if row.role == "comparisons"}
    assert len(compared) == 1
    (pooled,) = (p.source for p in result.info.projections if p.compares)
    y = result.spikes(pooled).neurons // (SIZE[1] * result.population(pooled).shape[-1])
    assert report.comparisons.comparisons == np.count_nonzero(y < 8) > 0  # a window each; the ninth row is in none
    assert report.comparisons.spikes == len(y)


def test_what_has_no_counterpart_is_refused(tmp_path):
    dilated = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2, 1, dilation=2), nn.Flatten(), nn.Linear(60, 2)).eval()
    with pytest.raises(es.ConversionError, match="max pooling over windows with a dilation"):
        es.convert(dilated, pictures(4))
    linear = nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3, 2)).eval()
    with pytest.raises(es.ConversionError, match="max pooling of values that are no activations"):
        es.convert(linear, pictures(4))
    made = es.convert(module(POOLS["side by side"], "behind", nn.ReLU()), pictures(8), check=False)
    with pytest.raises(es.ConversionError, match="NIR has no max pooling of spikes"):
        write_nir(made, tmp_path / "net.nir")
    assert not (tmp_path / "net.nir").exists()
