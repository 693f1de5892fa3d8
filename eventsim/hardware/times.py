"""Ticks of a run and picoseconds of a chip."""

from __future__ import annotations

import numpy as np

from eventsim.errors import HardwareError
from eventsim.hardware.placement import Messages, Placement
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


def check_length(steps: int, step: int) -> None:
    """Refuse runs whose picoseconds leave 64 bits.

    Raises
    ------
    HardwareError
    """
    if steps * step >= 2**62:
        raise HardwareError(
            f"{steps:,} steps of {step / 10**12:g} s are longer than is counted here, {2**62 / 10**12:,.0f} s; run fewer steps"
        )


def key_of(placement: Placement, messages: Messages) -> tuple[int, int]:
    """How arrivals are packed into 64 bits (:class:`eventsim.hardware.kernels.waiting.Room`).

    Returns
    -------
    bits : int
        Of a key, below its time.
    latest : int
        When a message may leave so that its arrival fits, picoseconds.
    """
    chip, links = placement.architecture.chip, placement.architecture.links
    bits = int(messages.synapses.max(initial=0)).bit_length() + 1
    furthest = chip.columns * links.east_west.time + chip.rows * links.north_south.time + links.within_tile.time
    return bits, 2 ** (63 - bits) - 1 - furthest


def too_late(placement: Placement, latest: int) -> HardwareError:
    """Of messages that leave after ``latest``."""
    if placement.architecture.chip.synchronisation == "barrier":
        since, what = "of a step", "put fewer neurons on a core, or give smaller times"
    else:
        since, what = "of the run", "run fewer steps"
    return HardwareError(f"messages leave later than {latest / 1e12:.3g} s after the beginning {since}, the limit here; {what}")
