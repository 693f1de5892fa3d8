"""Operators with weights: convolutions and matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eventsim.conversion.operators.operator import Array, Operator, Shape, Values, Weights, check_weights
from eventsim.errors import ConversionError


@dataclass(frozen=True, eq=False)
class Convolution(Operator):
    """``y[o] = bias[o] + sum over i, u, v of weight[o, i, u, v] * x[i, Y * stride + u * dilation - top, ...]``, padded with zeros.

    With ``groups``, inputs and outputs are divided into so many ranges of channels, and each range of outputs takes its range of inputs
    only; as many groups as inputs are a depthwise convolution. Other paddings are a :class:`Pad` before it. A convolution in one dimension
    is one of a kernel of one row, on a value of one row (:meth:`Graph.in_one_row`).

    Attributes
    ----------
    weight : (outputs, inputs / groups, kernel rows, kernel columns)
    bias : (outputs,), optional
    stride, dilation : (rows, columns)
    padding : (top, left, bottom, right)
    groups : int
    """

    weight: Weights
    bias: Array | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def output_shape(self, *inputs: Shape) -> Shape:
        """(outputs, rows, columns)."""
        (shape,) = inputs
        check_weights(self.weight, self.bias, self.weight.shape[0])
        if self.weight.ndim != 4 or len(shape) != 3 or self.groups < 1 or self.weight.shape[1] * self.groups != shape[0]:
            groups = "" if self.groups == 1 else f" and {self.groups} groups"
            expected = shape[0] if self.groups == 1 else f"{shape[0]} / {self.groups}"
            raise ConversionError(
                f"a convolution with weights {self.weight.shape}{groups} on {shape}; expected (outputs, {expected}, rows, columns)"
            )
        if self.weight.shape[0] % self.groups:
            raise ConversionError(f"a convolution with {self.weight.shape[0]} outputs in {self.groups} groups of different sizes")
        check_steps(self.stride, self.padding, self.dilation)
        rows, cols = self.output_size((shape[1], shape[2]))
        if rows < 1 or cols < 1:
            raise ConversionError(f"a kernel {self.weight.shape[2:]} that is larger than its input {shape}")
        return self.weight.shape[0], rows, cols

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of its value; below 1 if the kernel does not fit."""
        reach = reach_of(self.weight.shape[2:], self.dilation)
        rows, cols = ((size[i] + self.padding[i] + self.padding[i + 2] - reach[i]) // self.stride[i] + 1 for i in (0, 1))
        return rows, cols

    def evaluate(self, *values: Values) -> Values:
        """(batch, outputs, rows, columns)."""
        (x,) = values
        outputs, inputs, kh, kw = self.weight.shape
        rows, cols = self.output_size((x.shape[2], x.shape[3]))
        top, left, bottom, right = self.padding
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        # (groups, outputs of each, inputs of each, rows, columns) and (batch, groups, inputs of each, rows, columns)
        weight = self.weight.astype(x.dtype).reshape(self.groups, outputs // self.groups, inputs, kh, kw)
        padded = padded.reshape(len(x), self.groups, inputs, *padded.shape[2:])
        made = np.zeros((len(x), self.groups, outputs // self.groups, rows, cols), x.dtype)
        for u in range(kh):
            for v in range(kw):
                down = slice(u * self.dilation[0], u * self.dilation[0] + (rows - 1) * self.stride[0] + 1, self.stride[0])
                across = slice(v * self.dilation[1], v * self.dilation[1] + (cols - 1) * self.stride[1] + 1, self.stride[1])
                made += np.einsum("ngiyx,goi->ngoyx", padded[:, :, :, down, across], weight[..., u, v], optimize=True)
        return with_bias(made.reshape(len(x), outputs, rows, cols), self.bias)


@dataclass(frozen=True, eq=False)
class TransposedConvolution(Operator):
    """The transpose of a convolution with the same weights, stride, padding and dilation: every input adds a kernel to the output.

    ``y[o, Y * stride + u * dilation - top, ...] += weight[i, o, u, v] * x[i, Y, X]``, plus ``bias[o]``

    Attributes
    ----------
    weight : (inputs, outputs / groups, kernel rows, kernel columns)
    bias : (outputs,), optional
    stride, dilation : (rows, columns)
    padding : (top, left, bottom, right)
        Rows and columns that are cut off.
    output_padding : (rows, columns)
        Rows and columns more at the end.
    groups : int
    """

    weight: Weights
    bias: Array | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    output_padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def output_shape(self, *inputs: Shape) -> Shape:
        """(outputs, rows, columns)."""
        (shape,) = inputs
        if self.weight.ndim != 4 or len(shape) != 3 or self.weight.shape[0] != shape[0] or self.groups < 1 or shape[0] % self.groups:
            raise ConversionError(
                f"a transposed convolution with weights {self.weight.shape} in {self.groups} groups on {shape}; "
                f"expected ({shape[0]}, outputs, rows, columns) and groups of equal sizes"
            )
        outputs = self.weight.shape[1] * self.groups
        check_weights(self.weight, self.bias, outputs)
        check_steps(self.stride, self.padding, self.dilation)
        if len(self.output_padding) != 2 or min(self.output_padding) < 0:
            raise ConversionError(f"an output padding {self.output_padding}; expected two numbers from 0")
        rows, cols = self.output_size((shape[1], shape[2]))
        if rows < 1 or cols < 1:
            raise ConversionError(f"a transposed convolution of {shape} whose padding {self.padding} leaves nothing")
        return outputs, rows, cols

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of its value; below 1 if the padding cuts all off."""
        reach = reach_of(self.weight.shape[2:], self.dilation)
        rows, cols = (
            (size[i] - 1) * self.stride[i] + reach[i] + self.output_padding[i] - self.padding[i] - self.padding[i + 2] for i in (0, 1)
        )
        return rows, cols

    def evaluate(self, *values: Values) -> Values:
        """(batch, outputs, rows, columns)."""
        (x,) = values
        inputs, outputs, kh, kw = self.weight.shape
        height, width = x.shape[2:]
        rows, cols = self.output_size((height, width))
        top, left, bottom, right = self.padding
        weight = self.weight.astype(x.dtype).reshape(self.groups, inputs // self.groups, outputs, kh, kw)
        grouped = x.reshape(len(x), self.groups, inputs // self.groups, height, width)
        whole = np.zeros((len(x), self.groups, outputs, top + rows + bottom, left + cols + right), x.dtype)
        for u in range(kh):
            for v in range(kw):
                down = slice(u * self.dilation[0], u * self.dilation[0] + (height - 1) * self.stride[0] + 1, self.stride[0])
                across = slice(v * self.dilation[1], v * self.dilation[1] + (width - 1) * self.stride[1] + 1, self.stride[1])
                whole[:, :, :, down, across] += np.einsum("ngiyx,gio->ngoyx", grouped, weight[..., u, v], optimize=True)
        made = whole[:, :, :, top : top + rows, left : left + cols]
        return with_bias(made.reshape(len(x), self.groups * outputs, rows, cols), self.bias)


@dataclass(frozen=True, eq=False)
class Linear(Operator):
    """``y = weight @ x + bias``; weight is (outputs, inputs), inputs numbered channel first."""

    weight: Weights
    bias: Array | None = None

    def output_shape(self, *inputs: Shape) -> Shape:
        """(outputs,)."""
        (shape,) = inputs
        check_weights(self.weight, self.bias, self.weight.shape[0])
        if self.weight.ndim != 2 or len(shape) != 1 or self.weight.shape[1] != shape[0]:
            raise ConversionError(f"a linear layer with weights {self.weight.shape} on {shape}; flatten its input first")
        return (self.weight.shape[0],)

    def evaluate(self, *values: Values) -> Values:
        """(batch, outputs)."""
        (x,) = values
        return with_bias(x @ self.weight.T.astype(x.dtype), self.bias)


def check_steps(stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...] = (1, 1)) -> None:
    """Raise ConversionError unless strides and dilations are two numbers from 1, and paddings four from 0."""
    if len(stride) != 2 or len(padding) != 4 or min(stride) < 1 or min(padding) < 0:
        raise ConversionError(f"a stride {stride} and padding {padding}; expected two numbers from 1 and four from 0")
    if len(dilation) != 2 or min(dilation) < 1:
        raise ConversionError(f"a dilation {dilation}; expected two numbers from 1")


def reach_of(kernel: tuple[int, ...], dilation: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns from a kernel's first tap to its last."""
    return (kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1


def with_bias(values: Values, bias: Array | None) -> Values:
    """A bias per output added to (batch, outputs, ...)."""
    return values if bias is None else values + bias.astype(values.dtype).reshape(-1, *[1] * (values.ndim - 2))
