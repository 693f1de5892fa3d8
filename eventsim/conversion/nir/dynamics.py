"""What neurons of NIR do in a step, in real numbers: decays, gains, thresholds, resets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from eventsim.conversion.graph import Array
from eventsim.conversion.nir.nodes import fitting
from eventsim.conversion.nir.structure import Step
from eventsim.conversion.nir.writers import Writer
from eventsim.errors import ConversionError

FIRING = "IF", "LIF", "CubaLIF"
READING = "I", "LI", "CubaLI"
# Without a leak.
_WHOLE = "IF", "I"
# Of which a step leaves less than this: what a reset takes is not taken ahead of the decay, which would make it too large a number.
_LITTLE = 1 / 64
# What is no 0 where a file leaves it out.
_DEFAULT = {"r": 1.0, "w_in": 1.0}


@dataclass(frozen=True, eq=False)
class Dynamics:
    """Neurons of a node; potentials are counted from where they leak to.

    Attributes
    ----------
    share : float64 array (neurons,)
        What a step takes of the potential.
    current_share : float64 array (neurons,) or None
        What a step takes of the synaptic current; None without one.
    gain : float64 array (neurons,)
        What an input of 1 in a step adds to the potential, or to what the current adds to it.
    threshold : float64 array (neurons,) or None
        None of a readout.
    amount : float64 array (neurons,) or None
        What a spike takes from the potential, or sets it to.
    rest : float64 array (neurons,) or None
        What it takes besides in the next step, after the decay; None where it takes nothing.
    """

    share: Array
    current_share: Array | None
    gain: Array
    threshold: Array | None
    amount: Array | None
    rest: Array | None = None


def in_rows(values: Array) -> Array:
    """Values of a shape, channel first, as one row in the order of neurons, channel last."""
    return (values.transpose(1, 2, 0) if values.ndim == 3 else values).reshape(-1)


def dynamics(step: Step, shape: tuple[int, ...], writer: Writer, dt: float, reset: str) -> Dynamics:
    """What the neurons of a node of this shape (channel first) do.

    Raises
    ------
    ConversionError
        Constants that make no sense, or have no counterpart.
    """

    def of(name: str) -> Array:
        values = getattr(step.node, name, None)
        if values is None:
            values = _DEFAULT.get(name, 0.0)
        array = np.asarray(values, np.float64)
        return in_rows(np.broadcast_to(fitting(array, shape, step.label), shape))

    def finite(name: str) -> Array:
        return _finite(of(name), name, step)

    leak, current_share = finite("v_leak"), None
    if step.kind in _WHOLE:
        r = finite("r")
        if writer.unit and np.any(r != 1):
            raise ConversionError(f"{step.label}: snnTorch takes IF neurons of r = 1 alone, found {r[r != 1][0]:g}; give the file's writer")
        share, gain = np.zeros_like(r), r if writer.whole or writer.unit else r * dt
    else:
        share, gain = _decay_and_gain("tau" if step.kind in ("LIF", "LI") else "tau_mem", "r", of, writer, dt, step)
    if np.any(gain <= 0):
        raise ConversionError(f"{step.label}: resistances r must be positive")
    if step.kind in ("CubaLIF", "CubaLI"):
        current_share, of_current = _decay_and_gain("tau_syn", "w_in", of, writer, dt, step)
        gain = gain * (finite("w_in") if writer.whole else of_current)
    if step.kind in READING:
        if np.any(leak != leak[0]):
            raise ConversionError(f"{step.label}: readouts that leak to different potentials (v_leak) are not supported")
        return Dynamics(share, current_share, gain, None, None)
    threshold, amount, rest = finite("v_threshold") - leak, finite("v_reset") - leak, None
    if reset != "value":
        amount = finite("v_threshold")
        if reset == "subtract" and writer.late:
            amount, rest = _taken_late(amount, share)
    _check_reset(step, threshold, amount, reset)
    return Dynamics(share, current_share, gain, threshold, amount, rest)


def _taken_late(threshold: Array, share: Array) -> tuple[Array, Array | None]:
    """What a spike takes before the decay, and besides it after the decay: together a threshold, after the decay."""
    # (As it is, not as it is rounded: that would change what is left of a potential near its threshold more.)
    kept = 1 - share
    little = kept < _LITTLE
    return threshold / np.where(little, 1, kept), np.where(little, threshold * (1 - kept), 0) if np.any(little) else None


def _check_reset(step: Step, threshold: Array, amount: Array, reset: str) -> None:
    if np.any(threshold <= 0):
        raise ConversionError(f"{step.label}: thresholds must lie above what the potential leaks to (v_leak)")
    if reset == "value" and np.any(amount >= threshold):
        raise ConversionError(f"{step.label}: v_reset must be below the threshold")


def _finite(values: Array, name: str, step: Step) -> Array:
    if not np.all(np.isfinite(values)):
        raise ConversionError(f"{step.label}: {name} is not finite")
    return values


def _decay_and_gain(tau: str, r: str, of: Callable[[str], Array], writer: Writer, dt: float, step: Step) -> tuple[Array, Array]:
    """What a step takes of a potential (or a current) with this time constant, and what an input of 1 in a step adds to it."""
    taus, factors = of(tau), of(r)
    # (Both may be infinite: no decay.)
    if writer.unit and np.all(taus != 0) and np.all(np.isclose(factors * dt, taus, rtol=1e-5, atol=0)):
        return np.clip(dt / taus, 0.0, 1.0), np.ones_like(taus)
    share = _share(_finite(taus, tau, step), writer, dt, step)
    return share, _finite(factors, r, step) * share


def _share(tau: Array, writer: Writer, dt: float, step: Step) -> Array:
    if np.any(tau <= 0):
        raise ConversionError(f"{step.label}: time constants must be positive")
    share = writer.share(tau, dt)
    if np.any(share > 1 + 1e-6):
        raise ConversionError(
            f"{step.label}: a step of dt = {dt:g} is longer than the time constant {tau.min():g}; give the dt of the source, and its writer"
        )
    return np.minimum(share, 1.0)


def keeps(step: Step) -> bool:
    """Whether a node has a potential."""
    return step.kind in FIRING or step.kind in READING


def whole_steps(values: Any, dt: float) -> Array:
    """Delays in steps; what is a whole number of them but for the rounding of numbers becomes that."""
    steps = np.asarray(values, np.float64) / dt
    near = np.round(steps)
    return np.where(np.abs(steps - near) < 1e-6 * np.maximum(1, near), near, steps)
