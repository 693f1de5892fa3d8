"""The counts of a run, as engines return them."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.state import Run
from eventsim.job.job import Counts


def counts_of(run: Run, end: int, stopped: bool) -> Counts:
    """The counts of a run up to the end of a tick; ``stopped``: since there were too many spikes."""
    steps = -(-end // run.job.resolution)
    spikes, negative = run.spikes[:, :, :steps].copy().transpose(1, 2, 0)
    deliveries, synaptic_events, additions, toolbox, effective = run.operations[:, :steps].copy().transpose(2, 1, 0)
    first_tick = np.array([population.first_tick for population in run.populations.values()], np.int64)
    readout = {name: population.readout(steps) for name, population in run.readouts.items()}
    exited, decision, decision_tick = (False, None, None) if run.output is None else (run.output.exited > 0, *run.output.decision)
    return Counts(
        end,
        exited,
        spikes,
        negative,
        first_tick,
        deliveries,
        synaptic_events,
        additions,
        toolbox,
        effective,
        readout,
        decision,
        decision_tick,
        "max_spikes" if stopped else None,
        "layered",
    )
