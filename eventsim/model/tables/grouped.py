"""A convolution in groups of channels, with dilation, or between some channels only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from eventsim.errors import NetworkError
from eventsim.model.limits import MAX_FUSED_WEIGHTS, MAX_LISTED_SYNAPSES, MAX_NEURONS
from eventsim.model.tables.geometry import Axis, Rows, Stencil, check_pairs, pair, spatial, summed
from eventsim.model.tables.storage import check_members, read_weights
from eventsim.model.tables.table import Table
from eventsim.model.tables.weights import integer_weights, product_dtype
from eventsim.model.values import IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup

# Weights that compiled code takes at a time.
_VECTOR = 32


@dataclass(frozen=True, eq=False, repr=False)
class GroupedConv2d(Table):
    """A two-dimensional convolution of which each range of outputs takes its own range of inputs, zero-padded.

    With ``per = outputs / groups`` and ``each = inputs / groups``, output o of the convolution is

    ``sum over ky, kx, i of weights[ky, kx, i, o] * input[Y*stride + ky*dilation - top, X*stride + kx*dilation - left, c]``
    with ``c = (o // per) * each + i``.

    Its inputs are the channels ``sources`` of the source, its outputs the channels ``targets`` of the target; other channels have no
    synapses. As many groups as inputs are a depthwise convolution; one group is a plain one, dilated or between some channels.

    It is run as a stencil, unless the outputs of a group lie elsewhere than side by side, in their order: then from a list of all synapses,
    of which there is a limit.

    Parameters
    ----------
    weights : array_like of int, shape (kernel height, kernel width, inputs / groups, outputs)
    groups : int
    stride, dilation : int or (int, int)
    padding : int, (rows, columns) or (top, left, bottom, right)
    pool_before : int or (int, int)
        Sums the source over windows before the convolution; 1 is no pooling. An incomplete window at the end is dropped.
    sources : array_like of int, shape (inputs,), optional
        Channels of the source, each another one. Default: the first ones, in their order.
    targets : array_like of int, shape (outputs,), optional
        Channels of the target, each another one. Default: the first ones, in their order.
    channels : int, optional
        Of the target. Default: as many as outputs.

    Raises
    ------
    NetworkError
        Weights that are not integers or not four-dimensional, settings out of range.
    """

    weights: IntArray
    groups: int = 1
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    pool_before: Any = 1
    sources: Any = None
    targets: Any = None
    channels: int | None = None

    def __post_init__(self) -> None:
        weights = integer_weights(self.weights, "grouped_conv2d")
        if weights.ndim != 4 or 0 in weights.shape:
            raise NetworkError(
                f"grouped_conv2d: weights must be (kernel height, kernel width, inputs / groups, outputs), found {weights.shape}"
            )
        groups = _count(self.groups, "groups", 1)
        if weights.shape[3] % groups:
            raise NetworkError(f"grouped_conv2d: {weights.shape[3]} outputs cannot be divided into {groups} groups of one size")
        for name in ("stride", "dilation", "pool_before"):
            object.__setattr__(self, name, pair(getattr(self, name), f"grouped_conv2d: {name}", 1))
        padding = self.padding
        if isinstance(padding, (tuple, list, np.ndarray)) and len(padding) == 4:
            padding = pair(padding[:2], "grouped_conv2d: padding", 0) + pair(padding[2:], "grouped_conv2d: padding", 0)
        else:
            padding = pair(padding, "grouped_conv2d: padding", 0) * 2
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "groups", groups)
        object.__setattr__(self, "padding", padding)
        if any(padding[i] >= self.reach[i % 2] for i in range(4)):
            raise NetworkError(f"grouped_conv2d: padding {padding} must be smaller than the kernel, dilated {self.reach}")
        outputs = weights.shape[3]
        channels = outputs if self.channels is None else _count(self.channels, "channels", outputs)
        object.__setattr__(self, "channels", channels)
        object.__setattr__(self, "sources", _channels(self.sources, weights.shape[2] * groups, MAX_NEURONS, "sources"))
        object.__setattr__(self, "targets", _channels(self.targets, outputs, channels, "targets"))

    kind = "grouped_conv2d"
    all_to_all = False

    @property
    def form(self) -> Literal["stencil", "rows"]:
        """A stencil if the outputs of each group are neighbouring channels of the target, in their order."""
        return "stencil" if np.all(np.diff(self.targets.reshape(self.groups, -1)) == 1) else "rows"

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns from the first tap to the last."""
        height, width = self.weights.shape[:2]
        return (height - 1) * self.dilation[0] + 1, (width - 1) * self.dilation[1] + 1

    @property
    def stored_bytes(self) -> int:
        """Bytes that the table takes: those of its weights, and of the channels that it joins."""
        return super().stored_bytes + 4 * (len(self.sources) + len(self.targets))

    def output_shape(self, source_shape: Shape) -> Shape:
        """Shape of the target population.

        Raises
        ------
        NetworkError
            The source has fewer channels than the table takes, or is too small for kernel and pooling.
        """
        height, width, channels = spatial(source_shape)
        if channels <= self.sources.max():
            raise NetworkError(f"grouped_conv2d: takes channel {self.sources.max()}, the source has {channels} channels")
        size = height // self.pool_before[0], width // self.pool_before[1]
        rows, cols = (
            (size[i] + self.padding[i] + self.padding[i + 2] - self.reach[i]) // self.stride[i] + 1 if size[i] else 0 for i in (0, 1)
        )
        if rows < 1 or cols < 1:
            raise NetworkError(f"grouped_conv2d: a source of {height}x{width} is too small for this kernel, padding and pooling")
        assert self.channels is not None
        return rows, cols, self.channels

    def check(self, source_shape: Shape, target_shape: Shape) -> None:
        """Raise NetworkError if the table cannot join populations of these shapes."""
        expected = self.output_shape(source_shape)
        if spatial(expected) != spatial(target_shape) and expected != target_shape:
            raise NetworkError(f"grouped_conv2d: makes {expected} from {source_shape}, but the target has shape {target_shape}")
        for i in (0, 1):
            check_pairs("grouped_conv2d", max(spatial(source_shape)[i], spatial(target_shape)[i]), self.weights.shape[i])
        if self.form == "stencil":
            self._check_stencil(spatial(source_shape)[2])
            return
        rows, columns = self._axis(0, source_shape, target_shape), self._axis(1, source_shape, target_shape)
        count = len(rows[0]) * len(columns[0]) * self.weights.shape[2] * self.weights.shape[3]
        if count > MAX_LISTED_SYNAPSES:
            raise NetworkError(
                f"grouped_conv2d: has {count} synapses, which are listed, and the limit is {MAX_LISTED_SYNAPSES}; "
                "outputs of a group that are neighbouring channels of the target, in their order, need no list"
            )

    def _check_stencil(self, channels: int) -> None:
        """Raise NetworkError if compiled code would take too many weights, those of all channels of the source, in vectors."""
        kh, kw, each, outputs = self.weights.shape
        if self.groups == 1 and each == channels:
            return  # they are those of the table
        size = kh * kw * channels * -(-(outputs // self.groups) // _VECTOR) * _VECTOR
        if size > MAX_FUSED_WEIGHTS:
            raise NetworkError(
                f"grouped_conv2d: makes a stencil of {size} weights for {channels} channels of the source, "
                f"the limit is {MAX_FUSED_WEIGHTS}; list its synapses (sparse)"
            )

    def _axis(self, i: int, source_shape: Shape, target_shape: Shape) -> tuple[IntArray, IntArray, IntArray]:
        """Which positions are joined along an axis: of the source, of the target, and the tap."""
        size, outputs, window = spatial(source_shape)[i], spatial(target_shape)[i], self.pool_before[i]
        taps = self.weights.shape[i]
        seen = np.arange(outputs)[:, None] * self.stride[i] + np.arange(taps) * self.dilation[i] - self.padding[i]
        target, tap = np.nonzero((seen >= 0) & (seen < size // window))
        source = seen[target, tap][:, None] * window + np.arange(min(window, size))
        return source.ravel(), np.repeat(target, source.shape[1]), np.repeat(tap, source.shape[1])

    def _pairs(self, source_shape: Shape, target_shape: Shape) -> tuple[IntArray, IntArray, IntArray]:
        """All pairs of locations that are joined: source location, target location and tap, ascending."""
        (y, out_y, ky), (x, out_x, kx) = (self._axis(i, source_shape, target_shape) for i in (0, 1))
        source = np.add.outer(y * spatial(source_shape)[1], x).ravel()
        target = np.add.outer(out_y * spatial(target_shape)[1], out_x).ravel()
        tap = np.add.outer(ky * self.weights.shape[1], kx).ravel()
        order = np.lexsort((target, source))
        return source[order], target[order], tap[order]

    def to_stencil(self, source_shape: Shape, target_shape: Shape) -> Stencil | None:
        """For compiled code, as a stencil; None if :attr:`form` is rows."""
        if self.form == "rows":
            return None
        kh, kw, each, outputs = self.weights.shape
        per, channels = outputs // self.groups, spatial(source_shape)[2]
        begins = np.full(channels, -1)
        begins[self.sources] = np.repeat(self.targets[::per], each)
        weights = np.zeros((kh, kw, channels, per), self.weights.dtype)
        of_inputs = self.weights.reshape(kh, kw, each, self.groups, per).transpose(0, 1, 3, 2, 4)
        weights[:, :, self.sources] = of_inputs.reshape(kh, kw, each * self.groups, per)
        rows, columns = self._reach(0, source_shape, target_shape), self._reach(1, source_shape, target_shape)
        return Stencil(weights, rows, columns, spatial(target_shape), begins)

    def _reach(self, i: int, source_shape: Shape, target_shape: Shape) -> Axis:
        """The reach of source rows (0), or columns (1)."""
        source, target, tap = self._axis(i, source_shape, target_shape)
        size, common = spatial(source_shape)[i], math.gcd(self.stride[i], self.dilation[i])
        synapses, (first, tap_of_first) = np.bincount(source, minlength=size), np.zeros((2, size), np.int32)
        # Target positions ascend: of each source position the first one counts.
        reached, place = np.unique(source, return_index=True)
        first[reached], tap_of_first[reached] = target[place], tap[place]
        several = bool(np.any(synapses > 1))
        return Axis(
            first=first,
            count=synapses.astype(np.int32),
            tap=tap_of_first,
            synapses=synapses,
            toolbox=synapses,
            kernel=self.weights.shape[i],
            stride=self.stride[i] // common if several else 1,
            step=self.dilation[i] // common if several else 1,
        )

    def to_rows(self, source_shape: Shape, target_shape: Shape) -> Rows | None:
        """For compiled code, as compressed sparse rows; None if :attr:`form` is a stencil."""
        if self.form == "stencil":
            return None
        source, target, tap = self._pairs(source_shape, target_shape)
        each, outputs = self.weights.shape[2:]
        per = outputs // self.groups
        channels, target_channels = spatial(source_shape)[2], spatial(target_shape)[2]
        indptr = np.concatenate(([0], np.cumsum(self.fan_out(source_shape, target_shape))))
        targets, weights = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], self.weights.dtype)
        # Where among those of its source location a pair stands.
        begins = np.concatenate(([0], np.cumsum(np.bincount(source, minlength=math.prod(spatial(source_shape)[:2])))))
        rank = np.arange(len(source)) - begins[source]
        flat = self.weights.reshape(-1, each, outputs)
        for k, channel in enumerate(self.sources):
            group, i = divmod(k, each)
            members = group * per + np.argsort(self.targets[group * per : (group + 1) * per])
            place = np.add.outer(indptr[source * channels + channel] + rank * per, np.arange(per))
            targets[place] = np.add.outer(target * target_channels, self.targets[members])
            weights[place] = flat[tap, i][:, members]
        return Rows(indptr, targets, weights)

    def synapses_from(self, neuron: int, source_shape: Shape, target_shape: Shape) -> Iterator[tuple[int, int]]:
        """Every synapse (target neuron, weight) of one source neuron, straight from the equation."""
        height, width, channels = spatial(source_shape)
        out_h, out_w, target_channels = spatial(target_shape)
        location, channel = divmod(neuron, channels)
        y, x = divmod(location, width)
        y, x = y // self.pool_before[0], x // self.pool_before[1]
        found = np.flatnonzero(self.sources == channel)
        if not len(found) or y >= height // self.pool_before[0] or x >= width // self.pool_before[1]:
            return
        kh, kw, each, outputs = self.weights.shape
        group, i = divmod(int(found[0]), each)
        per = outputs // self.groups
        for out_y in range(out_h):
            ky, above = divmod(y + self.padding[0] - out_y * self.stride[0], self.dilation[0])
            for out_x in range(out_w):
                kx, aside = divmod(x + self.padding[1] - out_x * self.stride[1], self.dilation[1])
                if above or aside or not (0 <= ky < kh and 0 <= kx < kw):
                    continue
                for o in range(group * per, (group + 1) * per):
                    yield (out_y * out_w + out_x) * target_channels + int(self.targets[o]), int(self.weights[ky, kx, i, o])

    def fan_out(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Synapses of each source neuron, borders exact: int64 (source neurons,)."""
        rows, columns = (np.bincount(self._axis(i, source_shape, target_shape)[0], minlength=spatial(source_shape)[i]) for i in (0, 1))
        per_channel = np.zeros(spatial(source_shape)[2], np.int64)
        per_channel[self.sources] = self.weights.shape[3] // self.groups
        return np.multiply.outer(np.outer(rows, columns).ravel(), per_channel).ravel().astype(np.int64)

    # Nothing is fused, and the toolbox has no formula for such layers.
    additions = fan_out
    toolbox_fan_out = fan_out

    def effective_fan_out(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Synapses of each source neuron whose weight is not zero: int64 (source neurons,)."""
        rows, columns = (np.zeros((spatial(source_shape)[i], self.weights.shape[i]), np.int64) for i in (0, 1))
        for i, reached in enumerate((rows, columns)):
            source, _, tap = self._axis(i, source_shape, target_shape)
            np.add.at(reached, (source, tap), 1)
        kh, kw, each, outputs = self.weights.shape
        taps = np.count_nonzero(self.weights.reshape(kh, kw, each, self.groups, outputs // self.groups), axis=4)
        made = np.zeros(spatial(source_shape), np.int64)
        made[..., self.sources] = np.einsum("yk,xl,klig->yxgi", rows, columns, taps, optimize=True).reshape(len(rows), len(columns), -1)
        return made.ravel()

    def macs(self, source_shape: Shape, target_shape: Shape) -> int:
        """Multiply-accumulates of the dense source layer, padding included as usual."""
        return spatial(target_shape)[0] * spatial(target_shape)[1] * int(self.weights.size)

    def apply(self, values: IntArray, target_shape: Shape) -> IntArray:
        """The table's exact integer output for dense source values: int64, flat (see :meth:`Conv2d.apply`)."""
        x = summed(np.asarray(values, np.int64).reshape(spatial(values.shape)), self.pool_before)[..., self.sources]
        top, left, bottom, right = self.padding
        x = np.pad(x, ((top, bottom), (left, right), (0, 0)))
        rows, cols, channels = spatial(target_shape)
        kh, kw, each, outputs = self.weights.shape
        dtype = product_dtype(x, self.weights)
        x = x.astype(dtype)
        weights: IntArray = self.weights.astype(dtype).reshape(kh, kw, each, self.groups, -1).transpose(0, 1, 3, 2, 4)
        made = np.zeros((self.groups, rows * cols, outputs // self.groups), dtype)
        for ky in range(kh):
            for kx in range(kw):
                down = slice(ky * self.dilation[0], ky * self.dilation[0] + (rows - 1) * self.stride[0] + 1, self.stride[0])
                across = slice(kx * self.dilation[1], kx * self.dilation[1] + (cols - 1) * self.stride[1] + 1, self.stride[1])
                window = x[down, across].reshape(rows * cols, self.groups, each)
                made += window.transpose(1, 0, 2) @ weights[ky, kx]
        whole = np.zeros((rows * cols, channels), np.int64)
        whole[:, self.targets] = made.transpose(1, 0, 2).reshape(rows * cols, outputs).astype(np.int64)
        return whole.ravel()

    def scaled(self, gain: IntArray) -> GroupedConv2d:
        """The table with the weights of each source channel times an integer: int64 (channels,)."""
        each, outputs = self.weights.shape[2:]
        of_inputs = np.repeat(np.asarray(gain, np.int64)[self.sources].reshape(self.groups, each).T, outputs // self.groups, 1)
        weights = np.multiply(self.weights, of_inputs, dtype=np.int64)
        return GroupedConv2d(
            weights, self.groups, self.stride, self.padding, self.dilation, self.pool_before, self.sources, self.targets, self.channels
        )

    def write(self, group: NewGroup) -> None:
        """Write everything but the kind and the weights; see :meth:`Table.write`."""
        group.attributes(shape=self.weights.shape, groups=self.groups, pool_before=self.pool_before, channels=int(self.channels or 0))
        group.attributes(stride=self.stride, padding=self.padding, dilation=self.dilation)
        group.dataset("sources", np.asarray(self.sources, "<i4"))
        group.dataset("targets", np.asarray(self.targets, "<i4"))

    @classmethod
    def read(cls, group: StoredGroup, source_shape: Shape) -> GroupedConv2d:
        """Read it from a file that may come from anywhere; see :meth:`Table.read`."""
        names = "shape", "groups", "stride", "padding", "dilation", "pool_before", "channels"
        check_members(group, names, ("sources", "targets"))
        shape, groups = group.integers("shape", (4,), 1), group.integer("groups", 1, MAX_NEURONS)
        stride, padding, dilation = (
            group.integers("stride", (2,), 1),
            group.integers("padding", (4,), 0),
            group.integers("dilation", (2,), 1),
        )
        pool_before, channels = group.integers("pool_before", (2,), 1), group.integer("channels", 1, MAX_NEURONS)
        sources = group.array("sources", ("int32",), [(shape[2] * groups,)])
        targets = group.array("targets", ("int32",), [(shape[3],)])
        return cls(read_weights(group, shape), groups, stride, padding, dilation, pool_before, sources, targets, channels)


def _count(value: Any, what: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= MAX_NEURONS:
        raise NetworkError(f"grouped_conv2d: {what} must be a whole number from {least} on, found {value!r}")
    return int(value)


def _channels(values: Any, count: int, most: int, what: str) -> IntArray:
    """Numbers of channels below ``most``, each another one; by default the first ones."""
    channels = np.arange(count) if values is None else np.asarray(values)
    if channels.shape != (count,) or channels.dtype.kind not in "iu":
        raise NetworkError(f"grouped_conv2d: {what} must be {count} channels, found {channels.dtype} of shape {channels.shape}")
    if len(np.unique(channels)) != count or channels.min() < 0 or channels.max() >= most:
        raise NetworkError(f"grouped_conv2d: {what} must be different channels of 0..{most - 1}")
    return channels.astype(np.int64)
