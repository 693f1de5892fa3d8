"""Membrane potentials of a trace: how far from threshold the neurons of each population are when the run ends, and a figure of a few.

python -m eventsim run NET --input X --potentials all
python docs/examples/potentials.py run.h5 conv2 potentials.png
"""

import sys

import numpy as np

from eventsim import Trace, plot

path, shown, figure = sys.argv[1:]
with Trace(path) as trace:
    for population in trace.potentials_recorded:
        threshold = trace.threshold(population)
        last = trace.potentials(population)[-1]
        if threshold is not None:
            low, middle, high = np.quantile(last / threshold, (0.05, 0.5, 0.95))
            print(f"{population:12} potential / threshold at {trace.duration:g} steps: median {middle:.2f}, 90 % in {low:.2f}..{high:.2f}")
    counts = trace.spike_counts(shown).ravel()
    plot.potentials(trace, shown, np.argsort(-counts)[:4].tolist()).savefig(figure)
