"""Named records of the kernels that run populations that leak."""

from __future__ import annotations

from typing import Any, NamedTuple

from eventsim.kernels.records import record

# Where a population has got to.
#
# done: the last tick that is over    bound: neither |d| nor |V| is above it    current_bound: no synaptic current is above it
PROGRESS = record("done bound current_bound")


class Leaking(NamedTuple):
    """What a population has that leaks. Of a lane that stands for no neuron the threshold is 1, and V stays 0."""

    progress: Any  # PROGRESS, without dimensions
    after_reset: int  # no |d| is above it after a spike
    resets: bool  # a spike sets V to the amount, rather than to take it off
    theta: Any  # int32 (lanes,): thresholds; of a readout 0
    decay: Any  # int32 (lanes,): 4096ths
    constant: Any  # int32 (lanes,)
    amount: Any  # int32 (lanes,); None for a readout
    current: Any  # int32 (lanes,): synaptic currents; this and the next one are None where there are none
    current_decay: Any  # int32 (lanes,)
    last: Any  # int64 (lanes,): tick of the last spike; None without a refractory period of more than a tick
