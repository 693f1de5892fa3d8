"""The counts of a run, as engines return them."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.state import Run
from eventsim.job.job import OPERATIONS, Counts


def counts_of(run: Run, end: int, stopped: bool) -> Counts:
    """The counts of a run up to the end of a tick; ``stopped``: since there were too many spikes."""
    steps = -(-end // run.job.resolution)
    spikes, negative = run.spikes[:, :, :steps].copy().transpose(1, 2, 0)
    operations = run.operations[:, :steps].copy().transpose(2, 1, 0)
    decision, decision_tick = (None, None) if run.output is None else run.output.decision
    return Counts(
        end,
        run.output is not None and bool(run.output.exited),
        spikes,
        negative,
        np.array([population.first_tick for population in run.populations.values()], np.int64),
        **dict(zip(OPERATIONS, operations, strict=True)),
        readout={name: population.readout(steps) for name, population in run.readouts.items()},
        decision=decision,
        decision_tick=decision_tick,
        stopped="max_spikes" if stopped else None,
        engine="layered",
    )
