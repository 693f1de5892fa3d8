"""What exit rules of any threshold would have given, against runs that really stop."""

from __future__ import annotations

from typing import Any

import numpy as np

import eventsim as es
from eventsim.analysis.trajectory import EXIT_THRESHOLDS, Trajectories
from eventsim.model.network import Network
from eventsim.record.result import Result


def compare_with_stops(network: Network, inputs: Any, result: Result, most: int = 12, **settings: Any) -> int:
    """Assert, for up to ``most`` thresholds of each kind, that a run with it is what the whole one says; returns how many stopped."""
    read, stopped = Trajectories(network), 0
    for kind, first_level in read.start_levels().items():
        exits = read.exits(result, kind)
        levels = exits.level.tolist()
        for level in range(first_level, min((levels or [first_level])[-1] + 1, first_level + most, len(EXIT_THRESHOLDS))):
            threshold = int(EXIT_THRESHOLDS[level])
            real = es.run(network, inputs, **settings, **{f"exit_{kind}": threshold})
            row = np.searchsorted(exits.level, level, "right")
            assert real.counts.exited == (row < len(levels)), (kind, threshold)
            if real.counts.exited:
                assert real.counts.end_tick == exits.tick[row]
                assert real.decision == exits.decision[row]
                assert real.total_spikes == exits.spikes[row]
                assert real.total_synaptic_events == exits.synaptic_events[row]
                stopped += 1
        assert stopped or not levels or first_level >= len(EXIT_THRESHOLDS)
    return stopped
