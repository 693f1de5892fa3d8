"""What populations are in SANA-FE: groups of neurons of one of its models.

Its chip works step by step, and a spike that is sent in a step is used in the next: populations lag behind as they do behind barriers
(:mod:`eventsim.hardware.pipeline`). Its ``truenorth`` neurons do what ours do, exactly, from a potential of 0 on. Only its
``leaky_integrate_fire`` neurons begin at others. They fire *above* their threshold, and cut potentials to multiples of 1/64 as a step
begins: so what is 1 here is 1/64 there, which leaves them the range of 32 bits, and what a threshold is less by is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eventsim.errors import HardwareError
from eventsim.hardware.pipeline import stages
from eventsim.hardware.placement import Placement
from eventsim.job.job import Job
from eventsim.model.network import Network, Projection
from eventsim.model.tables import IntArray

KINDS = "driven", "spiking", "readout"
# Names of the units that neurons lie on, with their models.
INTEGRATE, INTEGRATE_FROM, GIVEN = "integrate", "integrate_from", "given"
# Of 1/64: what a threshold is less by. It is exact in float64 beside any threshold.
_LESS = 2.0**-10
# No potential comes near.
_NEVER = 1e300


@dataclass(frozen=True)
class Group:
    """A population as a group.

    Attributes
    ----------
    name : str
        Letters, digits and underscores.
    unit : str
        ``INTEGRATE``, ``INTEGRATE_FROM`` or ``GIVEN``.
    one : float
        What a weight of 1 is there.
    stage : int
        By how many steps it lags behind.
    forced : bool
        Its neurons are updated in every step.
    reset : {"soft", "hard"}
    threshold, bias, potential : float64 array (neurons,)
        Empty of given spikes.
    spikes : list of list of int
        Of given spikes: by neuron, 1 for every step with a spike, 0 for those before without.
    """

    name: str
    unit: str
    one: float
    stage: int
    forced: bool
    reset: str
    threshold: np.ndarray
    bias: np.ndarray
    potential: np.ndarray
    spikes: list[list[int]]


def groups_of(placement: Placement, job: Job) -> dict[str, Group]:
    """The groups of a placed network's populations with the input of a job, by population.

    Raises
    ------
    HardwareError
        SANA-FE has no such neurons, or no such times; the message says which.
    """
    network = placement.network
    for name in network.populations:
        _check(network, job, name)
    stage = stages(network, job.delay, 1)
    for projection in network.projections:
        taken = job.delay[projection.name] + stage[projection.target] - stage[projection.source]
        if taken != 1 and projection.source in placement.blocks:
            raise HardwareError(
                f"{projection.name}: SANA-FE's spikes are used in the next step, and these would be used {taken} steps later; "
                "give all ways to a population as many projections, or delays"
            )
    names, arrives = _names(placement), _arrivals(network, job, stage)
    by_potential = placement.architecture.core.update_when == "potential"
    groups = {name: _group(network, job, name, names[name], stage[name], by_potential) for name in placement.blocks}
    for name, group in groups.items():
        if group.bias.any() and arrives[name] < _begin_of_biases(network, job, name, stage[name]):
            raise HardwareError(
                f"{name}: SANA-FE's biases begin with the first step, and those of {name!r} begin later than other spikes come to it; "
                "give its projections as much delay as its biases"
            )
    return groups


def _arrivals(network: Network, job: Job, stage: dict[str, int]) -> dict[str, int]:
    """By population, how many steps of the chip after the first the first spikes may come to it, but for biases; many without any."""
    never = len(network.populations) + job.steps + max(stage.values(), default=0)
    arrives = dict.fromkeys(network.populations, never)

    def fires(name: str) -> int:
        population = network.populations[name]
        if name in job.currents or population.emits:
            return 0
        by_itself = _has_clocks(network, name) or (population.threshold is not None and (population.v0 >= population.threshold).any())
        return min(arrives[name], _begin_of_biases(network, job, name, stage[name])) if by_itself else arrives[name]

    for _ in network.populations:
        for p in network.projections:
            if not network.populations[p.source].is_clock:
                arrives[p.target] = min(arrives[p.target], fires(p.source) + 1)
    return arrives


def _begin_of_biases(network: Network, job: Job, name: str, stage: int) -> int:
    """How many steps of the chip after the first biases begin; those of a population without any begin with its own first step."""
    delays = [job.delay[p.name] for p in _to(network, name) if network.populations[p.source].is_clock]
    return stage + min(delays, default=0)


def _check(network: Network, job: Job, name: str) -> None:
    """Refuse neurons that SANA-FE has not."""
    population = network.populations[name]
    refused = None
    if not (population.kind in KINDS or population.emits) or population.reset not in (None, "subtract", "zero"):
        refused = f"{population.kind} populations"
    elif population.signed:
        refused = "signed neurons"
    elif job.refractory.get(name, 1) > 1:
        refused = "neurons that integrate on in a refractory period"
    elif name in job.onset:
        refused = "neurons that do not fire before a given time"
    elif population.emits == "start":
        refused = "sources that emit at the start only"
    if refused is not None:
        raise HardwareError(f"{name}: SANA-FE has no {refused}, and the network cannot be written for it")


def _names(placement: Placement) -> dict[str, str]:
    """Names of groups: those of populations, where SANA-FE can read them."""
    names: dict[str, str] = {}
    for name in placement.blocks:
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
        if plain[:1].isdigit():
            plain = f"_{plain}"
        unique, number = plain, 2
        while unique in names.values():
            unique, number = f"{plain}_{number}", number + 1
        names[name] = unique
    return names


def _group(network: Network, job: Job, name: str, called: str, stage: int, by_potential: bool) -> Group:
    population = network.populations[name]
    if name in job.events:
        nothing = np.zeros(0)
        return Group(called, GIVEN, 1, stage, False, "hard", nothing, nothing, nothing, _trains(job, name, population.size))
    bias, early = _bias(network, job, name), _begin_of_biases(network, job, name, stage)
    threshold = np.full(population.size, np.iinfo(np.int64).max)
    if population.threshold is not None and not population.reads_out:
        threshold = population.per_neuron(population.threshold)
    if name in job.currents:
        bias = job.currents[name].astype(np.int64)
    # Biases begin with the first step there, and have brought the potential to where it should be when they should begin.
    potential = population.initial_potentials() - early * bias
    _check_before(name, threshold, bias, potential, early)
    always = name in job.currents or (not by_potential and _has_clocks(network, name))
    reset = "soft" if population.reset == "subtract" or name in job.currents else "hard"
    above = np.where(threshold < np.iinfo(np.int64).max, threshold, _NEVER)
    if not potential.any():
        return Group(called, INTEGRATE, 1, stage, always, reset, above, bias * 1.0, potential * 1.0, [])
    less = above - (_LESS if reset == "soft" else 0.5)
    one = 1 / 64
    return Group(called, INTEGRATE_FROM, one, stage, always, reset, less * one, bias * one, potential * one, [])


def _to(network: Network, name: str) -> Iterator[Projection]:
    return (p for p in network.projections if p.target == name)


def _has_clocks(network: Network, name: str) -> bool:
    return any(network.populations[p.source].is_clock for p in _to(network, name))


def _bias(network: Network, job: Job, name: str) -> IntArray:
    """What clocks add in every step to each neuron: int64 (neurons,)."""
    bias, delays = np.zeros(network.populations[name].size, np.int64), set()
    for p in _to(network, name):
        source = network.populations[p.source]
        if source.is_clock:
            bias += p.table.matrix(source.shape, network.populations[name].shape).sum(0)
            delays.add(job.delay[p.name])
    if len(delays) > 1:
        raise HardwareError(f"{name}: SANA-FE's biases come in every step, and those of {name!r} begin at several times")
    return bias


def _check_before(name: str, threshold: IntArray, bias: IntArray, potential: IntArray, steps: int) -> None:
    """Refuse neurons that would fire in the steps before their first, where they begin at a potential and get a bias in each."""
    for step in range(steps):
        # At the end of each of them, and the last of them leaves the initial potential.
        if (potential + (step + 1) * bias >= threshold).any():
            raise HardwareError(
                f"{name}: SANA-FE's biases and initial potentials count from the first step on, and neurons of {name!r}, which lags "
                f"behind by {steps} steps, would fire before they should; give projections a delay of a step, or lower initial potentials"
            )
    if np.abs(potential).max(initial=0) >= 2**31:
        raise HardwareError(f"{name}: initial potentials and biases are too large for SANA-FE's neurons")


def _trains(job: Job, name: str, neurons: int) -> list[list[int]]:
    """By neuron, in which steps it fires."""
    step, neuron = job.events[name]
    if name in job.signs and (job.signs[name] < 0).any():
        raise HardwareError(f"{name}: SANA-FE has no signed spikes, and the network cannot be written for it")
    key = neuron.astype(np.int64) * (job.end + 1) + step
    if len(np.unique(key)) < len(key):
        raise HardwareError(f"{name}: SANA-FE's neurons fire once a step, and one of {name!r} does so several times; merge its events")
    trains: list[list[int]] = [[] for _ in range(neurons)]
    for n, t in zip(neuron.tolist(), step.tolist(), strict=True):
        trains[n] += [0] * (t - 1 - len(trains[n])) + [1]
    return trains
