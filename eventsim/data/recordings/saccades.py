"""Simulated recordings: an image before an event camera that moves in three saccades. No camera has seen them.

All is computed in integers, so that an image gives the same events on every machine. The image (28 x 28) moves over 34 x 34 pixels along a
triangle, 100 ms a side, as N-MNIST's digits do; a pixel emits an event whenever the logarithm of its intensity has changed by a threshold.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.data.recordings.events import EVENT

SIZE, IMAGE = 34, 28
LENGTH_US = 300_000
# Corners of the triangle, in 16ths of a pixel from the middle.
_CORNERS = ((-48, -48), (0, 48), (48, -48), (-48, -48))
_SUB = 16
# Positions of a side; a side takes 100 ms.
_POSITIONS = 96
_SIDE_US = 100_000
# Intensity is that of a pixel and a tenth of the largest one; its logarithm in thousandths.
_DARK = 0.1
_THRESHOLD = 400
_LEVELS = 2**12
_LOG = np.array([round(1000 * math.log(_DARK + level / (_LEVELS - 1))) for level in range(_LEVELS)], np.int32)


def saccades(images: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
    """Recordings of images.

    Parameters
    ----------
    images : uint8 (images, 28, 28)

    Returns
    -------
    list of structured arrays of EVENT
        By time, then by row and column; 300 ms each.
    """
    count = len(images)
    reference = before = _seen(images, *_position(0))
    parts: list[npt.NDArray[np.int64]] = []
    for step in range(1, 3 * _POSITIONS + 1):
        now = _seen(images, *_position(step))
        number = np.abs(now - reference) // _THRESHOLD * np.sign(now - reference)
        for crossing in range(1, int(np.abs(number).max(initial=0)) + 1):
            at = np.flatnonzero(np.abs(number) >= crossing)
            sign = np.sign(number.flat[at])
            level = reference.flat[at] + sign * crossing * _THRESHOLD
            start, end = before.flat[at].astype(np.int64), now.flat[at]
            # Where between the two positions the level was crossed; what has crossed it before, does so at once.
            share = np.clip((level - start) * sign, 0, None) * _SIDE_US // (np.abs(end - start) * _POSITIONS)
            t = (step - 1) * _SIDE_US // _POSITIONS + share
            parts.append(np.stack([at // SIZE**2, t, at % SIZE**2, sign > 0]))
        reference, before = reference + number * _THRESHOLD, now
    image, t, pixel, on = np.concatenate([np.zeros((4, 0), np.int64), *parts], 1)
    order = np.lexsort((on, pixel, t, image))
    events = np.empty(len(order), EVENT)
    events["x"], events["y"], events["t"], events["p"] = pixel[order] % SIZE, pixel[order] // SIZE, t[order], on[order]
    return np.split(events, np.cumsum(np.bincount(image, minlength=count))[:-1]) if count else []


def _position(step: int) -> tuple[int, int]:
    """Row and column of the image's corner after so many positions, in 16ths of a pixel."""
    side = min(step // _POSITIONS, 2)
    along = step - side * _POSITIONS
    (x0, y0), (x1, y1) = _CORNERS[side], _CORNERS[side + 1]
    middle = (SIZE - IMAGE) // 2 * _SUB
    return middle + y0 + (y1 - y0) * along // _POSITIONS, middle + x0 + (x1 - x0) * along // _POSITIONS


def _seen(images: npt.NDArray[np.uint8], row: int, column: int) -> npt.NDArray[np.int32]:
    """The logarithm of what the camera's pixels see, in thousandths: int32 (images, 34, 34)."""
    y, x = row // _SUB, column // _SUB
    dy, dx = row % _SUB, column % _SUB
    wide = np.zeros((len(images), SIZE + 1, SIZE + 1), np.int32)
    for down, right, weight in ((0, 0, (_SUB - dy) * (_SUB - dx)), (0, 1, (_SUB - dy) * dx), (1, 0, dy * (_SUB - dx)), (1, 1, dy * dx)):
        wide[:, y + down : y + down + IMAGE, x + right : x + right + IMAGE] += weight * images.astype(np.int32)
    # 255 * 256 at most.
    seen: npt.NDArray[np.int32] = _LOG[wide[:, :SIZE, :SIZE] * (_LEVELS - 1) // (255 * _SUB**2)]
    return seen
