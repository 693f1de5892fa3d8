"""Recordings as images: how many events each pixel had."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# Channels of a frame: one counts all events, two OFF and ON events apart.
CHANNELS = 1, 2


def accumulated(events: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Events of each pixel, at most 255.

    Parameters
    ----------
    events : structured array (events,)
        x, y, t, p.
    shape : (height, width, channels)
        One channel: all events. Two: OFF events, ON events.
    """
    height, width, channels = shape
    place = (events["y"].astype(np.int64) * width + events["x"]) * channels
    if channels == 2:
        place += events["p"] > 0
    counts = np.bincount(place, minlength=height * width * channels)
    return np.minimum(counts, 255).astype(np.uint8).reshape(shape)
