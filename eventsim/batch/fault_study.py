"""A study of faults: accuracy against how often cells err, with means and intervals over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eventsim.batch.study import MODES, Point
from eventsim.errors import RunError
from eventsim.hardware.faults import Faults, with_faults
from eventsim.model.network import Network

# What a value of the sweep is, by the name of the kind of fault.
KINDS = {"flips": "flips", "stuck-at-0": "stuck_at_0", "stuck-at-1": "stuck_at_1", "spread": "spread", "thresholds": "threshold_spread"}
VALUES = (0.0, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1)
SEEDS = 5


def fault_points(network: Network, kind: str, values: Iterable[float] = VALUES, seeds: int = SEEDS) -> list[Point]:
    """Every value with every seed, clocked and asynchronous.

    Raises
    ------
    HardwareError
        A value out of range, or a network that such faults do not change.
    """
    points = []
    for value in values:
        faults = replace(Faults(), **{KINDS[kind]: value})
        for seed in range(seeds):
            changed = with_faults(network, faults, seed)
            columns: dict[str, Any] = {kind: value, "seed": seed}
            points += [Point({"series": mode} | columns, changed, {"resolution": resolution}) for mode, resolution in MODES.items()]
            if not value:
                break  # nothing is drawn
    return points


def over_seeds(rows: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Rows of a study as one a value and mode: mean accuracy, and half the width of its 95 % interval over the seeds (Student's t).

    Parameters
    ----------
    rows : sequence of dict
        Of :func:`eventsim.batch.study.run_study`, for :func:`fault_points`.
    kind : str

    Raises
    ------
    RunError
        The data set has no labels.
    """
    import scipy.stats

    if any(row["accuracy"] is None for row in rows):
        raise RunError("a study of faults is one of accuracy, and the data set has no labels")
    found = []
    for series in dict.fromkeys(row["series"] for row in rows):
        for value in dict.fromkeys(row[kind] for row in rows):
            these = [row for row in rows if (row["series"], row[kind]) == (series, value)]
            accuracy = np.array([row["accuracy"] for row in these])
            n = len(these)
            half = float(scipy.stats.t.ppf(0.975, n - 1) * accuracy.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
            spikes = float(np.mean([row["spikes"] for row in these]))
            found.append(
                {"series": series, kind: value, "seeds": n, "accuracy": float(accuracy.mean()), "accuracy +-": half, "spikes": spikes}
            )
    return found
