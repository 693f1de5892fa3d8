"""A price for each operation (docs/definitions.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from eventsim.analysis.costs.model import CostModel, Parts

if TYPE_CHECKING:
    from eventsim.analysis.counting import OperationCount, OperationReport


@dataclass(frozen=True)
class Costs(CostModel):
    """Energy of one operation, in picojoules (what is counted for each: docs/definitions.md).

    The default is the usual table for 45 nm: Horowitz, "Computing's energy problem", ISSCC 2014. It knows arithmetic only.

    Attributes
    ----------
    name : str
    int8_add, float32_add, float32_mac : float
        Arithmetic.
    memory_read : float
        Fetching one weight.
    routing : float
        Bringing one spike to the targets of one projection, all hops together.
    neuron_update : float
        One neuron in one step.
    decay : float
        Of one potential or synaptic current of a leaky neuron in one step, beside that.
    comparison : float
        Of two counts, in a maximum population. The usual table has no number for it; a comparison is a subtraction whose difference is
        not kept, so that of an int8 addition is assumed.
    """

    name: str = "45nm"
    int8_add: float = 0.03
    float32_add: float = 0.9
    float32_mac: float = 4.6
    memory_read: float = 0.0
    routing: float = 0.0
    neuron_update: float = 0.0
    comparison: float = 0.03
    decay: float = 0.0

    # The spiking network with int8 or float32 additions, and the dense source network.
    kinds: ClassVar[tuple[str, ...]] = ("int8", "float32", "dense")

    def of_layer(self, count: OperationCount) -> Parts:
        """Energy of the spiking layer with int8 or float32 additions, and of the dense source layer.

        An encoder's multiply-accumulates happen once per run in both networks. The source network adds its biases within its
        multiply-accumulates, so a bias projection has no energy of its own there. A bias is the neuron's own: it is fetched and
        added, not routed.

        Returns
        -------
        dict
            By kind (``"int8"``, ``"float32"``, ``"dense"``): ``"arithmetic"``, ``"memory"`` and ``"routing"``.
        """
        once = {"arithmetic": count.macs * self.float32_mac, "memory": count.macs * self.memory_read, "routing": 0.0}
        if count.role == "input":
            return {kind: dict(once) for kind in self.kinds}
        delivered = {
            "memory": count.synaptic_events * self.memory_read,
            "routing": count.spikes * self.routing if count.role != "bias" else 0.0,
        }
        # Counts are integers whatever potentials are.
        compared = count.comparisons * self.comparison
        return {
            "int8": {"arithmetic": count.synaptic_events * self.int8_add + compared, **delivered},
            "float32": {"arithmetic": count.synaptic_events * self.float32_add + compared, **delivered},
            "dense": once,
        }

    def of_neurons(self, report: OperationReport) -> dict[str, float]:
        """Updates of the neurons, and decays: in every step begun, or once in the dense source network, which does not leak."""
        spiking = report.neuron_updates * self.neuron_update + report.decays * self.decay
        return {kind: report.neurons * self.neuron_update if kind == "dense" else spiking for kind in self.kinds}

    def phrases(self) -> dict[str, tuple[str, str]]:
        """By kind: what stands before its energy in a sentence, and after it."""
        return {
            "int8": ("", f"with int8 additions ({self.int8_add:g} pJ)"),
            "float32": ("", f"with float32 additions ({self.float32_add:g} pJ)"),
            "dense": ("dense source network", f"({self.float32_mac:g} pJ a MAC; all three with the input layer)"),
        }

    def apart(self) -> str | None:
        """The prices beside those of arithmetic, if there are any."""
        if not (self.memory_read or self.routing or self.neuron_update or self.decay):
            return None
        decays = f", {self.decay:g} pJ a decay" if self.decay else ""
        return (
            f"{self.memory_read:g} pJ a weight read, {self.routing:g} pJ a spike routed, {self.neuron_update:g} pJ a neuron update{decays}"
        )
