"""Compiled code of a priority queue: a heap of int64 keys in which node i has the children 4 i + 1 .. 4 i + 4."""

from __future__ import annotations

from eventsim.kernels.compiled import brief as compiled


@compiled
def sift_up(heap, place, key):
    """Put a key at a free place or above.

    Parameters
    ----------
    heap : int64 array
    place : int64
        As many keys are in the heap; there is one more afterwards.
    key : int64
    """
    while place > 0:
        parent = (place - 1) >> 2
        if heap[parent] <= key:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = key


@compiled
def sift_down(heap, size, key):
    """Put a key at the root or below, the root being free.

    Parameters
    ----------
    heap : int64 array
    size : int64
        Keys in the heap, with this one.
    key : int64
    """
    place = 0
    while True:
        child = 4 * place + 1
        if child >= size:
            break
        least, best = child, heap[child]
        for other in range(child + 1, min(child + 4, size)):
            if heap[other] < best:
                least, best = other, heap[other]
        if best >= key:
            break
        heap[place] = best
        place = least
    heap[place] = key


@compiled
def is_heap(heap, size):
    """Whether each of the first ``size`` keys (int64) is at least its parent's."""
    fine = True
    for place in range(1, size):
        fine &= heap[(place - 1) >> 2] <= heap[place]
    return fine
