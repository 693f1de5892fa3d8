"""Faults and variation, seeded: a network made from a network, as cells that err, stick or vary would have it.

Cells hold binary weights: a cell at 1 is the positive one of a table's two weights, a cell at 0 the negative one. Tables with other weights
(first and last layers, biases) are taken to lie in memory that does not err. A convolution's kernel has one cell a weight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eventsim.errors import HardwareError
from eventsim.model.limits import POTENTIAL_MIN
from eventsim.model.network import Network, Projection
from eventsim.model.populations.checks import checked_per_channel
from eventsim.model.populations.leaky import checked_amount
from eventsim.model.tables import IntArray

# Weights that vary are whole numbers of parts of what they were; so are the thresholds, potentials and other weights beside them.
PARTS = 256
# What of populations is in the unit of potentials, beside thresholds and what a spike takes, and the least that it may be.
_OF_POTENTIALS = {"v0": POTENTIAL_MIN, "leak": 0}
# Of what a fault is given as.
_MOST = {"flips": 1, "stuck_at_0": 1, "stuck_at_1": 1, "spread": 10, "threshold_spread": 10, "lost": 1, "jitter": 1000}


@dataclass(frozen=True)
class Faults:
    """What is wrong with cells and neurons.

    Attributes
    ----------
    flips : float
        Probability that a weight has the wrong sign.
    stuck_at_0, stuck_at_1 : float
        Shares of cells that hold 0, or 1, whatever is written.
    spread : float
        Standard deviation of a cell's conductance, relative to it (normally distributed): the weight is rounded to 1/256 of its size.
    threshold_spread : float
        Standard deviation of thresholds, relative to them, channel by channel; rounded, and at least 1.
    lost : float
        Probability that a spike reaches nothing. Its neuron has fired.
    jitter : float
        By how many steps a spike leaves late at most; every number of ticks until then is as likely.

    Raises
    ------
    HardwareError
        Out of range.
    """

    flips: float = 0.0
    stuck_at_0: float = 0.0
    stuck_at_1: float = 0.0
    spread: float = 0.0
    threshold_spread: float = 0.0
    lost: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) or not 0 <= value <= most:
                raise HardwareError(f"{name} must be a number in 0..{most}, found {getattr(self, name)!r}")
        if self.stuck_at_0 + self.stuck_at_1 > 1:
            raise HardwareError(
                f"stuck_at_0 and stuck_at_1 are shares of all cells, and more than 1 together: {self.stuck_at_0 + self.stuck_at_1}"
            )

    @property
    def of_spikes(self) -> bool:
        """Whether it changes what happens to spikes: no network does that, only :class:`eventsim.hardware.imperfect.Imperfect`."""
        return max(self.lost, self.jitter) > 0

    @property
    def of_cells(self) -> bool:
        """Whether it changes weights."""
        return max(self.flips, self.stuck_at_0, self.stuck_at_1, self.spread) > 0


def checked_seed(seed: int) -> int:
    """A seed of faults.

    Raises
    ------
    HardwareError
        No whole number in 0..2**63-1.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise HardwareError(f"a seed is a whole number in 0..{2**63 - 1}, found {seed!r}")
    return int(seed)


def with_faults(network: Network, faults: Faults, seed: int) -> Network:
    """The network as faulty hardware has it; the same for the same seed.

    Raises
    ------
    HardwareError
        Cells err, and the network has no binary weights; or spikes are lost or late, which no network does; or no such seed.
    NetworkError
        Weights that vary, or what stands beside them, would be too large.
    """
    seed = checked_seed(seed)
    if faults.of_spikes:
        raise HardwareError("spikes that are lost or late are no other network; eventsim.hardware.imperfect.Imperfect runs one with them")
    binary = [i for i, p in enumerate(network.projections) if p.table.magnitude is not None and not network.populations[p.source].is_clock]
    if faults.of_cells and not binary:
        raise HardwareError("the network has no binary weights, and cells hold nothing else; only threshold_spread changes it")
    projections = list(network.projections)
    if faults.of_cells:
        for i in binary:
            projections[i] = _with_cells(projections[i], faults, np.random.default_rng([seed, 0, i]))
    finer = {network.projections[i].target for i in binary} if faults.spread else set()
    for i, projection in enumerate(projections):
        if projection.target in finer and i not in binary:
            projections[i] = _weights(projection, projection.table.weights.astype(np.int64) * PARTS)
    populations = dict(network.populations)
    for number, (name, population) in enumerate(network.populations.items()):
        rng = np.random.default_rng([seed, 1, number])
        populations[name] = _in_parts(name, population, PARTS if name in finer else 1, faults.threshold_spread, rng)
    return replace(network, populations=populations, projections=projections)


def _in_parts(name: str, population: Any, parts: int, spread: float, rng: np.random.Generator) -> Any:
    """A population with everything in the unit of its potentials times ``parts``, and with thresholds that vary."""
    if parts == 1 and not spread:
        return population
    changed: dict[str, IntArray] = {}
    unit = f" in 1/{parts} of a weight" if parts > 1 else ""
    for what, least in _OF_POTENTIALS.items():
        values = getattr(population, what, None)
        if values is not None:
            changed[what] = checked_per_channel(values * parts, population.shape, name, what + unit, least)
    if population.threshold is not None:
        varied = population.threshold * parts
        if spread:
            varied = np.maximum(1, np.rint(varied * (1 + spread * rng.standard_normal(len(varied))))).astype(np.int64)
        amount = getattr(population, "amount", None)
        if amount is not None and population.reset == "subtract":
            # Of most neurons a spike takes the threshold, whatever that is.
            amount = np.where(amount == population.threshold, varied, amount * parts)
        elif amount is not None:
            amount = amount * parts
            varied = np.maximum(varied, amount + 1)
        changed["threshold"] = checked_per_channel(varied, population.shape, name, "thresholds" + unit, 1)
        if amount is not None:
            changed["amount"] = checked_amount(population.reset, amount, varied, population.shape, name)
    return replace(population, **changed) if changed else population


def _with_cells(projection: Projection, faults: Faults, rng: np.random.Generator) -> Projection:
    weights, magnitude = projection.table.weights, projection.table.magnitude
    assert magnitude is not None
    positive = (weights > 0) ^ (rng.random(weights.shape) < faults.flips)
    stuck = rng.random(weights.shape)
    positive &= stuck >= faults.stuck_at_0
    positive |= stuck >= 1 - faults.stuck_at_1
    signs = np.where(positive, 1, -1)
    if not faults.spread:
        return _weights(projection, signs * magnitude)
    size = PARTS * magnitude * (1 + faults.spread * rng.standard_normal(weights.shape))
    return _weights(projection, signs * np.rint(size).astype(np.int64))


def _weights(projection: Projection, weights: IntArray) -> Projection:
    return replace(projection, table=replace(projection.table, weights=weights))  # type: ignore[type-var]
