"""The image as a NIR graph takes it, and the length of its steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventsim.conversion.nir.structure import Step
from eventsim.errors import ConversionError

# From here on a resistance that all neurons share is taken for one step's: 1 / dt.
_LEAST_RATE = 10.0


def input_shape(step: Step, steps: list[Step]) -> tuple[tuple[int, ...], str]:
    """(channels, height, width) or (features,), and a remark on what was left out of it.

    Writers that trace a network with a batch of one image keep that dimension; NIR itself has none.
    """
    given = step.node.input_type["input"]
    if given is None:
        raise ConversionError(f"{step.label}: has no shape")
    dims = tuple(int(n) for n in np.ravel(given))
    flat = any(other.kind == "Conv1d" for other in steps)
    if len(dims) == 4 or (len(dims) == 2 and not flat) or (len(dims) == 3 and flat):
        if dims[0] != 1:
            raise ConversionError(
                f"{step.label}: a shape {dims} with a batch dimension of {dims[0]}; NIR has none: write the file for one image"
            )
        return _row(dims[1:], flat), f"{step.label}: the first dimension of {dims} is taken as a batch dimension, which NIR has not"
    return _row(dims, flat), ""


def _row(dims: tuple[int, ...], flat: bool) -> tuple[int, ...]:
    return (dims[0], 1, dims[1]) if flat and len(dims) == 2 else dims


def step_length(steps: list[Step], given: float | None, metadata: dict[str, Any] | None) -> tuple[float, str]:
    """The length of a step in the unit of the file's time, and a remark where it was guessed.

    NIR's neurons integrate ``dv/dt = r I``, and nothing says how long a step is: writers set r to 1 for steps of 1, or to 1/dt for
    steps of dt (SpikingJelly: 10000).

    Parameters
    ----------
    steps : list of Step
    given : float or None
        By the user.
    metadata : dict or None
        Of the graph; some writers keep ``dt`` there.
    """
    if given is not None:
        if not (np.isfinite(given) and given > 0):
            raise ConversionError(f"dt must be a positive number, found {given}")
        return float(given), ""
    said = (metadata or {}).get("dt")
    if said is not None and np.size(said) == 1 and float(np.ravel(said)[0]) > 0:
        return float(np.ravel(said)[0]), ""
    r = np.concatenate([np.ravel(np.asarray(step.node.r, np.float64)) for step in steps if step.kind in ("IF", "I")] or [np.ones(1)])
    if not np.all(np.isfinite(r)):
        raise ConversionError("a resistance r that is not finite")
    if np.all(r == r[0]) and r[0] >= _LEAST_RATE:
        length = 1 / float(r[0])
        return length, f"all neurons have r = {r[0]:g}: taken as 1/dt, a step's length dt = {length:g} (dt=..., --nir-dt say otherwise)"
    if np.any(r != 1):
        return 1.0, f"neurons have r = {r.min():g} .. {r.max():g}, and a step's length is taken as dt = 1 (dt=..., --nir-dt say otherwise)"
    return 1.0, ""
