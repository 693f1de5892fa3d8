"""Activations under construction: which operators in a row are one activation, however a framework writes it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eventsim.conversion import operators as g
from eventsim.conversion.layers import rounded
from eventsim.conversion.signals import Form, Signal, scaled
from eventsim.conversion.terms import Array
from eventsim.errors import ConversionError

Rounding = g.Floor | g.Round | g.Truncate
# Bounds from here on are none: exporters write the largest float32 for no bound.
_NO_BOUND = 1e18


def joined(signal: Signal, op: g.Clip | Rounding | g.Sign, number: int) -> Signal | None:
    """A signal under an activation that goes on with an operator, node ``number``; None if the activation has to be a population first.

    A :class:`~eventsim.conversion.operators.Round` is that of a value to which a half has been added already: a floor but for ties.
    """
    form = signal.form
    if form is None:
        return replace(signal, form=_begun(op, number))
    if form.sign or isinstance(op, g.Sign):
        found = _sign_of(form, op, number)
        if found is not None:
            return replace(signal, form=found) if form.sign else _behind_bound(signal, found)
    if isinstance(op, g.Clip):
        clipped = _clipped(form, op, number)
        return None if clipped is None else replace(signal, form=clipped)
    if isinstance(op, (g.Floor, g.Round, g.Truncate)):
        found = _rounded(form, op, number)
        return None if found is None else _behind_bound(signal, found)
    return None


def _begun(op: g.Clip | Rounding | g.Sign, number: int) -> Form:
    if isinstance(op, g.Sign):
        return Form(number, low=0, high=1, sign=True, zero=op.zero, factor=2.0, shift=-1.0)
    if isinstance(op, g.Clip):
        return Form(number, low=_bound(op.low), high=_bound(op.high), rate=op.rate)
    return Form(number, floor=True, even=isinstance(op, g.Round), truncated=isinstance(op, g.Truncate))


def _bound(value: float) -> float:
    return value if abs(value) < _NO_BOUND else float(np.copysign(np.inf, value))


def _whole(value: float) -> bool:
    return np.isinf(value) or abs(value - round(value)) < 1e-4


def _clipped(form: Form, op: g.Clip, number: int) -> Form | None:
    if form.sign or np.ndim(form.factor) or np.ndim(form.shift) or not float(form.factor) > 0:
        return None
    low, high = (_bound(bound) - float(form.shift) for bound in (op.low, op.high))
    low, high = max(form.low, low / float(form.factor)), min(form.high, high / float(form.factor))
    if form.floor:
        if not (_whole(low) and _whole(high)):
            return None
        low, high = (bound if np.isinf(bound) else round(bound) for bound in (low, high))
    return replace(form, origin=number, low=low, high=high)


def _rounded(form: Form, op: Rounding, number: int) -> Form | None:
    """A floor of a clipped value, which is a clip of its floor."""
    if form.floor or form.sign or not np.all(np.asarray(form.factor) > 0):
        return None
    found = []
    for bound in (form.low, form.high):
        limit: Array = np.round(np.asarray(form.factor, np.float64) * bound + form.shift, 9)
        value = limit if np.isinf(bound) else np.asarray(_done(limit, op), np.float64)
        if np.any(value != value.flat[0]):
            return None
        found.append(float(value.flat[0]))
    return Form(number, low=found[0], high=found[1], floor=True, even=isinstance(op, g.Round), truncated=isinstance(op, g.Truncate))


def _done(value: Array, op: g.Clip | Rounding | g.Sign) -> Array:
    """What an operator makes of constants."""
    return np.asarray(rounded(value, True) if isinstance(op, g.Round) else op.evaluate(value), np.float64)


def _behind_bound(signal: Signal, form: Form) -> Signal:
    """The signal with another form; what was done to it since the old one counts before the new one."""
    assert signal.form is not None
    inner = scaled(replace(signal, form=None), np.asarray(signal.form.factor), np.asarray(signal.form.shift))
    return replace(inner, form=form)


def _sign_of(form: Form, op: g.Clip | Rounding | g.Sign, number: int) -> Form | None:
    """The form of an operator on a sign, or of a sign on a clipped value; None if it is none of a sign."""
    factor, shift = np.asarray(form.factor, np.float64), np.asarray(form.shift, np.float64)
    if form.sign:
        low, between, high = (_done(factor * core + shift, op) for core in (0.0, (form.zero + 1) / 2, 1.0))
        if np.any(low == high):
            raise ConversionError("a sign of which the same is made in both cases")
        zero = np.unique(np.round(2 * (between - low) / (high - low) - 1, 9))
        if len(zero) > 1 or zero[0] not in (-1.0, 0.0, 1.0):
            raise ConversionError("an activation behind a sign that tells zero from both signs in another way than by halves")
        return replace(form, zero=float(zero[0]), factor=high - low, shift=low)
    assert isinstance(op, g.Sign)
    if form.floor or factor.ndim or shift.ndim or factor <= 0:
        return None
    turns = -shift / factor
    if form.low < turns < form.high:
        return Form(number, low=0, high=1, sign=True, zero=op.zero, factor=2.0, shift=-1.0)
    if form.low == turns and op.zero < 1:
        # (Behind a ReLU: 1 above the bound, and what the framework makes of zero at and below it.)
        return Form(number, low=0, high=1, sign=True, zero=-1.0, factor=1 - op.zero, shift=op.zero)
    raise ConversionError(f"the sign of a value that is limited to {form.low:g}..{form.high:g} is always the same")
