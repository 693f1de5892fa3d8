"""Analyse a trace: how active each population was, how regular, and what one neuron did.

python docs/examples/analyse.py run.h5
"""

import sys

import numpy as np

from eventsim import Trace

with Trace(sys.argv[1]) as trace:
    print(f"answer {trace.label}, decided at {trace.decision_latency:.3f} of {trace.duration:g} steps")
    busiest = (0, "", 0)
    for population in trace.recorded:
        ticks, neurons, signs = trace.spikes(population)
        if not len(ticks):
            print(f"{population:12} silent")
            continue
        counts = np.bincount(neurons, minlength=trace.population(population).size)
        # Interspike intervals: sort by neuron, then by time, and take differences within a neuron.
        order = np.lexsort((ticks, neurons))
        same_neuron = np.diff(neurons[order]) == 0
        intervals = np.diff(ticks[order])[same_neuron] / trace.info.resolution
        regular = f", median interval {np.median(intervals):.3f} steps" if len(intervals) else ""
        print(
            f"{population:12} {len(ticks):8,} spikes ({(signs < 0).mean():.1%} taken back), first at "
            f"{ticks[0] / trace.info.resolution:.3f} steps, {(counts > 0).mean():.1%} of its neurons fired{regular}"
        )
        busiest = max(busiest, (int(counts.max()), population, int(counts.argmax())))
    count, population, neuron = busiest
    y, x, channel = trace.positions(population, np.array([neuron]))[0]
    print(f"busiest neuron: {population} channel {channel} at ({y}, {x}), {count} spikes")
