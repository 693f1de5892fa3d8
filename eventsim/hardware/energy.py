"""Energy is affine: static power times time, and what was counted times what each costs, by unit."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from eventsim.hardware.architecture import Architecture

# What is counted of a chip, in the order in which compiled code keeps it.
UNITS = (
    "neuron access",
    "neuron update",
    "spike",
    "message out",
    "east-west hop",
    "north-south hop",
    "within a tile",
    "message in",
    "synapse",
    "row",
    "cell",
    "conversion",
)


def energy_of(architecture: Architecture, counts: Mapping[str, int], duration: int) -> dict[str, Fraction]:
    """Picojoules by unit, exactly; ``"static"`` is what time costs. Units that cost nothing are left out.

    Parameters
    ----------
    architecture : Architecture
    counts : mapping of str to int
        By unit.
    duration : int
        Picoseconds.
    """
    # A nanowatt for a picosecond is a thousandth of an attojoule; a picojoule is a million of these.
    energies = {"static": Fraction(architecture.chip.static_power * duration, 10**9)}
    for unit in UNITS:
        energies[unit] = Fraction(architecture.energies.get(unit, 0) * int(counts.get(unit, 0)), 10**6)
    return {unit: energy for unit, energy in energies.items() if energy or unit == "static"}
