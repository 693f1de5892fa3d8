"""What training images, and the first filters, are made into."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from repository import ROOT

torch = pytest.importorskip("torch")
sys.path.insert(0, str(ROOT / "networks"))

import architectures  # noqa: E402
import training  # noqa: E402


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


def test_augmentation_moves_and_mirrors_whole_images():
    x = torch.arange(2 * 1 * 4 * 4, dtype=torch.uint8).reshape(2, 1, 4, 4) + 1
    out, mirrored = training.augment(x.repeat(50, 1, 1, 1), 1, True, torch.Generator().manual_seed(0))
    out = out.numpy()
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    allowed = set()
    for image in padded[:, 0]:
        for i in range(3):
            for j in range(3):
                window = image[i : i + 4, j : j + 4]
                allowed |= {(window.tobytes(), False), (window[:, ::-1].tobytes(), True)}
    seen = {(image[0].tobytes(), turned) for image, turned in zip(out, mirrored.tolist(), strict=True)}
    assert seen <= allowed
    assert not training.augment(x, 1, False, torch.Generator().manual_seed(0))[1].any()
    assert len(seen) > 20


def test_images_get_rectangles_of_others():
    x = torch.rand(400, 2, 6, 9, generator=torch.Generator().manual_seed(0))
    mixed, own = training.mix(x, 0.5, torch.Generator().manual_seed(1))
    other = (mixed != x).any(1).numpy()
    assert torch.equal(mixed, torch.where(torch.from_numpy(other)[:, None], x.roll(1, 0), x))
    np.testing.assert_allclose(own[:, 0], 1 - other.mean((1, 2)), atol=1e-6)
    for part in other:
        assert np.array_equal(part, np.outer(part.any(1), part.any(0)))
        for side in (part.any(1), part.any(0)):
            assert np.count_nonzero(np.diff(side.astype(int), prepend=0) == 1) <= 1
    changed = other.any((1, 2))
    assert 0.4 < changed.mean() < 0.6
    assert other[changed].mean((1, 2)).max() > 0.8
    assert torch.equal(training.mix(x, 0.0, torch.Generator().manual_seed(1))[0], x)


def test_mixtures_of_images():
    """Of images of one value each, without a shift: means of two, rectangles of one in another, and single ones."""
    images = np.broadcast_to(np.array([0, 80, 200], np.uint8)[:, None, None, None], (3, 12, 8, 2))
    found = training.mixtures(images, 1200, 0, 1)
    assert (found.shape, found.dtype) == ((1200, 12, 8, 2), np.uint8)
    assert np.array_equal(found[..., 0], found[..., 1])
    kinds = dict.fromkeys(("one", "two", "mean"), 0)
    for mixture in found[..., 0]:
        values = np.unique(mixture)
        own = set(values.tolist()) <= {0, 80, 200}
        kinds["mean" if not own else "two" if len(values) == 2 else "one"] += 1
        assert len(values) == 1 or (own and len(values) == 2)
        if len(values) == 2:
            part = mixture == values[0]
            rectangles = [np.array_equal(p, np.outer(p.any(1), p.any(0))) for p in (part, ~part)]
            assert any(rectangles)
    # A third of the pairs is of one image twice; a rectangle may lie outside, or cover all.
    assert 0.2 < kinds["two"] / 1200 < 0.32
    assert 0.24 < kinds["mean"] / 1200 < 0.34
    assert np.array_equal(found[:700], training.mixtures(images, 700, 0, 1))
    assert not np.array_equal(found, training.mixtures(images, 1200, 0, 2))
    moved = training.mixtures(images[2:], 300, 3, 1)
    assert 0.2 < np.mean(moved.min((1, 2, 3)) == 0) < 1


def test_a_phase_of_mixtures_learns_from_them_too(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(training, "augment", lambda x, shift, *_: seen.append((x, shift)) or (x, torch.zeros(len(x), dtype=torch.bool)))
    learned = []
    monkeypatch.setattr(training, "distillation", lambda outputs, wanted: learned.append(wanted) or outputs.sum() * 0)
    model = architectures.vgg((4, "P"), (), 4, image=(1, 6, 6), levels=4)
    rng = np.random.default_rng(0)
    images, mixtures = rng.integers(0, 128, (40, 6, 6, 1), np.uint8), rng.integers(128, 256, (60, 6, 6, 1), np.uint8)
    teacher = training.Teaching(np.zeros((40, 2, 4), np.float32), (mixtures, np.full((60, 4), [0, 0, 0, 50], np.float32)))
    phases = [training.Phase(str(more), 1, 20, taught=True, mixtures=more, shift=1 if more else None) for more in (0, 40, 60)]
    phases += [replace(phases[2], mixtures=40, skipped=15)]
    data = images, np.zeros(40, np.int64)
    training.train(model, tuple(phases), data, data, tmp_path / "a.ckpt", shift=2, flip=True, seed=1, teacher=teacher)
    assert [shift for _, shift in seen] == [2] * 2 + [1] * (4 + 5 + 4)
    for batches, some in ((seen[2:6], mixtures[:40]), (seen[6:11], mixtures), (seen[11:], mixtures[15:55])):
        used = {x.numpy().tobytes() for batch, _ in batches for x in batch}
        assert used == {x.tobytes() for x in [*images.transpose(0, 3, 1, 2), *some.transpose(0, 3, 1, 2)]}
    assert all(int(x.max()) < 128 for x, _ in seen[:2])
    for (x, _), wanted in zip(seen, learned, strict=True):
        assert torch.equal(wanted[:, 3] > 0.5, x.amax((1, 2, 3)) >= 128)


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


def test_a_phase_that_is_tried_out_has_as_many_fewer_mixtures():
    phase = training.Phase("taught", 4, rate=0.1, mixtures=1000, skipped=80)
    assert [(p.epochs, p.mixtures, p.skipped, p.rate) for p in map(phase.shortened, (1, 3, 4, 9))] == [
        (1, 250, 20, 0.1), (3, 750, 60, 0.1), (4, 1000, 80, 0.1), (9, 1000, 80, 0.1),
    ]  # fmt: skip
