"""Where the windows of convolutions and pools lie: strides, paddings and dilations, in numbers or by a rule."""

from __future__ import annotations

from dataclasses import dataclass

from eventsim.conversion.onnx.call import Call
from eventsim.conversion.onnx.values import Places, Value

Pair = tuple[int, int]
Sides = tuple[int, int, int, int]


@dataclass(frozen=True)
class Windows:
    """In rows and columns; a signal of one dimension is an image of one row.

    Attributes
    ----------
    size, stride, dilation : (rows, columns)
    padding : (top, left, bottom, right)
    image : (rows, columns)
        Of what they lie in.
    ceil : bool
        A last window that is not whole counts.
    """

    size: Pair
    stride: Pair
    dilation: Pair
    padding: Sides
    image: Pair
    ceil: bool

    @property
    def reach(self) -> Pair:
        """Rows and columns from the first cell of a window to its last."""
        rows, columns = ((self.size[i] - 1) * self.dilation[i] + 1 for i in (0, 1))
        return rows, columns

    def with_last(self) -> Sides:
        """Padding with which a last window that is not whole counts, unless it begins in the padding behind the image."""
        if not self.ceil:
            return self.padding
        ends = list(self.padding[2:])
        for i in (0, 1):
            size, front, back, step, reach = self.image[i], self.padding[i], self.padding[i + 2], self.stride[i], self.reach[i]
            last = -((size + front + back - reach) // -step) * step
            if last >= size + front:
                last -= step
            ends[i] = max(back, last + reach - size - front)
        return self.padding[0], self.padding[1], ends[0], ends[1]


def image_of(call: Call, value: Value) -> tuple[int, Places]:
    """The node of an image (channels, rows, columns), or of a signal as an image of one row; and the places of one image in it."""
    places = call.images(value)
    if places.ndim not in (2, 3):
        raise call.error(
            f"a value of shape {value.shape}; supported: images (batch, channels, height, width) and (batch, channels, length)"
        )
    image = places[:, None, :] if places.ndim == 2 else places
    return call.node_of(value, image), places


def of_image(call: Call, number: int, rank: int) -> Value:
    """The tensor of an image's node: without rows, where the operator is one of signals (rank 2, as the places of one image have)."""
    shape = call.graph.shape(number)
    return call.laid_out(number, (shape[0], shape[2]) if rank == 2 else shape, 0)


def windows(call: Call, size: tuple[int, ...], image: tuple[int, ...], ceil: bool = False) -> Windows:
    """Read ``strides``, ``dilations``, ``pads`` and ``auto_pad`` of windows of a size in an image of (height, width) or (length,)."""
    rank = len(size)
    if rank not in (1, 2) or len(image) != rank:
        raise call.error(f"windows {size} in images {image}; expected one or two numbers each")
    stride = _numbers(call, "strides", (1,) * rank)
    dilation = _numbers(call, "dilations", (1,) * rank)
    pads = given = _numbers(call, "pads", (0,) * 2 * rank)
    rule = call.attribute("auto_pad", "NOTSET")
    if rule in ("SAME_UPPER", "SAME_LOWER"):
        ends = [same(rule, n, (k - 1) * d + 1, s) for n, k, d, s in zip(image, size, dilation, stride, strict=True)]
        pads = (*(end[0] for end in ends), *(end[1] for end in ends))
    elif rule == "VALID":
        pads = (0,) * 2 * rank
    elif rule != "NOTSET":
        raise call.error(f"auto_pad {rule}")
    if rule != "NOTSET" and any(given):
        raise call.error(f"pads {given} and auto_pad {rule}, which contradict each other")
    if len(stride) != rank or len(dilation) != rank or len(pads) != 2 * rank:
        raise call.error(f"strides {stride}, dilations {dilation} and pads {pads} for windows {size}")
    if min(*stride, *dilation, *size) < 1 or min(pads) < 0:
        raise call.error(f"windows {size} with strides {stride}, dilations {dilation} and pads {pads}")
    # A rule makes as many windows as there are with it, whole or not.
    ceil = ceil and rule == "NOTSET"
    if rank == 1:
        size, stride, dilation, pads, image = (1, *size), (1, *stride), (1, *dilation), (0, pads[0], 0, pads[1]), (1, *image)
    sides = (pads[0], pads[1], pads[2], pads[3])
    return Windows((size[0], size[1]), (stride[0], stride[1]), (dilation[0], dilation[1]), sides, (image[0], image[1]), ceil)


def same(rule: str, size: int, reach: int, stride: int) -> Pair:
    """Padding before and behind with which there are as many windows as strides that fit, rounded up."""
    if stride < 1:
        return 0, 0
    total = max((-(size // -stride) - 1) * stride + reach - size, 0)
    least, most = total // 2, total - total // 2
    return (least, most) if rule == "SAME_UPPER" else (most, least)


def _numbers(call: Call, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(n) for n in call.attribute(name) or default)
