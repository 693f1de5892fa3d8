"""The counts of a run, as engines return them."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.state import Run
from eventsim.job.job import OPERATIONS, Counts


def counts_of(run: Run, end: int, stopped: bool) -> Counts:
    """The counts of a run up to the end of a tick; ``stopped``: since there were too many spikes."""
    steps = -(-end // run.job.resolution)
    # Rows of steps, columns of populations or projections. (To take an array apart by iterating it takes NumPy several times as long.)
    by_sign, by_kind = run.spikes[:, :, :steps].copy().transpose(1, 2, 0), run.operations[:, :steps].copy().transpose(2, 1, 0)
    first_tick = np.array([population.first_tick for population in run.populations.values()], np.int64)
    readout = {name: population.readout(steps) for name, population in run.readouts.items()}
    exited, decision, decision_tick = (False, None, None) if run.output is None else (run.output.exited > 0, *run.output.decision)
    return Counts(
        end,
        exited,
        by_sign[0],
        by_sign[1],
        first_tick,
        **{name: by_kind[kind] for kind, name in enumerate(OPERATIONS)},
        readout=readout,
        decision=decision,
        decision_tick=decision_tick,
        stopped="max_spikes" if stopped else None,
        engine="layered",
    )
