"""Resets that come in the step after a spike, as snnTorch's neurons have them, in neurons that are reset at once.

*By subtraction*: what is left of V - amount after the decay is what is wanted of V if amount is the threshold divided by what the decay
leaves. Where that is little or nothing, the rest is taken a step later through a projection of the neurons onto themselves.

*To zero*, of neurons with currents or with weights that lead back, which lose what arrives in the step after a spike: a neuron is two. Its
membrane integrates, and is set to zero by its spikes. A gate behind it has the neuron's spikes: it spikes when the membrane does, but not
in two steps one after the other. A step after its spike it makes the membrane spike, whatever has arrived there, which sets it to zero.

Resets of snnTorch *by subtraction at once* (``reset_delay=False``) leave a trace: a neuron that is still above its threshold then fires
from twice the threshold on in the next step. With x = V before a reset, A = (x > threshold), B = (x > 2 threshold) and R, whether it was
left above, a neuron fires if A or, with R, if B; and it is left above if B or, with R, if A. So a neuron is four: two membranes that
integrate the same, for A and B, one that fires if A + B - R >= 1, and one for R, if A + B + R >= 2.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import dia_array

from eventsim.model.network import Network
from eventsim.model.populations.leak import DECAY_BITS, DECAY_ONE
from eventsim.model.tables import Sparse
from eventsim.model.values import IntArray

# What makes a membrane spike: a half of all that a potential can be. What arrives in a step must stay below it.
FORCE = 2**30


def gate(network: Network, name: str, membrane: str, current_decay: IntArray | None) -> None:
    """Add the gate of a membrane, a population of that name.

    Parameters
    ----------
    network : Network
    name, membrane : str
    current_decay : int64 array (neurons,) or None
        Of the membrane.
    """
    shape = network.populations[membrane].shape
    size = int(np.prod(shape))
    network.leaky(name, shape, 1, decay=DECAY_ONE, refractory=2)
    network.connect(membrane, name, _one_to_one(np.ones(size, np.int64)))
    feed(network, name, membrane, np.full(size, FORCE), current_decay)


def gate_of_two(
    network: Network, name: str, above: str, membranes: tuple[str, ...], taken: IntArray, decay: IntArray, current_decay: IntArray | None
) -> None:
    """Add what fires for two membranes, a population of that name, and what remembers that they were left above their threshold.

    Parameters
    ----------
    network : Network
    name, above : str
    membranes : tuple of str
        That which spikes above the threshold, and that which does above twice the threshold; a spike takes 1 from them.
    taken : int64 array (neurons,)
        What is taken from them in the step after a spike, after the decay.
    decay : int64 array (neurons,)
        Of the membranes.
    current_decay : int64 array (neurons,) or None
        Likewise.
    """
    shape = network.populations[membranes[0]].shape
    once = np.ones(len(taken), np.int64)
    network.leaky(above, shape, 2, decay=DECAY_ONE, refractory=1)
    network.leaky(name, shape, 1, decay=DECAY_ONE, refractory=1)
    for membrane in membranes:
        for gate in (above, name):
            network.connect(membrane, gate, _one_to_one(once))
        feed(network, name, membrane, -taken, current_decay)
        if current_decay is None and not np.all(decay):
            # What its own spike took and no decay forgets. (Through a current it would come back in rounded parts; where a decay has
            # taken a part of it, the rest would be too much, and a potential at its threshold would fire.)
            feed(network, membrane, membrane, (decay == 0).astype(np.int64), None)
    network.connect(above, above, _one_to_one(once), delay=1.0)
    network.connect(above, name, _one_to_one(-once), delay=1.0)


def feed(network: Network, sender: str, receiver: str, amounts: IntArray, current_decay: IntArray | None) -> None:
    """Add something to potentials in the step after the spike of the same neuron of another population, or of their own.

    Where it goes through a current, what is left of it there is taken back a step later.

    Parameters
    ----------
    network : Network
    sender, receiver : str
    amounts : int64 array (neurons,)
    current_decay : int64 array (neurons,) or None
        Of the receiver.
    """
    network.connect(sender, receiver, _one_to_one(amounts), delay=1.0)
    if current_decay is not None and np.any(left := amounts * (DECAY_ONE - current_decay) + DECAY_ONE // 2 >> DECAY_BITS):
        network.connect(sender, receiver, _one_to_one(-left), delay=2.0)


def _one_to_one(weights: IntArray) -> Sparse:
    return Sparse.from_matrix(dia_array((weights[None], [0]), shape=(len(weights),) * 2))
