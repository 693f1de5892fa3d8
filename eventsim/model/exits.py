"""Early exit: the rules by which a run stops before its end. There is one definition, for engines, analysis and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eventsim.errors import RunError
from eventsim.model.network import Network
from eventsim.model.tables import IntArray

ExitKind = Literal["margin", "potential"]
EXIT_KINDS: tuple[ExitKind, ...] = ("margin", "potential")
# The largest margin between two potentials of 32 bits.
_LARGEST = 2**32 - 1


@dataclass(frozen=True)
class ExitRule:
    """Stop after the first tick at which it holds.

    ``potential``: the largest readout potential is at least ``threshold``. ``margin``: the largest minus the second
    largest is.
    """

    kind: ExitKind
    threshold: int

    @classmethod
    def from_settings(cls, exit_margin: int | None, exit_potential: int | None) -> ExitRule | None:
        """The rule that these settings of a run ask for, None if there is none.

        Raises
        ------
        RunError
            Both are given.
        """
        if exit_margin is not None and exit_potential is not None:
            raise RunError("give one exit rule: a margin or a potential")
        if exit_margin is not None:
            return cls("margin", exit_margin)
        return None if exit_potential is None else cls("potential", exit_potential)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of a run that ask for it: keyword arguments of :meth:`from_settings` and of :meth:`eventsim.Simulator.run`."""
        return {f"exit_{self.kind}": self.threshold}

    @property
    def facts(self) -> dict[str, Any]:
        """The rule as JSON values, as the description of a run has it."""
        return {"kind": self.kind, "threshold": int(self.threshold)}

    def holds(self, potentials: IntArray) -> bool:
        """Whether the rule holds for these readout potentials, (neurons,)."""
        return bool(exit_values(potentials, self.kind) >= self.threshold)

    def check(self, network: Network) -> None:
        """Raise RunError if the rule makes no sense for a network: no output, one output neuron without a second, held from the start."""
        if network.output is None:
            raise RunError("early exit needs an output readout, and the network has none")
        start = network.populations[network.output].initial_potentials()
        if self.kind not in exit_kinds(len(start)):
            raise RunError("early exit by margin needs at least two output neurons")
        if isinstance(self.threshold, bool) or not isinstance(self.threshold, (int, np.integer)):
            raise RunError(f"the exit {self.kind} must be a whole number (readout potentials are), found {self.threshold!r}")
        if abs(int(self.threshold)) > _LARGEST:
            raise RunError(f"an exit {self.kind} of {self.threshold} can never hold: potentials fit 32 bits; choose a smaller one")
        if self.holds(start):
            raise RunError(f"an exit {self.kind} of {self.threshold} holds before the first spike; choose a larger one")


def exit_kinds(outputs: int) -> list[ExitKind]:
    """Kinds of rules that make sense for so many output neurons."""
    return [kind for kind in EXIT_KINDS if kind != "margin" or outputs > 1]


def exit_values(potentials: npt.NDArray[Any], kind: ExitKind) -> IntArray:
    """What a rule compares with its threshold: of potentials (..., neurons) the largest, or its lead over the second, (...)."""
    if kind == "potential":
        largest: IntArray = potentials.max(-1)
        return largest
    two = np.partition(potentials, -2, axis=-1)[..., -2:]
    lead: IntArray = two[..., 1] - two[..., 0]
    return lead
