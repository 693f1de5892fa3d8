"""What is read of every operator of PyTorch computes what PyTorch computes, however it is written, and no argument is dropped."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import eventsim as es
from eventsim.conversion.from_torch import from_torch

torch = pytest.importorskip("torch")
from eventsim.conversion.pytorch import moves, operators  # noqa: E402
from eventsim.conversion.pytorch.recording import Recorder, Recording, begin  # noqa: E402

nn, F = torch.nn, torch.nn.functional

torch.manual_seed(0)
KERNEL, MATRIX = torch.randn(6, 4, 3, 3), torch.randn(6, 5)
SCALE, SHIFT = torch.rand(4) + 0.5, torch.randn(4)


def written_into_parts(x):
    made = torch.zeros(x.shape[0], 4, 8, 8, dtype=x.dtype)
    made[:, :2] = x[:, 2:]
    made[:, 2:] += 2 * x[:, :2]
    return made


def changed_in_part(x):
    x = x.clone()
    x[:, 0].relu_()
    x[:, 1] = 0.5
    return x


def changed_under_two_names(x):
    y = x.clone()
    z = y.view(y.shape[0], -1).detach()
    y += 1
    return z * 2


def filled(x):
    made = x.clone().zero_()
    made[:, :2] = x[:, :2]
    made[:, 1] = 0
    return torch.empty_like(x).copy_(made + 1)


# On (batch, 4, 8, 8).
ON_IMAGES = {
    "Conv2d": nn.Conv2d(4, 6, 3),
    "strides, paddings, groups, dilation": nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), groups=2),
    "depthwise": nn.Conv2d(4, 8, 3, padding=1, groups=4, bias=False),
    "same": nn.Conv2d(4, 6, (4, 3), padding="same"),
    "reflect": nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"),
    "replicate": nn.Conv2d(4, 6, 3, padding=(1, 0), padding_mode="replicate"),
    "circular": nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
    "F.conv2d": lambda x: F.conv2d(x, KERNEL.to(x), stride=2),
    "ConvTranspose2d": nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2),
    "Linear on the last axis": nn.Linear(8, 5),
    "BatchNorm2d": nn.BatchNorm2d(4),
    "BatchNorm2d without weights": nn.BatchNorm2d(4, affine=False),
    "BatchNorm1d behind flatten": nn.Sequential(nn.Flatten(), nn.BatchNorm1d(256), nn.Linear(256, 5)),
    "InstanceNorm-like constants": lambda x: x * SCALE.to(x)[:, None, None] + SHIFT.to(x).view(1, 4, 1, 1),
    "constant along the width": lambda x: x + torch.arange(8).to(x),
    "constant along the height": lambda x: (x + torch.arange(8).to(x)[:, None]) / 3,
    "AvgPool2d": nn.AvgPool2d(2),
    "AvgPool2d, overlapping, padded": nn.AvgPool2d(3, 2, 1),
    "AvgPool2d, padding not counted": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "AvgPool2d, ceil": nn.AvgPool2d(3, 2, ceil_mode=True),
    "AvgPool2d, divisor": nn.AvgPool2d(2, divisor_override=3),
    "AdaptiveAvgPool2d(1)": nn.AdaptiveAvgPool2d(1),
    "AdaptiveAvgPool2d((None, 1))": nn.AdaptiveAvgPool2d((None, 1)),
    "AdaptiveAvgPool2d(3)": nn.AdaptiveAvgPool2d(3),
    "MaxPool2d": nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    "MaxPool2d, dilated": nn.MaxPool2d(2, 1, dilation=2),
    "AdaptiveMaxPool2d": nn.AdaptiveMaxPool2d((4, 3)),
    "means": lambda x: x.mean((2, 3)) + x.mean(3).mean(2) + x.mean((-1, -2), keepdim=True).flatten(1),
    "sums": lambda x: x.sum(3).sum(2) + x.sum((2, 3), keepdim=True)[:, :, 0, 0],
    "mean over channels": lambda x: x.mean(1),
    "mean over patches": lambda x: x.view(x.shape[0], 4, 4, 2, 4, 2).mean((3, 5)),
    "largest": lambda x: x.amax((2, 3)) + x.max(3).values.max(2)[0],
    "Upsample": nn.Upsample(scale_factor=2),
    "interpolate to a size": lambda x: F.interpolate(x, size=(12, 5)),
    "interpolate, exactly": lambda x: F.interpolate(x, size=(12, 5), mode="nearest-exact"),
    "interpolate, bicubic": lambda x: F.interpolate(x, scale_factor=1.5, mode="bicubic"),
    "interpolate, bilinear": lambda x: F.interpolate(x, size=(12, 5), mode="bilinear", align_corners=True),
    "PixelShuffle and back": nn.Sequential(nn.PixelShuffle(2), nn.PixelUnshuffle(4)),
    "ChannelShuffle": nn.ChannelShuffle(2),
    "channel shuffle written out": lambda x: x.view(x.size(0), 2, 2, 8, 8).transpose(1, 2).reshape(x.size(0), -1, 8, 8),
    "ZeroPad2d": nn.ZeroPad2d((1, 2, 0, 3)),
    "F.pad with a constant": lambda x: F.pad(x, (1, 1), value=2.0),
    "ReflectionPad2d, ReplicationPad2d": nn.Sequential(nn.ReflectionPad2d(1), nn.ReplicationPad2d((0, 1, 2, 0))),
    "cat": lambda x: torch.cat([x, x * 2, torch.relu(x)[:, :1]], 1),
    "cat with constants": lambda x: torch.cat([x, torch.ones_like(x), x.new_full((1,), 2).expand_as(x), torch.full_like(x, 3)], 1),
    "cat with more constants": lambda x: torch.cat([x, x.new_zeros(x.shape), x.new_ones(x.shape), torch.zeros_like(x)], 1),
    "cat along the width": lambda x: torch.cat([x, -x], 3),
    "stack": lambda x: torch.stack([x[:, 0], x[:, 3]], 1),
    "chunk, split, narrow": lambda x: torch.cat([*x.chunk(2, 1)[::-1], *x.split([1, 3], 1), x.narrow(1, 2, 1)], 1),
    "slices": lambda x: x[:, ::2, 1:, 2:-1],
    "indices": lambda x: x[:, [2, 0]],
    "indices put": lambda x: x.clone().index_put_((torch.arange(len(x))[:, None], torch.tensor([[1, 3]])), x[:, :2]),
    "indices gathered": lambda x: torch.cat(
        [x.gather(3, torch.zeros(*x.shape, dtype=torch.long) + 2), x.index_select(1, torch.tensor([3]))], 1
    ),
    "scattered": lambda x: torch.slice_scatter(x, -x[:, :2], 1, 1, 3) + torch.select_scatter(x, x[:, 0], 1, 2),
    "flip, roll": lambda x: x.flip(2).roll(3, 1),
    "permute": lambda x: x.permute(0, 2, 3, 1).contiguous().flatten(1),
    "unfold": lambda x: F.unfold(x, 3, padding=1, stride=2),
    "expand, repeat": lambda x: x[:, :1].expand(-1, 3, -1, -1).repeat(1, 2, 1, 1),
    "written into parts": written_into_parts,
    "changed in part": changed_in_part,
    "filled": filled,
    "changed under two names": changed_under_two_names,
    "ReLU, ReLU6": nn.Sequential(nn.ReLU6(), nn.ReLU(inplace=True)),
    "bounds": lambda x: torch.clamp(F.hardtanh(x.clamp_min(-0.9), -0.8, 0.7), max=0.6) + x.clamp_max(0.3),
    "bounds, other names": lambda x: torch.maximum(x, torch.zeros(1).to(x)) + torch.min(x, torch.ones_like(x)) + F.threshold(x, 0.1, 0.1),
    "ReLU by where": lambda x: torch.where(x > 0, x, 0.0) + x.masked_fill(x < 0, 0) + x * (x > 0),
    "rounding": lambda x: torch.floor(x) + torch.ceil(3 * x) + torch.round(2 * x) + torch.trunc(5 * x) + torch.round(x, decimals=1),
    "casts": lambda x: (x * 4).to(torch.int32).to(x.dtype) + (x * 3).long(),
    "quotients": lambda x: torch.div(x, 0.25, rounding_mode="floor") + torch.div(x, 0.5, rounding_mode="trunc") + x // 0.125,
    "quantiser": lambda x: torch.fake_quantize_per_tensor_affine(x.float(), 0.25, 3, 0, 7).to(x.dtype),
    "arithmetic": lambda x: 1 - (x * 2 + 1) / 3 + torch.add(x, x, alpha=0.5) - torch.rsub(x, 2) + torch.sub(x, 1, alpha=2) - (-x),
    "constants on the left": lambda x: torch.arange(8).to(x) - x + SCALE.to(x)[:, None, None] * x,
    "comparisons": lambda x: (
        (x > 0.5).float() + (x >= 0).to(x.dtype) * 2 - torch.where(x < -0.5, 1.0, 3.0) + (~(x <= 0.2)).float() + (x < 1).logical_not()
    ),
    "comparisons from the left": lambda x: torch.full((1,), 0.5).to(x).gt(x).float() + (torch.zeros(1).to(x) <= x).float() * 4,
    "signs": lambda x: torch.sign(x) + x.sgn() + torch.heaviside(x, torch.tensor(0.5).to(x)),
    "a constant mask": lambda x: torch.where(torch.arange(8) > 3, x, -x),
    "operations in place": lambda x: x.clone().sub_(0.5).div_(0.25).clamp_(0, 1).mul_(3).add_(x).neg_(),
}
# On (batch, 5).
ON_VECTORS = {
    "Linear": nn.Linear(5, 3),
    "Linear without bias": nn.Linear(5, 3, bias=False),
    "matrix on the right": lambda x: x @ MATRIX.T.to(x) + 1,
    "matrix on the left": lambda x: (MATRIX.to(x) @ x.t()).t(),
    "addmm": lambda x: torch.addmm(torch.ones(6).to(x), x, MATRIX.T.to(x), beta=2, alpha=3),
    "einsum": lambda x: torch.einsum("bi,oi->bo", x, MATRIX.to(x)),
    "vector": lambda x: (x @ MATRIX[0].to(x))[:, None],
    "BatchNorm1d": nn.BatchNorm1d(5),
    "mean": lambda x: x - x.mean(1, keepdim=True),
    "unflatten": nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Unflatten(1, (2, 2, 2)), nn.Conv2d(2, 3, 2)),
    "softmax": nn.Sequential(nn.Linear(5, 4), nn.Softmax(-1)),
    "log_softmax of a dictionary": lambda x: {"answer": F.log_softmax(x, 1), "loss": None},
    "sigmoid": nn.Sequential(nn.Linear(5, 4), nn.Sigmoid()),
    "logsigmoid": nn.LogSigmoid(),
}
# On (batch, 4, 9).
ON_SEQUENCES = {
    "Conv1d": nn.Conv1d(4, 6, 3, 2, 1, 1, groups=2),
    "Conv1d, circular": nn.Conv1d(4, 6, 3, padding=1, padding_mode="circular"),
    "ConvTranspose1d": nn.ConvTranspose1d(4, 6, 3, 2),
    "AvgPool1d": nn.AvgPool1d(3, 2, 1),
    "MaxPool1d": nn.MaxPool1d(3, 2, 1),
    "AdaptiveAvgPool1d, AdaptiveMaxPool1d": nn.Sequential(nn.AdaptiveAvgPool1d(6), nn.AdaptiveMaxPool1d(3)),
    "BatchNorm1d": nn.BatchNorm1d(4),
    "Upsample": nn.Upsample(scale_factor=2),
    "interpolate, exactly": lambda x: F.interpolate(x, size=5, mode="nearest-exact"),
    "Upsample, linear": nn.Upsample(scale_factor=2, mode="linear"),
    "ReflectionPad1d, ReplicationPad1d": nn.Sequential(nn.ReflectionPad1d(1), nn.ReplicationPad1d(2)),
    "mean over time": lambda x: torch.relu(x).mean(2),
    "mean over channels": lambda x: x.mean(1),
    "Linear at every moment": nn.Sequential(nn.Linear(9, 3), nn.Flatten()),
    "transposed": lambda x: F.linear(x.transpose(1, 2), KERNEL[:, :, 0, 0].to(x)).sum(1),
}
CASES = {
    **{f"image: {name}": ((4, 8, 8), what) for name, what in ON_IMAGES.items()},
    **{f"vector: {name}": ((5,), what) for name, what in ON_VECTORS.items()},
    **{f"sequence: {name}": ((4, 9), what) for name, what in ON_SEQUENCES.items()},
}


class Called(nn.Module):
    """A function as a module, with a parameter that says which type of numbers it has."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.function(x)


def module(what):
    model = what if isinstance(what, nn.Module) else Called(what)
    torch.manual_seed(1)
    for part in model.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return model.eval().double()


def answer(model, x):
    with torch.no_grad():
        made = model(torch.from_numpy(x))
    return (made["answer"] if isinstance(made, dict) else made).numpy()


@pytest.mark.parametrize("case", CASES)
def test_operators_compute_what_pytorch_computes(case):
    shape, what = CASES[case]
    model = module(what)
    graph = from_torch(model, shape)
    # (Eighths are ties of quantisers.)
    x = np.round(np.random.default_rng(0).normal(size=(3, *shape)) * 8) / 8
    inner = graph.shape(0)
    run = graph.source(x.reshape(3, *inner))
    found = run.head(graph.evaluate(x.reshape(3, *inner))[graph.output])
    expected = answer(model, x)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-12)
    np.testing.assert_allclose(run.answer, expected, atol=1e-12)
    assert {seen.number for seen in run.seen} >= {graph.output} - {0}


# Those that other devices or versions have under these names; and a module needs more than the operator itself to be read by them.
ELSEWHERE = {
    "cudnn_batch_norm", "miopen_batch_norm", "native_batch_norm_legit", "native_batch_norm_legit_no_training", "linear", "relu6", "fix",
    "conv2d", "native_channel_shuffle",
}  # fmt: skip


class Stranger:
    """An operator as a later PyTorch may have it, with one more argument."""

    def __init__(self, function):
        unheard = SimpleNamespace(name="unheard_of", has_default_value=lambda: True, default_value=0, is_out=False)
        self._schema = SimpleNamespace(name=function._schema.name, arguments=[*function._schema.arguments, unheard])
        self.function = function

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)


def test_no_operator_drops_an_argument():
    """Each is called with one more, which none of them asks for. (Those that move numbers are done to tables by PyTorch itself.)"""
    covered = set()

    def operate(recording, function, arguments, name):
        operator = function._schema.name.removeprefix("aten::").strip("_")
        covered.add(operator)
        made = operators.operate(recording, function, arguments, name)
        if operators.OPERATORS[operator] not in (moves.move, moves.shape_only):
            with pytest.raises(es.ConversionError, match=r"with unheard_of = 7 is not understood"):
                operators.operate(recording, Stranger(function), arguments | {"unheard_of": 7}, name)
        return made

    for shape, what in CASES.values():
        model = module(what)
        recording, x = Recording(2, False), torch.rand(2, *shape, dtype=torch.float64)
        begin(recording, shape, x)
        with torch.no_grad(), Recorder(recording, model, operate).recording_modules():
            model(x)
    assert set(operators.OPERATORS) - covered - ELSEWHERE == set()


def test_arguments_that_are_known_are_understood_in_every_form():
    with pytest.raises(es.ConversionError, match="adds up values"):
        from_torch(Called(lambda x: torch.ops.aten.index_put(x, [None, torch.tensor([0, 0])], x[:, :2], True)), (3,))
    with pytest.raises(es.ConversionError, match="statistics of the batch"):
        from_torch(Called(lambda x: F.batch_norm(x, torch.zeros(3), torch.ones(3), training=True)), (3, 4, 4))
    with pytest.raises(es.ConversionError, match="draws random numbers"):
        from_torch(Called(F.dropout), (3,))


def levels(x):
    return torch.clamp(torch.floor(x * 4 + 0.5), 0, 7) / 4


@pytest.mark.parametrize(
    ("shape", "before", "after"),
    [
        ((1, 7, 6), lambda x: x.transpose(2, 3), nn.MaxPool2d(2)),
        ((1, 6, 8), lambda x: x.reshape(len(x), 1, 8, 6), nn.MaxPool2d(2)),
        ((2, 6, 8), lambda x: levels(x).reshape(len(x), 2, 8, 6), nn.MaxPool2d(2)),
        ((1, 7, 6), lambda x: F.pad(x.transpose(2, 3), (1, 0, 1, 1), "reflect"), nn.MaxPool2d(2, 1, 1)),
    ],
)
def test_maxima_of_what_lies_otherwise(shape, before, after):
    class Made(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.LazyLinear(3)

        def forward(self, x):
            return self.head(torch.flatten(levels(after(before(x))), 1))

    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = Made().eval()
        module(torch.rand(4, *shape))
    made = es.convert(module, input_shape=shape)
    pictures = np.random.default_rng(0).integers(0, 256, (4, *shape[1:], shape[0]), dtype=np.uint8)
    expected = module(torch.from_numpy(pictures.transpose(0, 3, 1, 2) / np.float32(255)))
    np.testing.assert_allclose(made.evaluate(pictures), expected.detach(), atol=1e-5)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("settings", [{}, {"per_channel": True}])
def test_paddings_with_a_deviation_a_channel(mode, settings):
    module = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, padding_mode=mode), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 4)).eval()
    pictures = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    mean, std = torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.25, 0.24, 0.26])
    made = es.convert(module, pictures, mean=mean.tolist(), std=std.tolist(), check=False, **settings)
    x = (torch.from_numpy(pictures / np.float32(255)) - mean) / std
    np.testing.assert_allclose(made.evaluate(pictures), module(x.permute(0, 3, 1, 2)).detach(), atol=1e-5)
