"""What a chip has done to the spikes: how far it has moved them, and which are more or fewer than in the ordinary run."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventsim.errors import HardwareError
from eventsim.model.tables import IntArray
from eventsim.record.result import Run


def moved(ordinary: Run, closed: Run) -> dict[str, Any]:
    """Compare the spikes of neurons in two runs: the first of each neuron with its first, the second with its second, and so on.

    Parameters
    ----------
    ordinary, closed : Run
        Of one network on one input, with the spikes of all populations.

    Returns
    -------
    dict
        JSON values. ``"spikes"``, ``"ordinary_spikes"``: how many; ``"changed"``: spikes without a counterpart, in either run;
        ``"mean_shift_steps"``, ``"p50_shift_steps"``, ``"p95_shift_steps"``: how much later those with one come (None without any).

    Raises
    ------
    HardwareError
        The runs are not of one network.
    """
    firing = [p.name for p in ordinary.info.populations if p.fires]
    shapes = [[(p.name, p.shape) for p in run.info.populations if p.fires] for run in (ordinary, closed)]
    digests = {run.info.settings.get("network_sha256") for run in (ordinary, closed)} - {None}
    if shapes[0] != shapes[1] or len(digests) > 1:
        raise HardwareError("the runs are of different networks; compare two of one network")
    shifts, before, after = [np.zeros(0)], 0, 0
    for name in firing:
        old, new = (_numbered(run, name) for run in (ordinary, closed))
        before, after = before + len(old[0]), after + len(new[0])
        _, i, j = np.intersect1d(old[0], new[0], assume_unique=True, return_indices=True)
        shifts.append(new[1][j] - old[1][i])
    shift = np.sort(np.concatenate(shifts))
    found: dict[str, Any] = {"spikes": after, "ordinary_spikes": before, "changed": before + after - 2 * len(shift)}
    found["mean_shift_steps"] = float(shift.mean()) if len(shift) else None
    for p in (50, 95):
        found[f"p{p}_shift_steps"] = float(shift[-(-p * len(shift) // 100) - 1]) if len(shift) else None
    return found


def _numbered(run: Run, name: str) -> tuple[IntArray, Any]:
    """A number for each spike of a population, by neuron and how many it had before; and their times in steps."""
    spikes = run.spikes(name)
    order = np.argsort(spikes.neurons, kind="stable")
    neuron = spikes.neurons[order].astype(np.int64)
    first = np.searchsorted(neuron, neuron)
    # Fewer spikes of one neuron than this, and fewer neurons.
    return (neuron << 38) + np.arange(len(neuron)) - first, spikes.ticks[order] / run.info.resolution
