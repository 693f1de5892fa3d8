"""Resets that come in the step after a spike, as snnTorch's neurons have them, in neurons that are reset at once.

*By subtraction*: what is left of V - amount after the decay is what is wanted of V if amount is the threshold divided by what the decay
leaves. Where that is little or nothing, the rest is taken a step later through a projection of the neurons onto themselves.

*To zero*, of neurons with currents or with weights that lead back, which lose what arrives in the step after a spike: a neuron is two. Its
membrane integrates, and is set to zero by its spikes. A gate behind it has the neuron's spikes: it spikes when the membrane does, but not
in two steps one after the other. A step after its spike it makes the membrane spike, whatever has arrived there, which sets it to zero.
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
