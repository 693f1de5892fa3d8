"""A study of faults: accuracy against how often cells err, with means and intervals over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eventsim.batch.imperfect_study import ImperfectPoint
from eventsim.batch.study import Point
from eventsim.errors import RunError
from eventsim.hardware.faults import Faults, with_faults
from eventsim.job.job import MODES
from eventsim.model.network import Network

# What a value of the sweep is, by the name of the kind of fault: of cells and neurons, which make another network, and of spikes.
OF_NETWORKS = {
    "flips": "flips",
    "stuck-at-0": "stuck_at_0",
    "stuck-at-1": "stuck_at_1",
    "spread": "spread",
    "thresholds": "threshold_spread",
}
OF_SPIKES = {"lost": "lost", "jitter": "jitter"}
KINDS = OF_NETWORKS | OF_SPIKES
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
        faults = replace(Faults(), **{OF_NETWORKS[kind]: value})
        for seed in range(seeds):
            changed = with_faults(network, faults, seed)
            columns: dict[str, Any] = {kind: value, "seed": seed}
            points += [Point({"series": mode} | columns, changed, {"resolution": resolution}) for mode, resolution in MODES.items()]
            if not value:
                break  # nothing is drawn
    return points


def spike_fault_points(network: Network, kind: str, values: Iterable[float] = VALUES, seeds: int = SEEDS) -> list[ImperfectPoint]:
    """The same of faults of spikes.

    Raises
    ------
    HardwareError
        A value out of range.
    """
    points = []
    for value in values:
        faults = replace(Faults(), **{OF_SPIKES[kind]: value})
        for seed in range(seeds if value else 1):
            columns: dict[str, Any] = {kind: value, "seed": seed}
            points += [
                ImperfectPoint({"series": mode} | columns, network, resolution, None, faults, seed) for mode, resolution in MODES.items()
            ]
    return points


def over_seeds(rows: Sequence[dict[str, Any]], *names: str, measures: Sequence[str] = ("spikes",)) -> list[dict[str, Any]]:
    """Rows of a study as one a value and mode: mean accuracy, and half the width of its 95 % interval over the seeds (Student's t).

    A single seed gives no interval: None.

    Parameters
    ----------
    rows : sequence of dict
        Of :func:`eventsim.batch.study.run_study`, for :func:`fault_points`, or the like.
    *names : str
        Columns of what was swept.
    measures : sequence of str
        Columns whose means are kept, too.

    Raises
    ------
    RunError
        The data set has no labels.
    """
    import scipy.stats

    if any(row["accuracy"] is None for row in rows):
        raise RunError("a study of faults is one of accuracy, and the data set has no labels")
    found = []
    swept = ("series", *names)
    series = list(dict.fromkeys(row["series"] for row in rows))
    keys = dict.fromkeys(tuple(row[name] for name in swept) for row in rows)
    for key in sorted(keys, key=lambda key: series.index(key[0])):
        these = [row for row in rows if tuple(row[name] for name in swept) == key]
        accuracy = np.array([row["accuracy"] for row in these])
        n = len(these)
        half = float(scipy.stats.t.ppf(0.975, n - 1) * accuracy.std(ddof=1) / np.sqrt(n)) if n > 1 else None
        row = dict(zip(swept, key, strict=True)) | {"seeds": n, "accuracy": float(accuracy.mean()), "accuracy +-": half}
        found.append(row | {name: float(np.mean([each[name] for each in these])) for name in measures})
    return found
