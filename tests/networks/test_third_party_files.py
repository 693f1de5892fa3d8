"""Published networks are read as their files say: small files in the same layouts, against NumPy."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from PIL import Image
from repository import ROOT

import eventsim as es

torch = pytest.importorskip("torch")
scipy_io = pytest.importorskip("scipy.io")
sys.path.insert(0, str(ROOT / "networks"))

import third_party  # noqa: E402
from evaluation import evaluate, kept  # noqa: E402


def objects(arrays) -> np.ndarray:
    made = np.empty((1, len(arrays)), object)
    made[0, :] = arrays
    return made


def test_plain(tmp_path):
    rng = np.random.default_rng(0)
    sizes, strides, kernels = (3, 4, 6, 5), (1, 2, 1), (3, 3, 1)
    bits = [rng.integers(0, 2, (k, k, a, b), dtype=np.uint8) for k, a, b in zip(kernels, sizes[:-1], sizes[1:], strict=True)]
    moments = [np.column_stack([rng.normal(size=n) + 100 * (n == 3), rng.uniform(1, 3, n) * (30 if n == 3 else 1)]) for n in sizes]
    factors, offsets = [rng.uniform(0.5, 2, (n, 1)) for n in sizes], [rng.normal(size=(n, 1)) for n in sizes]
    scales = np.array([[0.4], [0.1], [0.2]])
    arrays = {
        "BooleanSingleBitWeights": objects(bits),
        "LayerScales": scales,
        "Padding": np.array([[1, 1, 0]], np.uint8),
        "Stride": np.array([strides], np.uint8),
        "BN_Moments": objects(moments),
        "BN_Scales": objects(factors),
        "BN_Offsets": objects(offsets),
    }
    scipy_io.savemat(tmp_path / "net.mat", arrays)
    module = third_party.plain_20_4(tmp_path / "net.mat")
    images = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)

    def norm(i, x):
        return factors[i].ravel() * (x - moments[i][:, 0]) / moments[i][:, 1] + offsets[i].ravel()

    x = norm(0, images.astype(float))
    for i, (w, stride, k) in enumerate(zip(bits, strides, kernels, strict=True)):
        x = np.pad(np.maximum(x, 0), ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), (1, 2))[:, ::stride, ::stride]
        x = norm(i + 1, np.einsum("nyxcuv,uvco->nyxo", windows, (2.0 * w - 1) * scales[i]))
    with torch.no_grad():
        found = module(torch.tensor(images.transpose(0, 3, 1, 2) / 255).float()).numpy()
    np.testing.assert_allclose(found, x.mean((1, 2)), rtol=1e-4, atol=1e-4)
    made = es.convert(module, images)
    np.testing.assert_allclose(made.evaluate(images), x.mean((1, 2)), rtol=1e-4, atol=1e-4)
    assert made.report.binary_layers == 3


def agreements(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """How many inputs equal their weights."""
    return (x[..., None, :] == w).sum(-1)


@pytest.mark.parametrize("levels", [1, 2])
def test_fully_connected(tmp_path, levels):
    rng = np.random.default_rng(levels)
    sizes = (800, 20, 20, 20, 16)
    weights = [rng.choice([-1, 1], (b, a)).astype(np.int8) for a, b in itertools.pairwise(sizes)]
    centre = [w.shape[1] / 2 if levels == 1 else 0 for w in weights]
    thresholds = [np.sort(np.round(rng.normal(c, 3, (len(w), levels))), 1).astype(np.int16) for w, c in zip(weights, centre, strict=True)]
    np.savez(tmp_path / "net.npz", **{f"w{i}": w for i, w in enumerate(weights)}, **{f"t{i}": t for i, t in enumerate(thresholds)})
    module = (third_party.lfc_1_1 if levels == 1 else third_party.lfc_1_2)(tmp_path / "net.npz")
    images = rng.integers(0, 256, (40, 28, 28, 1), dtype=np.uint8)
    # Inputs that are missing are -1.
    x = np.full((40, 800), -1)
    x[:, :784] = np.where(images.reshape(40, -1) >= 128, 1, -1)
    for w, t in zip(weights, thresholds, strict=True):
        z = agreements(x, w) if levels == 1 else x @ w.T.astype(int)
        x = np.where(z > t[:, 0], 1, -1) if levels == 1 else (z[..., None] > t).sum(-1) - 1
    expected = (z - thresholds[-1][:, 0])[:, :10]
    with torch.no_grad():
        found = module(torch.tensor(images.transpose(0, 3, 1, 2) / 255).float()).numpy()
    np.testing.assert_array_equal(found, expected)
    made = es.convert(module, input_shape=third_party.MNIST)
    for image, outputs in zip(images[:10], expected, strict=False):
        decision = es.run(made.network, image, resolution=1).decision
        assert outputs[decision] == outputs.max()


def test_convolutional(tmp_path):
    rng = np.random.default_rng(0)
    channels, features = (3, 4, 4, 6, 6, 5, 5), (5, 8, 8, 12)
    weights = [rng.choice([-1, 1], (b, 9 * a)) for a, b in itertools.pairwise(channels)]
    weights += [rng.choice([-1, 1], (b, a)) for a, b in itertools.pairwise(features)]
    thresholds = [np.round(rng.normal(w.shape[1] / 2 * (i > 0), 2, (len(w), 1))) for i, w in enumerate(weights[:-1])]
    np.savez(tmp_path / "net.npz", **{f"w{i}": w for i, w in enumerate(weights)}, **{f"t{i}": t for i, t in enumerate(thresholds)})
    module = third_party.cnv_1_1(tmp_path / "net.npz")
    images = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    x = np.clip(np.floor((images / 255 * 2 - 1) * 128) / 128, -1, 127 / 128)
    for i, w in enumerate(weights):
        if i < 6:
            windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2)).transpose(0, 1, 2, 4, 5, 3)
            x = windows.reshape(*windows.shape[:3], -1)
        else:
            x = x.reshape(3, -1)
        z = x @ w.T * 256 if i == 0 else agreements(x, w)
        x = np.where(z > thresholds[i].ravel(), 1, -1) if i < 8 else z
        if i in (1, 3):
            rows = x.shape[1] // 2
            x = x[:, : 2 * rows, : 2 * rows].reshape(3, rows, 2, rows, 2, -1).max((2, 4))
    with torch.no_grad():
        found = module(torch.tensor(images.transpose(0, 3, 1, 2) / 255).float()).numpy()
    np.testing.assert_array_equal(found, x[:, :10])
    # Sums of the first layer that are on their thresholds exactly, as some are here, are no reason to doubt the conversion.
    made = es.convert(module, images, input_shape=(3, 32, 32))
    assert made.check.agreement == 1
    assert es.convert(module, input_shape=(3, 32, 32)).network.provenance["steps"] == 1


@pytest.mark.parametrize("name", ["plain-20-4", "cnvW1A1", "lfcW1A1", "lfcW1A2"])
@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04"])
def test_other_files_are_refused(tmp_path, name, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(es.ConversionError, match=f"file: not the published file of {name}"):
        third_party.read_published(name, tmp_path / "file")


@pytest.mark.parametrize(("name", "thresholds"), [("lfcW1A1", 2), ("lfcW1A2", 1), ("cnvW1A1", 1)])
def test_files_of_another_network_are_refused(tmp_path, name, thresholds):
    """Whose arrays have the same names, but other shapes."""
    sizes = [832, 64, 64, 64, 10]
    arrays = {f"w{i}": np.ones((out, size)) for i, (size, out) in enumerate(itertools.pairwise(sizes))}
    arrays |= {f"t{i}": np.zeros((size, thresholds)) for i, size in enumerate(sizes[1:])}
    np.savez(tmp_path / "net.npz", **arrays)
    with pytest.raises(es.ConversionError, match=rf"net\.npz: not the published file of {name}"):
        third_party.read_published(name, tmp_path / "net.npz")


def test_one_command(tmp_path, monkeypatch, capsys):
    """Reads, converts and evaluates; a wrong file is one line."""
    monkeypatch.setattr(sys, "argv", ["third_party.py", "plain-20-4", str(tmp_path / "nothing.mat"), "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^error: "):
        third_party.main()


def test_outputs_of_a_source_are_computed_once(tmp_path):
    rng = np.random.default_rng(0)
    images, weight, seen = rng.integers(0, 256, (250, 4), dtype=np.uint8), rng.normal(size=(4, 3)), []

    def outputs(block):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(len(block))
        return block @ weight

    with pytest.raises(KeyboardInterrupt):
        kept(outputs, images, tmp_path / "source.npy", "source")
    seen.clear()
    expected = images @ weight
    assert np.array_equal(kept(outputs, images, tmp_path / "source.npy", "source"), expected)
    assert seen == [50]
    # Of fewer images nothing is left to do.
    assert np.array_equal(kept(outputs, images[:120], tmp_path / "source.npy", "source"), expected[:120])
    assert seen == [50]


def test_tables_of_networks_count_what_evaluations_count(tmp_path):
    """Neither comparisons of max pooling nor the spikes of a source that emits at the start."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(rng.integers(0, 256, (4, 4), dtype=np.uint8)).save(tmp_path / "images" / name / f"{i}.png")
    net = es.Network()
    net.image_input((4, 4, 1))
    net.driven("d", (4, 4, 1), 300, encoder=es.Conv2d(np.ones((1, 1, 1, 1), int)))
    net.maximum("m", (2, 2, 1))
    net.connect("d", "m", es.Windows((2, 2), (2, 2)))
    net.readout("o", 2)
    net.connect("m", "o", rng.integers(-3, 4, (4, 2)))
    net.source("start", 1, "start")
    net.connect("start", "o", [[1, 2]])
    es.save(net, tmp_path / "net.h5")
    scores = evaluate(tmp_path / "net.h5", str(tmp_path / "images"), 3, 1, tmp_path / "work", 1)
    runs = [es.run(net, np.asarray(Image.open(path))[..., None], steps=3, resolution=1) for path in sorted(tmp_path.glob("images/*/*.png"))]
    assert scores.synaptic_events[-1] == np.mean([run.total_synaptic_events for run in runs]) > 0
    assert scores.spikes[-1] == np.mean([run.total_spikes for run in runs]) > 0
