"""Layers of the networks in this folder, for training: binary weights and a quantised activation.

They are ordinary PyTorch modules; ``eventsim.convert`` recognises both from what they compute, not from their names.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Whether the processor multiplies matrices of bfloat16.
AMX = bool(torch.cpu.get_capabilities().get("amx_bf16"))


class _Sign(torch.autograd.Function):
    """sign(w) with sign(0) = 1 forward; straight-through where |w| <= 1 backward."""

    @staticmethod
    def forward(ctx, w: Tensor) -> Tensor:
        ctx.save_for_backward(w)
        return torch.where(w < 0, -1.0, 1.0)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (w,) = ctx.saved_tensors
        return grad * (w.abs() <= 1)


def binarise(latent: Tensor) -> Tensor:
    """alpha * sign(W) per output filter of a latent weight (output, input, ...).

    As in Lu & Sengupta's training code: the mean over the input channels of a convolution is subtracted, the result clamped to
    [-1, 1], and alpha is the mean magnitude of each filter.
    """
    centred = latent - latent.mean(dim=1, keepdim=True) if latent.ndim == 4 else latent
    centred = centred.clamp(-1, 1)
    alpha = centred.abs().flatten(1).mean(1).reshape(-1, *[1] * (latent.ndim - 1))
    return _Sign.apply(centred) * alpha


class _ConstantSign(torch.autograd.Function):
    """scale * sign(w) with the sign bit's sign forward; backward the gradient as it comes, whatever w and the scale are."""

    @staticmethod
    def forward(ctx, w: Tensor, scale: float) -> Tensor:
        return torch.copysign(torch.tensor(scale, dtype=w.dtype, device=w.device), w)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad, None


def binarise_constant(latent: Tensor) -> Tensor:
    """sqrt(2 / fan-in) * sign(W) of a latent weight (output, input, ...), as McDonnell (ICLR 2018): one constant a layer, and the
    latent weight is neither centred nor clamped."""
    return _ConstantSign.apply(latent, math.sqrt(2 / latent[0].numel()))


def _columns(x: Tensor, side: int, stride: int) -> Tensor:
    """What each place of a square kernel sees of maps (images, channels, height, width) with a padding of 1: (images * rows * columns,
    kernel rows * kernel columns * channels)."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    return padded.unfold(1, side, stride).unfold(2, side, stride).permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(0, 2)


class _SmallMaps(torch.autograd.Function):
    """conv2d of small maps, whose weight gradient is one product with the columns of the padded input: on CPUs two to five times as
    fast as PyTorch's for maps of 8x8 and less, where training deep networks spends its time otherwise. On AMX the maps and their
    gradient are products too, since PyTorch's convolutions reach a tenth of what it does (3x3 kernels alone)."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.stride, ctx.products = stride, x.dtype == torch.bfloat16 and stride == 1 and weight.shape[2] == 3 and AMX
        if not ctx.products:
            ctx.save_for_backward(x, weight)
            return F.conv2d(x, weight, stride=stride, padding=1)
        columns = _columns(x, 3, 1)
        ctx.save_for_backward(columns, weight)
        return F.linear(columns, weight.permute(0, 2, 3, 1).flatten(1)).view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, grad: Tensor):
        saved, weight = ctx.saved_tensors
        step, (side, _) = ctx.stride, weight.shape[2:]
        back = None
        if ctx.products:
            columns = saved
            if ctx.needs_input_grad[0]:
                turned = weight.flip(2, 3).permute(1, 2, 3, 0).flatten(1)
                back = F.linear(_columns(grad, 3, 1), turned).view(len(grad), *grad.shape[2:], -1).permute(0, 3, 1, 2)
        else:
            columns = _columns(saved, side, step)
            back = torch.ops.aten.convolution_backward(
                grad, saved, weight, None, [step] * 2, [1, 1], [1, 1], False, [0, 0], 1, [ctx.needs_input_grad[0], False, False]
            )[0]
        rows = grad.permute(0, 2, 3, 1).flatten(0, 2)
        by_filter = (rows.T @ columns).unflatten(1, (side, side, -1)).permute(0, 3, 1, 2)
        return back, by_filter, None


def _convolve(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """conv2d of a square kernel with a padding of 1."""
    half = torch.is_autocast_enabled("cpu")
    # (PyTorch's own gradients of larger maps are the faster ones in bfloat16 without AMX.)
    if x.device.type == "cpu" and max(x.shape[-2:]) <= (3 if half and not AMX else 8) and torch.is_grad_enabled():
        if half:
            x, weight = x.to(torch.bfloat16), weight.to(torch.bfloat16)
        return _SmallMaps.apply(x, weight, stride)
    return F.conv2d(x, weight, stride=stride, padding=1)


class BinaryConv2d(nn.Conv2d):
    """Convolution whose weights are ``binarise(W)`` once ``binarised`` is set (the first phase of training may leave it off)."""

    binarised = True
    binarise = staticmethod(binarise)

    def used_weight(self) -> Tensor:
        """The weights that a forward pass takes."""
        return self.binarise(self.weight) if self.binarised else self.weight

    def forward(self, x: Tensor) -> Tensor:
        usual = (self.padding, self.dilation, self.groups, self.bias) == ((1, 1), (1, 1), 1, None)
        if usual and self.stride[0] == self.stride[1] and self.kernel_size[0] == self.kernel_size[1]:
            return _convolve(x, self.used_weight(), self.stride[0])
        return self._conv_forward(x, self.used_weight(), self.bias)


class PooledConv2d(nn.Module):
    """A binary convolution and the 2x2 average pooling behind it, for training: the same sums by one convolution with a larger kernel
    and a stride of 2. A 3x3 kernel takes 16 products for a pooled value in place of 36. (Maps of an odd size go the ordinary way, and so
    do small ones, where making the larger kernel costs more than it saves.)

    Parameters
    ----------
    convolution : BinaryConv2d
        Padding and stride 1, without bias and dilation.
    pooling : nn.AvgPool2d
        2x2.
    """

    def __init__(self, convolution: BinaryConv2d, pooling: nn.AvgPool2d):
        super().__init__()
        self.convolution, self.pooling = convolution, pooling

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if height % 2 or width % 2 or min(height, width) < 6:
            return self.pooling(self.convolution(x))
        kernel = F.avg_pool2d(F.pad(self.convolution.used_weight(), (1, 1, 1, 1)), 2, stride=1)
        return _convolve(x, kernel, 2)


def pool_at_once(model: nn.Sequential) -> nn.Sequential:
    """The same layers, sharing their parameters, with a :class:`PooledConv2d` for each binary convolution before a 2x2 average pooling."""
    layers: list[nn.Module] = []
    for layer in model:
        if isinstance(layer, nn.AvgPool2d) and layers and isinstance(layers[-1], BinaryConv2d) and layers[-1].padding == (1, 1):
            layers[-1] = PooledConv2d(layers[-1], layer)
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


class BinaryLinear(nn.Linear):
    """Linear layer whose weights are ``binarise(W)`` once ``binarised`` is set."""

    binarised = True
    binarise = staticmethod(binarise)

    def used_weight(self) -> Tensor:
        """The weights that a forward pass takes."""
        return self.binarise(self.weight) if self.binarised else self.weight

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.used_weight(), self.bias)


class _ClipFloorShift(torch.autograd.Function):
    """threshold / levels * clip(floor(x * levels / threshold + 1/2 + noise), 0, levels); straight-through gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, threshold: Tensor, levels: int, noise: float) -> Tensor:
        u = x / threshold
        shifted = u * levels + 0.5
        if noise:
            shifted += (torch.rand_like(u) - 0.5) * noise
        q = shifted.floor_().clamp_(0, levels).div_(levels)
        ctx.save_for_backward(u, q, threshold)
        return (q * threshold).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):
        u, q, threshold = ctx.saved_tensors
        passed = torch.ops.aten.hardtanh_backward(grad, u, 0.0, 1.0)
        if not ctx.needs_input_grad[1]:
            return passed, None, None, None
        slope = (grad * q).sum() - (passed * u).sum()
        return passed, slope.reshape(threshold.shape).to(threshold.dtype), None, None


class QCFS(nn.Module):
    """Quantised clip-floor-shift activation with a learned threshold (Bu et al., ICLR 2022, equation 14).

    The threshold stays what it is if it does not require a gradient.

    Parameters
    ----------
    levels : int
        L; a spiking neuron with initial potential theta/2 makes the same values in L steps.
    threshold : float
        Initial value of the learned threshold.
    """

    def __init__(self, levels: int, threshold: float = 2.0):
        super().__init__()
        self.levels = levels
        self.threshold = nn.Parameter(torch.tensor(threshold))
        # Uniform noise of this many levels before rounding, in training only: 1 is stochastic rounding. It makes a network
        # robust against the one spike more or less that a spiking neuron may have fired.
        self.noise = 0.0

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return _ClipFloorShift.apply(x, self.threshold, self.levels, self.noise if self.training else 0.0)
        return self.to_levels(x, self.threshold)

    def to_levels(self, x: Tensor, threshold: Tensor) -> Tensor:
        """The nearest of the levels up to a threshold."""
        return (x * (self.levels / threshold) + 0.5).floor().clamp(0, self.levels) * (threshold / self.levels)


class Normalise(nn.Module):
    """(x - mean) / std per channel of pixels in [0, 1]."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class _OverRootMeanSquare(torch.autograd.Function):
    """gain * x / sqrt(mean square of the channel + eps) over all images and places, and the mean squares."""

    @staticmethod
    def forward(ctx, x: Tensor, gain: Tensor, eps: float):
        shape = (1, -1, *[1] * (x.ndim - 2))
        squares = x.movedim(1, -1).flatten(0, -2).float().square().mean(0)
        inverse = (squares + eps).rsqrt()
        ctx.save_for_backward(x, gain, inverse)
        ctx.mark_non_differentiable(squares)
        return x * (gain * inverse).to(x.dtype).view(shape), squares

    @staticmethod
    def backward(ctx, grad: Tensor, _):
        x, gain, inverse = ctx.saved_tensors
        shape = (1, -1, *[1] * (x.ndim - 2))
        products = (grad * x).movedim(1, -1).flatten(0, -2).sum(0, dtype=torch.float32)
        shrunk = gain * inverse**3 * products / (x.numel() // x.shape[1])
        back = grad * (gain * inverse).to(x.dtype).view(shape) - x * shrunk.to(x.dtype).view(shape)
        return back, products * inverse, None


class Scale(nn.Module):
    """Every channel over its root mean square, times a learned gain: of the batch in training, a constant afterwards, so that a network
    has no more than weights once it is trained (:func:`folded`). Batch norm would subtract a mean too, which becomes a bias. Takes and
    gives (images, channels, ...).

    Parameters
    ----------
    channels : int
    """

    eps, momentum = 1e-5, 0.1

    def __init__(self, channels: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.register_buffer("mean_square", torch.ones(channels))

    def factors(self) -> Tensor:
        """What a trained network multiplies the channels by."""
        return self.gain * (self.mean_square + self.eps).rsqrt()

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x * self.factors().to(x.dtype).view(1, -1, *[1] * (x.ndim - 2))
        found, squares = _OverRootMeanSquare.apply(x, self.gain, self.eps)
        self.mean_square.lerp_(squares, self.momentum)
        return found


@torch.no_grad()
def folded(model: nn.Sequential) -> nn.Sequential:
    """A copy with the constants of its :class:`Scale` layers, and of binary layers, in ordinary layers' weights."""
    layers: list[nn.Module] = []
    scaled = None
    for layer in copy.deepcopy(model):
        if isinstance(layer, Scale):
            # (A bias, if there is one, too.)
            for parameter in scaled.parameters():
                parameter.mul_(layer.factors().view(-1, *[1] * (parameter.ndim - 1)))
            continue
        if isinstance(layer, BinaryConv2d):
            usual = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, bias=False)
            usual.weight.copy_(layer.used_weight())
            layer = usual
        elif isinstance(layer, BinaryLinear):
            usual = nn.Linear(layer.in_features, layer.out_features, bias=False)
            usual.weight.copy_(layer.used_weight())
            layer = usual
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            scaled = layer
        layers.append(layer)
    return nn.Sequential(*layers)


@torch.no_grad()
def start_from(model: nn.Sequential, source: nn.Sequential, images: Tensor) -> None:
    """Begin a network with batch norm and QCFS activations as one with :class:`Scale` and ReLU is once it is trained.

    Batch norm computes what the scales do, its statistics those of the images; a threshold is the one of 20 shares of the largest
    activation whose levels are nearest to the activations.

    Parameters
    ----------
    model, source : nn.Sequential
        The same layers but for these.
    images : Tensor, float32, shape (n, channels, height, width)
        Pixels in [0, 1].
    """
    x, source = images, copy.deepcopy(source).float().eval()
    for target, layer in zip(model, source, strict=True):
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            target.weight.copy_(layer.weight)
            if target.bias is not None:
                target.bias.zero_()
        if isinstance(layer, Scale):
            flat, factors = x.movedim(1, -1).flatten(0, -2), layer.factors()
            target.running_var, target.running_mean = torch.var_mean(flat, 0)
            target.weight.copy_(factors * (target.running_var + target.eps).sqrt())
            target.bias.copy_(factors * target.running_mean)
        x = layer(x)
        if isinstance(target, QCFS):
            shares = torch.linspace(0.05, 1, 20) * x.max()
            errors = [(target.to_levels(x, share) - x).square().mean() for share in shares]
            target.threshold.copy_(shares[int(torch.stack(errors).argmin())])
