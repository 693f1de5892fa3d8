"""Simulate recordings of sample digits: ``datasets/recordings/digit-N.bin``, in the format of N-MNIST. No camera has seen them.

    python datasets/make_recordings.py

The digits are our own (make_samples.py). How they move, and when a pixel emits an event: eventsim/data/recordings/saccades.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from eventsim.data.recordings.saccades import saccades

HERE = Path(__file__).resolve().parent
# A few: each is some 20 kilobytes.
DIGITS = 1, 4, 7


def main() -> None:
    images = np.stack([np.asarray(Image.open(HERE / "samples" / f"digit-{digit}.png")) for digit in DIGITS])
    for digit, events in zip(DIGITS, saccades(images), strict=True):
        t = events["t"]
        rows = np.stack([events["x"], events["y"], events["p"].astype(np.int64) << 7 | t >> 16, t >> 8 & 255, t & 255], 1)
        (HERE / "recordings" / f"digit-{digit}.bin").write_bytes(rows.astype(np.uint8).tobytes())


if __name__ == "__main__":
    main()
