"""Compiled code that sorts a few numbers."""

from __future__ import annotations

from eventsim.kernels.compiled import brief as compiled


@compiled
def sort_candidates(candidates, n):
    """Shell sort of the first n entries (of any integer type) in place."""
    gap = n >> 1
    while gap > 0:
        for i in range(gap, n):
            value = candidates[i]
            j = i
            while j >= gap and candidates[j - gap] > value:
                candidates[j] = candidates[j - gap]
                j -= gap
            candidates[j] = value
        gap >>= 1
