"""Compiled code of a crossbar's converters: what they make of a sum (docs/hardware.md). All integers int64."""

from __future__ import annotations

from eventsim.kernels.compiled import typed_part


@typed_part
def converted(total, levels, full):
    """The level that is nearest to a sum, of so many from ``-full`` to ``full`` side by side; of two equally near the upper one.

    Parameters
    ----------
    total : int64
        What is beyond the range is of its first or last level.
    levels : int64
        At least 2.
    full : int64
        At least 1.

    Returns
    -------
    int64
        The level as a sum, rounded to a whole number, halves up.
    """
    inside = max(-full, min(full, total))
    k = ((inside + full) * (levels - 1) + full) // (2 * full)
    return (4 * full * k + levels - 1) // (2 * (levels - 1)) - full
