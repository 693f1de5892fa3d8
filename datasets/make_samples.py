"""Draw the sample digits in ``datasets/samples/``: white strokes on black, 28x28, centred as in MNIST.

    python datasets/make_samples.py

The strokes below are our own; no data set was used.
"""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parent
SCALE = 16  # drawn this much larger, then reduced, for smooth edges
PEN = 2.4  # stroke width in pixels of the 28x28 image

Point = tuple[float, float]


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> list[Point]:
    """Points of an elliptic arc; angles in degrees, clockwise from the right."""
    angles = [math.radians(start + (end - start) * i / 40) for i in range(41)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


# Strokes in a box of 20x20 with the origin at the upper left, a little slanted as by hand.
DIGITS: dict[int, list[list[Point]]] = {
    0: [arc(10, 10, 6, 9, -80, 280)],
    1: [[(8, 4), (11, 1), (10, 19)]],
    2: [[*arc(10, 6, 5.5, 5, 190, 380), (4, 18.5), (16.5, 18)]],
    3: [[*arc(9, 5.5, 5, 4.5, 200, 440), *arc(9, 14, 6, 5, -85, 150)]],
    4: [[(6, 1), (4, 11), (16, 11)], [(14, 3), (12, 19)]],
    5: [[(15.5, 1), (6, 1.5), (5.5, 9), *arc(9, 13, 6, 5.5, -110, 140)]],
    6: [[(13, 1), (7, 7), *arc(9.5, 14, 5, 5, 190, 545)]],
    7: [[(4, 2), (16, 1.5), (9, 19)]],
    8: [[*arc(10, 5.5, 4.5, 4.5, 90, 450)], [*arc(10, 14.5, 5.5, 4.8, -90, 270)]],
    9: [[*arc(9.5, 6.5, 5, 5.5, -10, 350), (14, 8), (12, 19)]],
}


def draw(strokes: list[list[Point]]) -> Image.Image:
    size = 28 * SCALE
    image = Image.new("L", (size, size))
    pen = ImageDraw.Draw(image)
    for stroke in strokes:
        points = [((x + 4) * SCALE, (y + 4) * SCALE) for x, y in stroke]
        pen.line(points, fill=255, width=round(PEN * SCALE), joint="curve")
        for x, y in points:
            radius = PEN * SCALE / 2
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return image.resize((28, 28), Image.Resampling.BOX)


def main() -> None:
    folder = HERE / "samples"
    folder.mkdir(exist_ok=True)
    for digit, strokes in DIGITS.items():
        draw(strokes).save(folder / f"digit-{digit}.png", optimize=True)


if __name__ == "__main__":
    main()
