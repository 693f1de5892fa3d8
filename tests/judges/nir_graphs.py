"""NIR graphs of a chain of nodes, and clocked runs of what they become, for tests of neurons from NIR."""

from __future__ import annotations

import itertools

import numpy as np

import eventsim as es

STEPS = 60


def graph(nodes, shape, outputs, edges=()):
    """A chain of named nodes between input and output, and further edges."""
    import nir

    every = {"input": nir.Input({"input": np.array(shape)})} | nodes | {"output": nir.Output({"output": np.array(outputs)})}
    return nir.NIRGraph(every, [*itertools.pairwise(every), *edges], type_check=False)


def clocked(net, x):
    """A clocked run on spikes (steps, ...), channel first."""
    rows = np.stack([(step.transpose(1, 2, 0) if step.ndim == 3 else step).ravel() for step in x])
    ticks, neurons = np.nonzero(rows)
    return es.run(net, {"input": (ticks + 1.0, neurons)}, steps=len(x), resolution=1)


def spikes_of(run, name, shape):
    """(steps, *shape), channel last."""
    found = np.zeros((STEPS, int(np.prod(shape))))
    spikes = run.spikes(name)
    found[spikes.ticks - 1, spikes.neurons] = 1
    return found.reshape(STEPS, *shape)


def constants(size, **values):
    """Arrays of one value each."""
    return {name: np.full(size, value) for name, value in values.items()}


def drawn(rng, *shape, rate=0.3):
    """Spikes in ``STEPS`` steps, float64."""
    return (rng.random((STEPS, *shape)) < rate).astype(float)
