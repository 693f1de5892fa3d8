"""Ticks of a run and picoseconds of a chip."""

from __future__ import annotations

import numpy as np

from eventsim.model.tables import IntArray


def scaled(tick: IntArray, step: int, resolution: int) -> IntArray:
    """``tick * step // resolution``, where the product may exceed 64 bits: int64, in the shape of ``tick``.

    Parameters
    ----------
    tick : int64 array (n,)
    step, resolution : int
        Picoseconds and ticks of a step.
    """
    whole, rest = np.divmod(tick, resolution)
    if step * resolution < 2**62:
        return whole * step + rest * step // resolution
    return whole * step + np.array([r * step // resolution for r in rest.tolist()], np.int64)
