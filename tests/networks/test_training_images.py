"""What training images, and the first filters, are made into."""

from __future__ import annotations

import sys

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
