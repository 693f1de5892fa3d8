"""The training code and the recipes: layers against their formulas, resume against an uninterrupted run, a recipe from nothing."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from repository import ROOT

import eventsim as es

torch = pytest.importorskip("torch")
NETWORKS = ROOT / "networks"
sys.path.insert(0, str(NETWORKS))

import architectures  # noqa: E402
import layers  # noqa: E402
import make  # noqa: E402
import muon  # noqa: E402
import training  # noqa: E402


def test_binary_weights_are_the_papers():
    latent = torch.tensor(np.random.default_rng(0).normal(0, 0.8, (5, 3, 2, 2)), dtype=torch.float32)
    found = layers.binarise(latent)
    centred = np.clip(latent.numpy() - latent.numpy().mean(1, keepdims=True), -1, 1)
    expected = np.sign(centred) * np.abs(centred).mean((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_binary_weights_of_one_constant_a_layer_and_a_gradient_as_it_comes():
    for layer, fan_in in ((layers.BinaryConv2d(3, 4, 2, bias=False), 12), (layers.BinaryLinear(5, 4, bias=False), 5)):
        layer.binarise = layers.binarise_constant
        with torch.no_grad():
            layer.weight.normal_(0, 2).flatten()[0] = 0
        x = torch.randn(7, *((3, 2, 2) if fan_in == 12 else (5,)), generator=torch.Generator().manual_seed(0))
        layer(x).sum().backward()
        signs = np.where(layer.weight.detach().numpy() < 0, -1, 1)
        expected = np.sqrt(2 / fan_in) * signs.reshape(4, -1) @ x.numpy().reshape(7, -1).T
        np.testing.assert_allclose(layer(x).detach().numpy().reshape(7, 4).T, expected, rtol=1e-4, atol=1e-5)
        # Neither clipped where |w| > 1 nor scaled.
        np.testing.assert_allclose(layer.weight.grad.reshape(4, -1), np.tile(x.numpy().reshape(7, -1).sum(0), (4, 1)), rtol=1e-4, atol=1e-5)


def test_a_network_of_constants_learns_neither_thresholds_nor_scales():
    model = architectures.vgg((8, 8, "P"), (16,), 4, image=(1, 8, 8), levels=4, constant=True)
    learned = {name.rpartition(".")[2] for name, p in model.named_parameters() if p.requires_grad}
    assert learned == {"weight", "bias"}
    kinds = {type(m) for m in model if any(p.requires_grad for p in m.parameters(recurse=False))}
    assert kinds == {torch.nn.Conv2d, torch.nn.Linear, layers.BinaryConv2d, layers.BinaryLinear}
    signs = [m.binarise(m.weight).abs().unique() for m in model if isinstance(m, (layers.BinaryConv2d, layers.BinaryLinear))]
    assert [len(s) for s in signs] == [1, 1]


@pytest.mark.parametrize("size", [(8, 8), (2, 3), (1, 1), (9, 4)])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 1, 1), (2, 1, 1), (1, 0, 1), (2, (1, 0), 1), (1, "same", 1), (1, 1, 2)])
def test_gradients_of_small_maps_are_those_of_any_convolution(size, stride, padding, dilation):
    if min(size) < 3 and padding != 1 and padding != "same":
        size = (size[0] + 2, size[1] + 2)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    layer = layers.BinaryConv2d(3, 5, 3, bias=False, **options).double()
    plain = torch.nn.Conv2d(3, 5, 3, bias=False, **options).double()
    layer.binarised = False
    plain.load_state_dict(layer.state_dict())
    generator = torch.Generator().manual_seed(0)
    if dilation > 1:
        size = (size[0] + 2, size[1] + 2)
    x = torch.rand(4, 3, *size, dtype=torch.float64, generator=generator).contiguous(memory_format=torch.channels_last)
    found = []
    for kind in (layer, plain):
        image = x.clone().requires_grad_()
        out = kind(image)
        (out * torch.arange(out.numel(), dtype=torch.float64).reshape(out.shape)).sum().backward()
        found.append((out.detach(), image.grad, kind.weight.grad))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("size", [(8, 10), (8, 9), (4, 4)])
def test_a_convolution_and_its_pooling_at_once_are_one_after_the_other(size):
    model = torch.nn.Sequential(layers.BinaryConv2d(3, 5, 3, padding=1, bias=False), torch.nn.AvgPool2d(2, ceil_mode=True), layers.QCFS(4))
    model = model.double()
    x = torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for layer in (model[:2], layers.pool_at_once(model)[:1]):
        out = layer(x)
        model.zero_grad()
        (out * torch.arange(out.numel(), dtype=torch.float64).reshape(out.shape)).sum().backward()
        found.append((out.detach(), model[0].weight.grad))
    torch.testing.assert_close(found[0], found[1])
    assert len(layers.pool_at_once(model)) == 2


def test_the_first_convolution_is_whitened_by_its_patches():
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), dtype=np.uint8).repeat(2, 1).repeat(2, 2)
    model = architectures.vgg((64, 8, "P"), (), 4, image=(3, 8, 8), levels=4, normalise=architectures.CIFAR10, whole=True)
    before = model[1].weight.detach().clone()
    training.whiten(model, images)
    filters = model[1].weight.detach()
    assert torch.equal(filters[:27], -filters[27:54])
    assert torch.equal(filters[54:], before[54:])
    sums = torch.nn.functional.conv2d(model[0](training.to_input(images).float() / 255), filters[:27]).transpose(0, 1).flatten(1)
    covariance = torch.cov(sums)
    variances = covariance.diagonal()
    # Not correlated, and of one variance where the images have any.
    assert (covariance - variances.diag()).abs().max() < 1e-3 * variances.max()
    np.testing.assert_allclose(variances[:12], variances[0], rtol=0.05)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5)])
def test_an_orthogonal_update_keeps_singular_vectors_and_brings_values_near_one(shape):
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / values.norm()
    for _ in range(5):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    assert 0.5 < values.min() < values.max() < 1.3
    torch.testing.assert_close(muon.orthogonalise(matrix, 5), left @ values.diag() @ right)


def test_muon_changes_weights_by_a_share_of_their_norm():
    for weight in (torch.randn(6, 3, 2, 2).to(memory_format=torch.channels_last), torch.randn(6, 12)):
        weight = torch.nn.Parameter(weight)
        before, optimiser = weight.detach() / weight.detach().norm() * 6**0.5, muon.Muon([weight], lr=0.1, momentum=0.5)
        moment = torch.zeros(weight.shape)
        for _ in range(2):
            weight.grad = torch.randn(weight.shape)
            optimiser.step()
            moment = 0.5 * moment + weight.grad
            # A convolution's inputs in any order: that of the columns does not matter.
            update = muon.orthogonalise((weight.grad + 0.5 * moment).flatten(1)).reshape(weight.shape)
            torch.testing.assert_close(weight.detach(), before - 0.1 * update)
            before = weight.detach() / weight.detach().norm() * 6**0.5


def test_a_linear_rate_rises_and_falls():
    phase = training.Phase("", 10, schedule="linear")
    np.testing.assert_allclose([training._factor(phase, epoch) for epoch in (0, 0.25, 0.5, 5, 10)], [0, 0.5 * 0.975, 0.95, 0.5, 0])


@pytest.mark.parametrize("grad", [False, True])
def test_qcfs_is_clip_floor_shift(grad):
    layer = layers.QCFS(4, threshold=1.5)
    x = torch.linspace(-1, 3, 401)
    with torch.set_grad_enabled(grad):
        found = layer(x).detach().numpy()
    expected = 1.5 / 4 * np.clip(np.floor(x.numpy() * 4 / 1.5 + 0.5), 0, 4)
    assert np.mean(found != expected.astype(np.float32)) < 0.01  # ties alone
    assert set(np.round(found / 0.375).astype(int)) == {0, 1, 2, 3, 4}


def test_stochastic_rounding_is_right_on_average():
    layer = layers.QCFS(4, threshold=2.0).train()
    layer.noise = 1.0
    found = layer(torch.full((200_000,), 0.7)).detach()
    assert abs(float(found.mean()) - 0.7) < 0.005
    assert set(found.unique().tolist()) == {0.5, 1.0}


def test_augmentation_moves_and_mirrors_whole_images():
    x = torch.arange(2 * 1 * 4 * 4, dtype=torch.uint8).reshape(2, 1, 4, 4) + 1
    out = training.augment(x.repeat(50, 1, 1, 1), 1, True, torch.Generator().manual_seed(0)).numpy()
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    allowed = set()
    for image in padded[:, 0]:
        for i in range(3):
            for j in range(3):
                window = image[i : i + 4, j : j + 4]
                allowed |= {window.tobytes(), window[:, ::-1].tobytes()}
    seen = {image[0].tobytes() for image in out}
    assert seen <= allowed
    assert len(seen) > 20


def test_cutout_lays_one_grey_square_over_every_image():
    x = torch.zeros(1000, 3, 9, 7, dtype=torch.uint8)
    out = training.cut_out(x, 4, torch.Generator().manual_seed(0)).numpy()
    assert not x.any()
    areas = set()
    for image in out:
        assert (image == image[0]).all()
        rows, cols = np.nonzero(image[0].any(1))[0], np.nonzero(image[0].any(0))[0]
        block = image[0, rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        assert (block == 127).all()
        assert (image[0] != 0).sum() == block.size
        areas.add(block.shape)
    # Its centre is anywhere in the image, so a part may be beyond the border.
    assert areas == {(h, w) for h in (2, 3, 4) for w in (2, 3, 4)}


def test_smaller_images_are_means_and_the_last_maps_stay_as_large():
    model = architectures.vgg((8, "P", 8, "P", 8, "P"), (), 4, image=(1, 16, 16), levels=4)
    x = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    small = training.shrink(model, x, 8)
    np.testing.assert_allclose(small, x.reshape(2, 1, 8, 2, 8, 2).mean((3, 5)), rtol=1e-5)
    sizes = {}
    for size in (9, 12, 16, None):
        maps = training.shrink(model, x, size)
        for layer in model[: [isinstance(m, torch.nn.Flatten) for m in model].index(True)]:
            maps = layer.eval()(maps)
        sizes[size] = maps.shape[-1]
    assert sizes == {9: 2, 12: 2, 16: 2, None: 2}
    assert not any(m.ceil_mode for m in model.modules() if isinstance(m, torch.nn.AvgPool2d))


def test_sizes_share_the_epochs():
    phase = training.Phase("", 5, sizes=(8, 16))
    assert [phase.size(epoch) for epoch in range(5)] == [8, 8, 8, 16, 16]
    assert training.Phase("", 5).size(3) is None


def data(rng, n=256):
    """Bright squares in one of four corners."""
    labels = rng.integers(0, 4, n)
    images = rng.integers(0, 60, (n, 8, 8, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 150
    return images, labels


def build():
    torch.manual_seed(0)
    return architectures.vgg((8, 8, "P"), (16,), 4, image=(1, 8, 8), levels=4)


PHASES = (
    training.Phase("full precision", 1, 32, "sgd", 1e-2, ("1", 0.1), 1e-4, binarised=False),
    training.Phase("binary", 3, 32, rate=1e-2, decay_epochs=1, weight_decay=1e-4, noise=1.0, smoothing=0.05),
)


def train(checkpoint, phases=PHASES):
    model = build()
    rng = np.random.default_rng(0)
    train_set, test_set = data(rng), data(rng, 100)
    score = training.train(model, phases, train_set, test_set, checkpoint, shift=0, flip=False, seed=3)
    return model, score, train_set, test_set


@pytest.mark.parametrize("phases", [PHASES, (training.Phase("binary", 4, 32, "muon", 0.1, "linear"),)])
def test_training_learns_resumes_exactly_and_converts(tmp_path, monkeypatch, phases):
    whole, score, train_set, test_set = train(tmp_path / "whole.ckpt", phases)
    assert score > 0.9

    # Interrupted after the second epoch's checkpoint.
    saved, calls = training.os.replace, []

    def interrupt(source, target):
        saved(source, target)
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts.ckpt", phases)
    resumed, again, _, _ = train(tmp_path / "parts.ckpt", phases)
    assert again == score
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name

    made = es.convert(whole.eval(), train_set[0])
    assert made.report.binary_layers == 2
    simulator = es.Simulator(made.network)
    right = np.mean([simulator.run(i, steps=8).decision == label for i, label in zip(*test_set, strict=True)])
    assert abs(right - score) <= 0.05


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    train(tmp_path / "a.ckpt", PHASES[:1])
    with pytest.raises(SystemExit, match="made with other epochs, settings or seed"):
        train(tmp_path / "a.ckpt", (replace(PHASES[0], rate=1.0),))


def test_cycles_with_smaller_images_go_on_where_fewer_ended(tmp_path):
    cycles = tuple(training.Phase(f"cycle of {n}", n, 32, "sgd", 0.1, sizes=(7, 8), cutout=2) for n in (1, 2))
    whole, score, _, _ = train(tmp_path / "whole.ckpt", cycles)
    first, _, _, _ = train(tmp_path / "parts.ckpt", cycles[:1])
    second, again, _, _ = train(tmp_path / "parts.ckpt", cycles)
    assert again == score
    pairs = [(whole.state_dict()[name], second.state_dict()[name], first.state_dict()[name]) for name in whole.state_dict()]
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)


@pytest.mark.parametrize("name", list(make.RECIPES))
def test_every_recipe_builds_a_network_whose_hidden_layers_are_binary(name):
    recipe = make.RECIPES[name]
    torch.manual_seed(0)
    model = recipe.build()
    shape = (28, 28, 1) if "mnist" in recipe.dataset else (32, 32, 3)
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    made = es.convert(model, images, percentile=100)
    weights = [layer for layer in made.report.layers if layer.weights > 1]
    # (Of activations with few levels, a source's layer may be several populations.)
    binary = [all(layer.binary for layer in weights if layer.source == source) for source in dict.fromkeys(w.source for w in weights)]
    assert binary[1:-1] == [True] * (len(binary) - 2)
    assert len(binary) > 2
    assert not weights[-1].binary
    if name == "vgg15-cifar100":
        assert sum(int(np.prod(p.shape)) for p in made.network.populations.values() if p.kind in ("driven", "spiking")) == 186_880


def write_idx(path, array):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def test_fewer_phases_than_a_recipe_has_or_more(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 28, 28, 1), dtype=np.uint8), np.arange(40) % 10
    monkeypatch.setattr(make.datasets, "load", lambda *_: (images, labels))
    monkeypatch.setattr(make.datasets, "open_dataset", lambda *_: type("Set", (), {"classes": list("0123456789")}))
    monkeypatch.setattr(make, "measure", lambda *_: None)
    tiny = [training.Phase(name, 1, 20, rate=1e-3) for name in ("one", "two")]
    recipe = make.Recipe("mnist", lambda: architectures.vgg((4, 4, "P"), (), 10, image=(1, 28, 28), levels=4), tuple(tiny))
    monkeypatch.setitem(make.RECIPES, "mlp-mnist", recipe)
    path, command = tmp_path / "net.h5", ["make.py", "mlp-mnist", "--work", str(tmp_path), "-o", str(tmp_path / "net.h5")]
    for phases, written in (
        ([], ["python networks/make.py mlp-mnist"]),
        (["--phases", "1"], ["python networks/make.py mlp-mnist --phases 1"]),
    ):
        monkeypatch.setattr(sys, "argv", command + phases)
        saved, kept = [], es.save
        with monkeypatch.context() as patch:
            patch.setattr(make.es, "save", lambda net, to, saved=saved, kept=kept: (saved.append(net.provenance["command"]), kept(net, to)))
            make.main()
        # Of two phases, the first one's network is written as well.
        assert saved == ["python networks/make.py mlp-mnist --phases 1"] * (not phases) + written
        assert es.load(path).provenance["command"] == written[0]
        (tmp_path / "mlp-mnist.ckpt").unlink()
    for wrong in ("0", "3", "-1"):
        monkeypatch.setattr(sys, "argv", [*command, "--phases", wrong])
        with pytest.raises(SystemExit):
            make.main()
        assert f"--phases {wrong}: mlp-mnist has 2" in capsys.readouterr().err


def test_a_recipe_from_nothing_in_one_command(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for split, n in (("train", 256), ("t10k", 40)):
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", rng.integers(0, 256, (n, 28, 28)))
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", np.arange(n) % 10)
    command = [sys.executable, str(NETWORKS / "make.py"), "mlp-mnist", "--epochs", "1", "--steps", "4", "--workers", "1"]
    command += ["--data", str(tmp_path / "data"), "--work", str(tmp_path / "work"), "-o", str(tmp_path / "net.h5")]
    for _ in range(2):  # the second time everything is there
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
        assert done.returncode == 0, done.stderr
        assert "asynchronous, T = 4, 40 images: {'accuracy': " in done.stdout
    assert "loss" not in done.stdout
    assert es.load(tmp_path / "net.h5").provenance["data set"] == "mnist"
