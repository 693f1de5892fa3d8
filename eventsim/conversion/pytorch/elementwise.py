"""Operators on each number by itself: arithmetic with constants, sums, bounds, rounding, comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from eventsim.conversion.graph import Add, Clip, Floor, Operator, Round, Sign, Truncate
from eventsim.conversion.pytorch.call import Call, spread
from eventsim.conversion.pytorch.recording import Hidden, Made, Value


def one(operator: Operator) -> Callable[[Call], Made]:
    """What is the graph's operator."""
    return lambda call: call.add(operator, call.recording.node(call.value(), call.name))


def clamp(call: Call, low: str = "min", high: str = "max") -> Made:
    """Within bounds."""
    return _clip(call, call.number(low, -np.inf), call.number(high, np.inf))


def clamp_min(call: Call) -> Made:
    """Above a bound."""
    return _clip(call, call.number("min", -np.inf), np.inf)


def clamp_max(call: Call) -> Made:
    """Below a bound."""
    return _clip(call, -np.inf, call.number("max", np.inf))


def hardtanh(call: Call) -> Made:
    """Within bounds, by default -1..1."""
    return clamp(call, "min_val", "max_val")


def threshold(call: Call) -> Made:
    """What is not above a threshold becomes a number; that is a bound if they are equal."""
    bound, value = call.number("threshold", 0.0), call.number("value", 0.0)
    if bound != value:
        raise call.error(f"sets what is not above {bound:g} to {value:g}; only a bound ({bound:g} for both) is supported")
    return _clip(call, bound, np.inf)


def larger(call: Call) -> Made:
    """The larger of a value and a number."""
    value, number = _with_number(call)
    return call.add(Clip(number, np.inf), call.recording.node(value, call.name))


def smaller(call: Call) -> Made:
    """The smaller of a value and a number."""
    value, number = _with_number(call)
    return call.add(Clip(-np.inf, number), call.recording.node(value, call.name))


def _with_number(call: Call) -> tuple[Value, float]:
    first, second = ("self", "other") if isinstance(call.ask("self"), Value) else ("other", "self")
    if isinstance(call.ask(second), Value):
        raise call.error("the larger or smaller of two values has no spiking counterpart; a bound is one number")
    return call.value(first), call.number(second, 0.0)


def _clip(call: Call, low: float, high: float) -> Made:
    return call.add(Clip(low, high), call.recording.node(call.value(), call.name))


def ceil(call: Call) -> Made:
    """Up to a whole number."""
    made = call.recording.node(call.value(), call.name)
    return call.scale(call.add(Floor(), call.scale(made, -1.0)), -1.0)


def round_(call: Call) -> Made:
    """To the nearest whole number, or decimal."""
    step = 10.0 ** int(call.ask("decimals", 0))
    made = call.recording.node(call.value(), call.name)
    return call.scale(call.add(Round(), call.scale(made, step)), 1 / step)


def fake_quantize(call: Call) -> list[Made | Hidden]:
    """PyTorch's quantisers for training."""
    scale, zero = call.number("scale", 1.0), call.number("zero_point", 0.0)
    rounded = call.add(Round(), call.scale(call.recording.node(call.value(), call.name), 1 / scale))
    bounded = call.add(Clip(call.number("quant_min", 0.0) - zero, call.number("quant_max", 255.0) - zero), rounded)
    return [call.scale(bounded, scale), Hidden("takes what a quantiser has cut off")]


def cast(call: Call) -> Made | torch.Tensor:
    """Another type of numbers: integers lose what stands behind the point."""
    call.ignore("device", "layout", "pin_memory", "non_blocking", "memory_format")
    return casted(call, call.value(), call.ask("dtype"))


def casted(call: Call, value: Value, dtype: torch.dtype | None) -> Made | torch.Tensor:
    """A value in a type of numbers."""
    found = value.real.dtype
    if dtype is torch.bool and found is not torch.bool:
        raise call.error("whether a value is not zero has no spiking counterpart; compare it with a constant")
    if dtype is None or dtype.is_floating_point or not found.is_floating_point:
        return value.tokens
    return call.add(Truncate(), call.recording.node(value, call.name))


# Sums and products


def _both(call: Call, first: str = "self", second: str = "other") -> tuple[Any, Any]:
    """Two arguments; values as they are broadcast against each other."""
    a, b = call.ask(first), call.ask(second)
    shape = _shape(a, b)
    return (spread(a, shape) if isinstance(a, Value) else a), (spread(b, shape) if isinstance(b, Value) else b)


def _shape(*arguments: Any) -> tuple[int, ...]:
    """That to which arguments are broadcast."""
    return tuple(np.broadcast_shapes(*(tuple(x.shape) for x in arguments if isinstance(x, (Value, torch.Tensor)))))


def _total(call: Call, a: Any, b: Any, sign: float = 1.0) -> Made:
    """``a + sign * b``, one of which at least depends on the network's input."""
    recording = call.recording
    if isinstance(a, Value) and isinstance(b, Value):
        one, other = recording.node(a, call.name), recording.node(b, call.name)
        shapes = [call.graph.shape(made.number) for made in (one, other)]
        if shapes[0] != shapes[1] or not np.array_equal(one.places, other.places):
            one, other = recording.ordered(a, call.name), recording.ordered(b, call.name)
        other = call.scale(other, sign)
        return Made(call.graph.add(Add(), (one.number, other.number), call.name), one.places)
    if isinstance(a, Value):
        made = recording.node(a, call.name)
        return call.scale(made, 1.0, sign * recording.constant(made, b, a.shape, call.name))
    made = recording.node(b, call.name)
    return call.scale(made, sign, recording.constant(made, a, b.shape, call.name))


def add(call: Call) -> Made:
    """A sum."""
    return _total(call, *_both(call), float(call.ask("alpha", 1)))


def subtract(call: Call) -> Made:
    """A difference."""
    return _total(call, *_both(call), -float(call.ask("alpha", 1)))


def subtract_from(call: Call) -> Made:
    """A difference the other way round."""
    if call.ask("alpha", 1) != 1:
        raise call.error("a factor is not supported here; write the product out")
    a, b = _both(call)
    return _total(call, b, a, -1.0)


def negative(call: Call) -> Made:
    """With the other sign."""
    return call.scale(call.recording.node(call.value(), call.name), -1.0)


def multiply(call: Call) -> Made:
    """A product with a constant; or with whether the value itself is positive, which is ReLU."""
    a, b = _both(call)
    if isinstance(a, Value) and isinstance(b, Value):
        for value, condition in ((a, b), (b, a)):
            bound = _bound(call, condition, value)
            if bound is not None and bound[0] == 0 and bound[1]:
                return call.add(Clip(0.0, np.inf), call.recording.node(value, call.name))
        raise call.error("a product of two values that depend on the input (a gate, attention) has no spiking counterpart")
    value, constant = (a, b) if isinstance(a, Value) else (b, a)
    made = call.recording.node(value, call.name)
    return call.scale(made, call.recording.constant(made, constant, value.shape, call.name))


def divide(call: Call) -> Made:
    """A quotient with a constant, rounded if that is asked for."""
    return _quotient(call, call.ask("rounding_mode"))


def floor_divide(call: Call) -> Made:
    """A quotient with a constant, rounded down."""
    return _quotient(call, "floor")


def _quotient(call: Call, rounding: str | None) -> Made:
    a, b = _both(call)
    if not isinstance(a, Value) or isinstance(b, Value):
        raise call.error("only division by a constant has a spiking counterpart")
    made = call.recording.node(a, call.name)
    divisor = call.recording.constant(made, b, a.shape, call.name)
    if np.any(divisor == 0):
        raise call.error("a division by zero")
    made = call.scale(made, 1 / divisor)
    if rounding is None:
        return made
    return call.add(Floor() if rounding == "floor" else Truncate(), made)


# Comparisons: 1 and 0


def sign(call: Call) -> Made:
    """Zero stays zero."""
    return call.add(Sign(0.0), call.recording.node(call.value(), call.name))


def heaviside(call: Call) -> Made:
    """1 above zero, 0 below, and at zero what is said."""
    at_zero = call.number("values", 0.0)
    if at_zero not in (0.0, 0.5, 1.0):
        raise call.error(f"{at_zero:g} at zero; supported: 0, 0.5 and 1")
    made = call.add(Sign(2 * at_zero - 1), call.recording.node(call.value(), call.name))
    return call.scale(made, 0.5, 0.5)


def compare(zero: float, falls: bool = False) -> Callable[[Call], Made]:
    """1 where the first is above (with ``falls`` below) the second, and for ``zero`` = 1 (-1) where they are equal; else 0."""

    def comparison(call: Call) -> Made:
        a, b = _both(call)
        turned = falls
        if not isinstance(a, Value):
            a, b, turned = b, a, not falls
        # (That a constant is above a value is that the value is below it: equal numbers count as before.)
        ties = zero if turned == falls else -zero
        made = call.add(Sign(ties), _total(call, a, b, -1.0))
        made = call.scale(made, -0.5 if turned else 0.5, 0.5)
        if not isinstance(b, Value) and (not isinstance(b, torch.Tensor) or b.numel() == 1):
            call.recording.comparisons[made.number] = a.tokens, float(b), not turned
        return made

    return comparison


def opposite(call: Call) -> Made:
    """Not."""
    value = call.value()
    if value.real.dtype is not torch.bool:
        raise call.error("the bits of a number have no spiking counterpart")
    return call.scale(call.recording.node(value, call.name), -1.0, 1.0)


def _bound(call: Call, condition: Any, value: Any) -> tuple[float, bool] | None:
    """If a condition is whether a value is above (True) or below a number: that number."""
    made = call.recording.whole(condition) if isinstance(condition, Value) else None
    known = None if made is None else call.recording.comparisons.get(made.number)
    if known is None or not isinstance(value, Value) or not torch.equal(known[0], value.tokens):
        return None
    return known[1], known[2]


def where(call: Call) -> Made | torch.Tensor:
    """A choice between two."""
    return _chosen(call, call.ask("condition"), call.ask("self"), call.ask("other"))


def masked_fill(call: Call) -> Made | torch.Tensor:
    """A constant where a condition holds."""
    return _chosen(call, call.ask("mask"), call.ask("value"), call.ask("self"))


def _chosen(call: Call, condition: Any, yes: Any, no: Any) -> Made | torch.Tensor:
    shape = _shape(condition, yes, no)
    if not isinstance(condition, Value):
        # Which numbers are taken does not depend on the input.
        constant = torch.full(shape, -1.0, dtype=torch.float64)
        first, second = (spread(x, shape).tokens if isinstance(x, Value) else constant for x in (yes, no))
        return torch.where(condition.cpu(), first, second)
    if not isinstance(yes, Value) and not isinstance(no, Value):
        made = call.recording.node(spread(condition, shape), call.name)
        upper, lower = (call.recording.constant(made, x, shape, call.name) for x in (yes, no))
        return call.scale(made, upper - lower, lower)
    for value, other, above in ((yes, no, True), (no, yes, False)):
        bound = _bound(call, condition, value)
        if bound is not None and not isinstance(other, Value) and float(other) == bound[0]:
            low, high = (bound[0], np.inf) if bound[1] == above else (-np.inf, bound[0])
            return call.add(Clip(low, high), call.recording.node(value, call.name))
    raise call.error("a choice between values that depend on the input has no spiking counterpart, but for bounds such as ReLU's")
