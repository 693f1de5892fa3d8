"""The training code and the recipes: resume against an uninterrupted run, a recipe from nothing."""

from __future__ import annotations

import copy
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
import third_party  # noqa: E402
import training  # noqa: E402


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5)])
def test_an_orthogonal_update_keeps_singular_vectors_and_brings_values_near_one(shape):
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / values.norm()
    for _ in range(5):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    assert 0.5 < values.min() < values.max() < 1.3
    torch.testing.assert_close(muon.orthogonalise(matrix, 5), left @ values.diag() @ right)
    half = muon.orthogonalise(matrix, half=True)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), muon.orthogonalise(matrix), rtol=0, atol=0.05)


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


@pytest.mark.parametrize("taught", [False, True])
def test_what_an_image_has_of_another_one_is_learned_for_that(tmp_path, monkeypatch, taught):
    """Where that is all of it, the batch is the same one in another order."""
    teacher = np.random.default_rng(1).normal(size=(256, 2, 4)).astype(np.float32)
    models = []
    for name, mixed in (("none", 0.0), ("all", 1.0)):
        monkeypatch.setattr(training, "mix", lambda x, share, _: (x.roll(1, 0), torch.full((len(x), 1), 1 - share)))
        phases, rng = (training.Phase("one", 1, 32, rate=1e-3, smoothing=0.1, taught=taught, mixed=mixed),), np.random.default_rng(0)
        models.append(build())
        training.train(
            models[-1],
            phases,
            data(rng),
            data(rng, 100),
            tmp_path / f"{name}.ckpt",
            shift=0,
            flip=False,
            seed=3,
            teacher=training.Teaching(teacher),
        )
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


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
    training.Phase("full precision", 1, 32, rate=1e-2, schedule="linear", binarised=False),
    training.Phase("binary", 3, 32, rate=1e-2, noise=1.0, smoothing=0.05),
)


def train(checkpoint, phases=PHASES):
    model = build()
    rng = np.random.default_rng(0)
    train_set, test_set = data(rng), data(rng, 100)
    score = training.train(model, phases, train_set, test_set, checkpoint, shift=0, flip=False, seed=3)
    return model, score, train_set, test_set


@pytest.mark.parametrize("phases", [PHASES, (training.Phase("binary", 4, 32, "muon", 0.1, "linear", levels=(4, 8)),)])
def test_training_learns_resumes_exactly_and_converts(tmp_path, monkeypatch, phases):
    whole, score, train_set, test_set = train(tmp_path / "whole.ckpt", phases)
    assert score > 0.9

    # Interrupted after the second epoch's checkpoint.
    saved, calls = training.write_state, []

    def interrupt(path, state):
        saved(path, state)
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "write_state", interrupt)
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


def test_a_teacher_is_learned_from_in_place_of_labels(tmp_path):
    """One that calls every class by the next one's name, whatever labels say, and knows images from their mirror images."""
    rng = np.random.default_rng(0)
    train_set, test_set = data(rng), data(rng, 100)
    teacher = np.stack([8.0 * np.eye(4, dtype=np.float32)[(classes + 1) % 4] for classes in (train_set[1], train_set[1] ^ 1)], axis=1)
    phases = (training.Phase("taught", 4, 32, rate=1e-2, taught=True),)
    labels = np.zeros_like(train_set[1])
    score = training.train(
        build(), phases, (train_set[0], labels), (test_set[0], (test_set[1] + 1) % 4), tmp_path / "a.ckpt",
        shift=0, flip=True, seed=3, teacher=training.Teaching(teacher),
    )  # fmt: skip
    assert score > 0.9


def test_what_a_teacher_says_of_images_and_mirror_images():
    model, (images, _) = build().eval(), data(np.random.default_rng(0), 20)
    found = training.dense_outputs(model, images)
    assert (found.shape, found.dtype) == ((20, 2, 4), np.float32)
    for view, seen in enumerate((images, images[:, :, ::-1])):
        with torch.no_grad():
            expected = model(training.to_input(seen).float() / 255)
        np.testing.assert_allclose(found[:, view], expected, atol=0.02)


def test_soft_answers_weigh_as_much_as_labels():
    outputs = torch.tensor([[0.3, -1.0, 2.0], [0.0, 0.5, -0.2]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[1.0, 0.0, 3.0], [-2.0, 4.0, 0.0]], dtype=torch.float64)
    training.distillation(outputs, training.softened(teacher)).backward()
    # d/dz of T^2 H(p, softmax(z / T)) = T (softmax(z / T) - p), meaned over images (Hinton et al. 2015, equation 2).
    expected = 2.0 * (torch.softmax(outputs.detach() / 2, 1) - torch.softmax(teacher / 2, 1)) / 2
    torch.testing.assert_close(outputs.grad, expected)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    train(tmp_path / "a.ckpt", PHASES[:1])
    with pytest.raises(es.EventsimError, match="made with other epochs, settings or seed"):
        train(tmp_path / "a.ckpt", (replace(PHASES[0], rate=1.0),))


def test_levels_change_within_a_training(tmp_path, monkeypatch):
    few, more = (training.Phase(name, 2, 100, levels=levels) for name, levels in (("few", (2, 3)), ("more", (8,))))
    phases, seen, shrunk = (few, training.Phase("as before", 1, 100), more), [], training.shrink
    levels_of = lambda model: {m.levels for m in model.modules() if isinstance(m, layers.QCFS)}  # noqa: E731
    monkeypatch.setattr(training, "shrink", lambda model, *rest: seen.append(levels_of(model)) or shrunk(model, *rest))
    train(tmp_path / "first.ckpt", phases[:2])
    assert [levels for levels, before in zip(seen, [None, *seen], strict=False) if levels != before] == [{2}, {3}]
    seen.clear()
    for _ in range(2):
        # From where the second phase ended, and from where all did.
        model, _, _, _ = train(tmp_path / "first.ckpt", phases)
        assert seen
        assert all(levels == {8} for levels in [*seen, levels_of(model)])


def test_cycles_with_smaller_images_go_on_where_fewer_ended(tmp_path):
    cycles = tuple(training.Phase(f"cycle of {n}", n, 32, "muon", 0.1, sizes=(7, 8)) for n in (1, 2))
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


@pytest.fixture
def digits(monkeypatch):
    """Random images, which `make.py` takes for MNIST; it measures nothing."""
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), dtype=np.uint8)
    monkeypatch.setattr(make.datasets, "load", lambda *_: (images, np.arange(40) % 10))
    monkeypatch.setattr(make.datasets, "open_dataset", lambda *_: type("Set", (), {"classes": list("0123456789")}))
    monkeypatch.setattr(make, "measure", lambda *_: None)
    return images


@pytest.mark.usefixtures("digits")
def test_fewer_phases_than_a_recipe_has_or_more(tmp_path, monkeypatch, capsys):
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


@pytest.mark.usefixtures("digits")
def test_what_is_not_binary_yet_is_not_converted(tmp_path, monkeypatch, capsys):
    phases = tuple(training.Phase(name, 1, 20, rate=1e-3, binarised=name == "binary") for name in ("full precision", "binary"))
    recipe = make.Recipe("mnist", lambda: architectures.vgg((4, 4, "P"), (), 10, image=(1, 28, 28), levels=4), phases)
    monkeypatch.setitem(make.RECIPES, "mlp-mnist", recipe)
    path = tmp_path / "net.h5"
    command = ["make.py", "mlp-mnist", "--work", str(tmp_path), "-o", str(path)]
    path.write_text("a good file")
    monkeypatch.setattr(sys, "argv", [*command, "--phases", "1"])
    make.main()
    assert path.read_text() == "a good file"
    assert "nothing is converted, as nothing is binary after full precision" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", command)
    make.main()
    assert es.load(path).provenance["binary layers"] == 1
    # What is damaged is named.
    (tmp_path / "mlp-mnist.ckpt").write_bytes(b"PK nothing")
    with pytest.raises(SystemExit, match=r"^error: .*mlp-mnist\.ckpt: cannot be read .*; remove it"):
        make.main()


def test_a_recipe_that_learns_from_a_published_network(tmp_path, monkeypatch, capsys, digits):
    teacher = architectures.vgg((4, 4, "P"), (), 10, image=(1, 28, 28), levels=4)
    monkeypatch.setitem(third_party.NETWORKS, "plain-20-4", type("Published", (), {"read": lambda path: teacher}))
    phase = training.Phase("taught", 1, 20, rate=1e-3, taught=True)
    phases = (phase, *(replace(phase, mixtures=mixtures, skipped=skipped) for mixtures, skipped in ((7, 0), (5, 4))))
    build = lambda: architectures.vgg((4, 4, "P"), (), 10, image=(1, 28, 28), levels=4)  # noqa: E731
    monkeypatch.setitem(make.RECIPES, "mlp-mnist", make.Recipe("mnist", build, phases, teacher="plain-20-4"))
    command = ["make.py", "mlp-mnist", "--work", str(tmp_path), "-o", str(tmp_path / "net.h5")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        make.main()
    assert "mlp-mnist learns from plain-20-4: give its file with --teacher" in capsys.readouterr().err
    file = tmp_path / "published.mat"
    file.write_bytes(b"weights")
    monkeypatch.setattr(sys, "argv", [*command, "--teacher", str(file)])
    make.main()
    assert es.load(tmp_path / "net.h5").provenance["command"] == "python networks/make.py mlp-mnist --teacher published.mat"
    (store,) = tmp_path.glob("*-teaches-[!m]*.npy")
    np.testing.assert_array_equal(np.load(store), training.dense_outputs(teacher, digits))
    (store,) = tmp_path.glob("*-teaches-mixtures-*.npy")
    made = training.mixtures(digits, 9, 0, make.SEED)
    np.testing.assert_array_equal(np.load(store), training.dense_outputs(teacher, made)[:, 0])
    monkeypatch.setattr(sys, "argv", ["make.py", "lenet-mnist", "--teacher", str(file)])
    with pytest.raises(SystemExit):
        make.main()
    assert "--teacher: lenet-mnist learns from labels alone" in capsys.readouterr().err


@pytest.mark.usefixtures("digits")
def test_scales_are_folded_into_what_is_converted_and_kept(tmp_path, monkeypatch):
    build = lambda: architectures.vgg((4, 4, "P"), (), 10, image=(1, 28, 28), levels=0, scaled=True)  # noqa: E731
    phases = (training.Phase("one", 1, 20, rate=1e-2),)
    monkeypatch.setitem(make.RECIPES, "lenet-mnist", make.Recipe("mnist", build, phases))
    monkeypatch.setattr(sys, "argv", ["make.py", "lenet-mnist", "--work", str(tmp_path), "-o", str(tmp_path / "net.h5")])
    make.main()
    # Neither batch norm nor bias: `eventsim convert` and studies read the ordinary layers.
    kept = torch.load(tmp_path / "lenet-mnist.pt", weights_only=True)
    plain = layers.folded(build())
    plain.load_state_dict(kept)
    assert all(name.endswith("weight") for name in kept)
    model = build()
    model.load_state_dict(torch.load(tmp_path / "lenet-mnist.ckpt", weights_only=True)["model"])
    images = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(plain(images), model.eval()(images))
    assert es.load(tmp_path / "net.h5").provenance["binary layers"] == 1


@pytest.mark.usefixtures("digits")
def test_a_recipe_that_starts_from_another_one(tmp_path, monkeypatch):
    build = lambda **kind: lambda: architectures.vgg((4, 4, "P"), (), 10, image=(1, 28, 28), **kind)  # noqa: E731
    phases = tuple(training.Phase(name, 1, 20, rate=1e-2) for name in ("one", "two"))
    monkeypatch.setitem(make.RECIPES, "lenet-mnist", make.Recipe("mnist", build(levels=0, scaled=True), phases))
    second = make.Recipe("mnist", build(levels=4, constant=True), phases[:1], start="lenet-mnist")
    monkeypatch.setitem(make.RECIPES, "mlp-mnist", second)

    def run(name, *more):
        monkeypatch.setattr(sys, "argv", ["make.py", name, "--work", str(tmp_path), "-o", str(tmp_path / "net.h5"), *more])
        make.main()

    for more in (None, ["--phases", "1"], []):
        if more is not None:
            run("lenet-mnist", *more)
        if more != []:
            with pytest.raises(SystemExit, match="mlp-mnist starts from lenet-mnist: train that first"):
                run("mlp-mnist")
    begun = []
    with monkeypatch.context() as patch:
        patch.setattr(make, "train", lambda model, *_, **__: begun.append(copy.deepcopy(model).eval()) or 0.5)
        run("mlp-mnist")
    first = torch.load(tmp_path / "lenet-mnist.ckpt", weights_only=True)["model"]
    weights = {key: value for key, value in begun[0].state_dict().items() if value.ndim > 1}
    assert len(weights) == 3
    for key, value in weights.items():
        torch.testing.assert_close(value, first[key])
    # Once it is under way, the first one is not needed.
    run("mlp-mnist")
    command = "python networks/make.py lenet-mnist && python networks/make.py mlp-mnist"
    assert es.load(tmp_path / "net.h5").provenance["command"] == command
    (tmp_path / "lenet-mnist.ckpt").unlink()
    run("mlp-mnist")


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
