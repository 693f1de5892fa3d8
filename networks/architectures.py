"""The architectures of the recipes. All take pixels in [0, 1], shape (batch, channels, height, width).

Hidden layers are binary, the first and the last are not. ``levels`` > 0 makes networks with batch norm and QCFS activations
of that many levels; ``levels`` = 0 makes the paper's: no batch norm, no bias, ReLU, dropout.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise

from layers import QCFS, BinaryConv2d, BinaryLinear, Normalise, Scale, binarise_constant, folded
from torch import nn

CIFAR10 = Normalise((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100 = Normalise((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
IMAGENET = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# VGG-15 of Lu & Sengupta (2020), after the first layer: P is 2x2 average pooling between convolution and activation.
VGG15 = (64, 64, "P", 128, 128, "P", 256, 256, 256, "P", 512, 512, 512, "P", 512, 512, 512, "P")


def _activation(levels: int, dropout: float) -> list[nn.Module]:
    return [QCFS(levels)] if levels else [nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]


def _norm(channels: int, levels: int, scaled: bool, maps: bool) -> list[nn.Module]:
    """What stands between a layer and its activation: nothing in networks without levels that are not scaled."""
    if scaled:
        return [Scale(channels)]
    return ([nn.BatchNorm2d(channels)] if maps else [nn.BatchNorm1d(channels)]) if levels else []


def mlp(sizes: Sequence[int], levels: int, dropout: float = 0.0) -> nn.Sequential:
    """Fully connected network; ``sizes`` from input to output."""
    layers: list[nn.Module] = [nn.Flatten()]
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        last = i == len(sizes) - 2
        kind = nn.Linear if i == 0 or last else BinaryLinear
        layers.append(kind(inputs, outputs, bias=bool(levels) and last))
        if not last:
            layers += _norm(outputs, levels, scaled=False, maps=False) + _activation(levels, dropout)
    return nn.Sequential(*layers)


def vgg(
    plan: Sequence[int | str],
    hidden: Sequence[int],
    classes: int,
    *,
    image: tuple[int, int, int],
    levels: int,
    normalise: nn.Module | None = None,
    dropout: float = 0.0,
    constant: bool = False,
    whole: bool = False,
    scaled: bool = False,
) -> nn.Sequential:
    """Convolutions 3x3 by ``plan`` ("P": average pooling 2x2 between the convolution before it and its activation, "M": max pooling
    2x2 behind the activation), then fully connected layers of ``hidden`` neurons, then ``classes``. ``image`` is (channels, height,
    width). ``constant``: binary weights of one constant a layer (McDonnell, ICLR 2018), and batch norm behind the last layer.
    ``whole``: the last maps are averaged whole before the fully connected layers. ``scaled``: filters over the root mean square of what
    they make while training (:class:`layers.Scale`), and binary weights of one constant a layer."""
    channels, height, width = image
    # (A copy: a network that is moved to another type must not take the next one's along.)
    layers: list[nn.Module] = [copy.deepcopy(normalise)] if normalise is not None else []
    for i, item in enumerate(plan):
        if item in ("P", "M"):
            continue
        outputs = int(item)
        layers.append((nn.Conv2d if i == 0 else BinaryConv2d)(channels, outputs, 3, padding=1, bias=False))
        pooling = plan[i + 1] if i + 1 < len(plan) and plan[i + 1] in ("P", "M") else None
        if pooling is not None:
            height, width = height // 2, width // 2
        layers += [nn.AvgPool2d(2)] if pooling == "P" else []
        layers += _norm(outputs, levels, scaled, maps=True) + _activation(levels, dropout)
        layers += [nn.MaxPool2d(2)] if pooling == "M" else []
        channels = outputs
    layers += [nn.AdaptiveAvgPool2d(1)] if whole else []
    layers.append(nn.Flatten())
    features = channels * (1 if whole else height * width)
    for outputs in hidden:
        layers.append(BinaryLinear(features, outputs, bias=False))
        layers += _norm(outputs, levels, scaled, maps=False) + _activation(levels, dropout)
        features = outputs
    layers.append(nn.Linear(features, classes, bias=bool(levels)))
    # Without batch norm, activations fade away over fifteen layers unless weights keep their scale (He et al. 2015).
    _initialise(layers, () if levels else (nn.Conv2d, nn.Linear))
    if constant or scaled:
        # Answers stay small too, however fast the last layer learns.
        layers += _norm(classes, 1, scaled, maps=False)
        _initialise(layers, (BinaryConv2d, BinaryLinear))
        for layer in layers:
            if isinstance(layer, (BinaryConv2d, BinaryLinear)):
                layer.binarise = binarise_constant
    return nn.Sequential(*layers)


def _initialise(layers: list[nn.Module], kinds: tuple[type[nn.Module], ...]) -> None:
    for layer in layers:
        if isinstance(layer, kinds):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


def vgg15_imagenet() -> nn.Sequential:
    """Lu & Sengupta's VGG-15 for 224x224 photos in 1000 classes: no batch norm, no bias; 121.6 M weights, 15.45 G MACs."""
    return vgg(VGG15, (4096,), 1000, image=(3, 224, 224), levels=0, normalise=IMAGENET, dropout=0.1)


def vgg15() -> nn.Sequential:
    """Lu & Sengupta's VGG-15 for 32x32 pixels in 100 classes, as it is trained here."""
    return vgg(VGG15, (4096,), 100, image=(3, 32, 32), levels=0, normalise=CIFAR100, scaled=True)


def vgg15_folded() -> nn.Sequential:
    """:func:`vgg15` as it is converted: no bias, no batch norm, nothing but weights."""
    return folded(vgg15())


def lenet_relu() -> nn.Sequential:
    """The paper's kind of network at the size of LeNet: 28x28, convolutions of 32, 32, 64 and 64 filters, 256 neurons, 10 classes."""
    return vgg((32, 32, "P", 64, 64, "P"), (256,), 10, image=(1, 28, 28), levels=0, dropout=0.1)
