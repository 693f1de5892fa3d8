"""Operators of ONNX as its specification has them, where onnx's own reference computes something else or nothing.

Imported where it is used, since the onnx package may not be installed.
"""

from __future__ import annotations

import numpy as np
from onnx.reference.op_run import OpRun


class BatchNormalization(OpRun):
    """With the statistics in the file; onnx's own mixes in those of the batch in opsets 9 to 13, wherever there is a momentum."""

    op_domain = ""

    def _run(self, x, scale, bias, mean, variance, epsilon=1e-5, momentum=0.9, training_mode=0, spatial=1, is_test=1):  # type: ignore[no-untyped-def]
        if training_mode or not spatial or not is_test:
            raise ValueError("a batch normalisation in training mode")
        along = (-1, *[1] * (x.ndim - 2))
        scale, bias, mean, variance = (values.reshape(along) for values in (scale, bias, mean, variance))
        return ((scale * (x - mean) / np.sqrt(variance + x.dtype.type(epsilon)) + bias).astype(x.dtype),)


class ConvTranspose(OpRun):
    """Every input adds a kernel to the output; onnx's own knows neither dilations in groups nor the size of the output."""

    op_domain = ""

    def _run(self, x, weight, bias=None, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, output_padding=None, **more):  # type: ignore[no-untyped-def]
        rank = x.ndim - 2
        stride, dilation, extra = (np.array(v or [d] * rank) for v, d in ((more.get("strides"), 1), (dilations, 1), (output_padding, 0)))
        reach = (np.array(weight.shape[2:]) - 1) * dilation + 1
        whole = stride * (np.array(x.shape[2:]) - 1) + extra + reach
        wanted, pads = more.get("output_shape"), np.array(more.get("pads") or [0] * 2 * rank)
        if wanted or auto_pad.startswith("SAME"):
            cut = whole - (np.array(wanted[-rank:]) if wanted else np.array(x.shape[2:]) * stride)
            front = cut // 2 if auto_pad == "SAME_UPPER" else cut - cut // 2
            pads = np.concatenate([front, cut - front])
        elif auto_pad == "VALID":
            pads = np.zeros(2 * rank, int)
        inputs, outputs = weight.shape[0] // group, weight.shape[1]
        made = np.zeros((len(x), outputs * group, *whole), x.dtype)
        for at in np.ndindex(*x.shape[2:]):
            for g in range(group):
                kernels = np.tensordot(x[(slice(None), slice(g * inputs, (g + 1) * inputs), *at)], weight[g * inputs : (g + 1) * inputs], 1)
                cells = tuple(slice(n * s, n * s + r, d) for n, s, r, d in zip(at, stride, reach, dilation, strict=True))
                made[(slice(None), slice(g * outputs, (g + 1) * outputs), *cells)] += kernels
        made = made[(slice(None), slice(None), *(slice(a, n - b) for a, b, n in zip(pads[:rank], pads[rank:], whole, strict=True)))]
        return (made if bias is None else made + bias.reshape(-1, *[1] * rank),)


class DequantizeLinear(OpRun):
    """As onnx's own, which has none for opsets before 19."""

    op_domain = ""

    def _run(self, x, scale, zero=None, axis=1, block_size=0, output_dtype=None):  # type: ignore[no-untyped-def]
        if block_size:
            raise ValueError("scales of blocks")
        along = [1] * x.ndim
        if scale.size > 1:
            along[axis] = scale.size
        zero = np.zeros_like(scale) if zero is None else zero
        return (((x.astype(np.float32) - zero.astype(np.float32).reshape(along)) * scale.reshape(along)).astype(scale.dtype),)


class Upsample(OpRun):
    """Nearest, of opsets before 10, which onnx's own has left out."""

    op_domain = ""

    def _run(self, x, scales=None, mode="nearest"):  # type: ignore[no-untyped-def]
        if mode != "nearest":
            raise ValueError(f"mode {mode}")
        for axis, factor in enumerate(scales):
            # Of every number of the output, the one of the input that it lies on.
            x = np.stack([x.take(int(i // factor), axis) for i in range(int(x.shape[axis] * factor))], axis)
        return (x,)


class _Pool(OpRun):
    """Windows of an image in any number of dimensions; onnx's own moves those of ``ceil_mode`` when more than a cell is missing."""

    op_domain = ""

    def _pooled(self, x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides, reduce):  # type: ignore[no-untyped-def]
        rank = x.ndim - 2
        size, image = np.array(kernel_shape), np.array(x.shape[2:])
        stride, dilation = np.array(strides or [1] * rank), np.array(dilations or [1] * rank)
        reach = (size - 1) * dilation + 1
        front, back = np.array(pads or [0] * 2 * rank).reshape(2, rank)
        if auto_pad.startswith("SAME"):
            count = -(-image // stride)
            total = np.maximum((count - 1) * stride + reach - image, 0)
            front = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            back = total - front
        elif auto_pad == "VALID":
            front = back = np.zeros(rank, int)
        span = image + front + back - reach
        count = span // stride + 1
        if ceil_mode and auto_pad == "NOTSET":
            count = -(-span // stride) + 1
            count -= (count - 1) * stride >= image + front
        y = np.empty((*x.shape[:2], *count), x.dtype)
        for at in np.ndindex(*count):
            cells = [np.arange(k) * d + n * s - f for k, d, n, s, f in zip(size, dilation, at, stride, front, strict=True)]
            inside = [along[(along >= 0) & (along < n)] for along, n in zip(cells, image, strict=True)]
            padded = [along < n + b for along, n, b in zip(cells, image, back, strict=True)]
            window = x[(slice(None), slice(None), *np.ix_(*inside))]
            y[(slice(None), slice(None), *at)] = reduce(window, tuple(range(2, 2 + rank)), int(np.prod([np.sum(p) for p in padded])))
        return (y,)


class MaxPool(_Pool):
    """Largest values."""

    def _run(self, x, auto_pad="NOTSET", ceil_mode=0, dilations=None, kernel_shape=None, pads=None, storage_order=0, strides=None):  # type: ignore[no-untyped-def]
        return self._pooled(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides, lambda window, axes, cells: window.max(axes))


class AveragePool(_Pool):
    """Means, over the cells of the image or also over those of its padding."""

    def _run(  # type: ignore[no-untyped-def]
        self, x, auto_pad="NOTSET", ceil_mode=0, count_include_pad=0, dilations=None, kernel_shape=None, pads=None, strides=None
    ):
        def mean(window, axes, cells):  # type: ignore[no-untyped-def]
            return window.sum(axes) / (cells if count_include_pad else np.prod([window.shape[axis] for axis in axes]))

        return self._pooled(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides, mean)


MENDED: list[type[OpRun]] = [AveragePool, BatchNormalization, ConvTranspose, DequantizeLinear, MaxPool, Upsample]
