"""Operation counts of runs, by stated definitions (docs/definitions.md), and their energy by a cost model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from eventsim.analysis.costs.model import CostModel, Parts
from eventsim.analysis.costs.operations import Costs as Costs
from eventsim.errors import RunError
from eventsim.job.job import OPERATIONS
from eventsim.record.result import Run, RunInfo


@dataclass(frozen=True)
class OperationCount:
    """Operations of one projection, of one encoder, or of several together: in one run, a sum over runs, or a mean of them.

    Attributes
    ----------
    name : str
    role : {"synapses", "comparisons", "input", "bias"}
        Projections; those to maximum populations; encoders of driven populations; projections from bias clocks.
    spikes : int
        Spikes delivered.
    neurons : int
        Of the source population (0 for encoders).
    neuron_steps : float
        Source neurons times simulated steps.
    synaptic_events, additions, toolbox : int
    neurobench_acs, neurobench_macs, neurobench_dense : int
    macs : int
        Multiply-accumulates of the dense source network's layer, once per run.
    comparisons : int
        Of net counts, by the spikes of projections to maximum populations.
    """

    name: str
    role: Literal["synapses", "comparisons", "input", "bias"]
    spikes: float
    neurons: int
    neuron_steps: float
    synaptic_events: float
    additions: float
    toolbox: float
    neurobench_acs: float
    neurobench_macs: float
    neurobench_dense: float
    macs: float
    comparisons: float = 0

    @property
    def rate(self) -> float:
        """Mean spikes per source neuron and step."""
        return self.spikes / self.neuron_steps if self.neuron_steps else 0.0

    @property
    def events_per_mac(self) -> float | None:
        """Synaptic events per multiply-accumulate of the source network."""
        return self.synaptic_events / self.macs if self.macs and self.role == "synapses" else None

    def energy_parts(self, costs: CostModel) -> Parts:
        """Energy in picojoules by kind and part, as the cost model has them; see :class:`eventsim.analysis.costs.operations.Costs`."""
        return costs.of_layer(self)

    def energy(self, costs: CostModel) -> dict[str, float]:
        """The sums of :meth:`energy_parts`, by kind, in picojoules."""
        return costs.energy(self)


@dataclass(frozen=True)
class OperationReport:
    """Counts of the runs of one network.

    Attributes
    ----------
    runs : int
    counts : {"sum", "mean"}
        What every count is: the sum over the runs, or the mean of a run.
    rows : list of OperationCount
        Encoders, projections and bias projections, in the network's order.
    synapses, comparisons, input, bias : OperationCount
        Totals by role.
    neurons : float
        Neurons of all populations but sources, times runs: the units of the dense source network, once per run.
    neuron_updates : float
        The same neurons times steps begun.
    network : str or None
        Digest of the network, where it is known.
    decays : float
        Of leaky neurons, times steps begun: one of each potential, and one of each synaptic current.
    """

    runs: int
    counts: Literal["sum", "mean"]
    rows: list[OperationCount]
    synapses: OperationCount
    comparisons: OperationCount
    input: OperationCount
    bias: OperationCount
    neurons: float
    neuron_updates: float
    network: str | None = field(default=None, compare=False)
    decays: float = 0

    def mean(self) -> OperationReport:
        """The same counts as means of a run."""
        if self.counts == "mean":
            return self

        def share(count: OperationCount) -> OperationCount:
            shares: dict[str, Any] = {key: _share(getattr(count, key), self.runs) for key in _SUMMED}
            return replace(count, **shares)

        return OperationReport(
            self.runs,
            "mean",
            [share(row) for row in self.rows],
            share(self.synapses),
            share(self.comparisons),
            share(self.input),
            share(self.bias),
            _share(self.neurons, self.runs),
            _share(self.neuron_updates, self.runs),
            self.network,
            _share(self.decays, self.runs),
        )

    def totals(self) -> dict[str, OperationCount]:
        """The totals by role."""
        return {role: getattr(self, role) for role in _ROLES}

    def energy_parts(self, costs: CostModel) -> Parts:
        """Energy in picojoules by kind and part, as the cost model has them, and the part ``"neurons"``."""
        totals = [total.energy_parts(costs) for total in self.totals().values()]
        parts = {kind: {part: sum(total[kind][part] for total in totals) for part in totals[0][kind]} for kind in costs.kinds}
        neurons = costs.of_neurons(self)
        return {kind: parts[kind] | {"neurons": neurons[kind]} for kind in costs.kinds}

    def energy(self, costs: CostModel) -> dict[str, float]:
        """The sums of :meth:`energy_parts`, by kind, in picojoules."""
        return costs.energy(self)

    def to_dict(self, costs: CostModel) -> dict[str, Any]:
        """All counts as JSON values, sums or means as ``counts`` says; energies in picojoules."""

        def row(count: OperationCount) -> dict[str, Any]:
            return asdict(count) | {"rate": count.rate, "events_per_mac": count.events_per_mac, "energy_pj": count.energy(costs)}

        return {
            "runs": self.runs,
            "counts": self.counts,
            "rows": [row(r) for r in self.rows],
            "totals": {role: row(total) for role, total in self.totals().items()},
            "neurons": self.neurons,
            "neuron_updates": self.neuron_updates,
            "decays": self.decays,
            "energy_pj": self.energy(costs),
            "energy_parts_pj": self.energy_parts(costs),
            "costs": costs.facts(),
        }


_ROLES = "synapses", "comparisons", "input", "bias"
_SUMMED = (
    "spikes", "neuron_steps", "synaptic_events", "additions", "toolbox", "neurobench_acs", "neurobench_macs", "neurobench_dense", "macs",
    "comparisons",
)  # fmt: skip


def _share(total: float, runs: int) -> float:
    """A whole number stays one where it can, whatever its size."""
    return total // runs if isinstance(total, int) and total % runs == 0 else total / runs


def count_operations(runs: Sequence[Run]) -> OperationReport:
    """Count the operations of one or more runs of the same network: sums over the runs.

    Raises
    ------
    RunError
        No runs, or runs of different networks.
    """
    return add_reports([_of_run(run) for run in runs])


def add_reports(reports: Sequence[OperationReport]) -> OperationReport:
    """The sum of sums over runs of the same network: every run counts alike, whichever report it comes from.

    Raises
    ------
    RunError
        No reports, or of different networks.
    """
    if not reports:
        raise RunError("no runs to count")
    first = [(r.name, r.role, r.neurons) for r in reports[0].rows]
    networks = {r.network for r in reports} - {None}
    if len(networks) > 1 or any([(r.name, r.role, r.neurons) for r in report.rows] != first for report in reports):
        raise RunError("the runs are of different networks; count them apart")
    assert all(report.counts == "sum" for report in reports)
    rows = [_sum(*key, same) for key, same in zip(first, zip(*(report.rows for report in reports), strict=True), strict=True)]
    neurons, updates, decays = (sum(getattr(r, name) for r in reports) for name in ("neurons", "neuron_updates", "decays"))
    return _with_totals(sum(r.runs for r in reports), rows, neurons, updates, decays, next(iter(networks), None))


def _sum(name: str, role: Any, neurons: int, counts: Sequence[OperationCount]) -> OperationCount:
    return OperationCount(name=name, role=role, neurons=neurons, **{key: sum(getattr(c, key) for c in counts) for key in _SUMMED})


def report_operations(
    info: RunInfo, sums: Mapping[str, Sequence[int]], effective: Sequence[int], runs: int, begun: int, duration: float
) -> OperationReport:
    """The report of runs that share a description: sums over the runs.

    Parameters
    ----------
    info : RunInfo
    sums : mapping of str to sequence of int
        By name (:data:`eventsim.job.job.OPERATIONS`): counts per projection, summed over the runs.
    effective : sequence of int
        Per encoder: sum over the runs of its effective synapses times steps begun.
    runs : int
    begun : int
        Steps begun, summed over the runs: a time-stepped simulator runs each of them whole.
    duration : float
        Simulated steps, summed over the runs.
    """
    sizes = {p.name: p.size for p in info.populations}
    rows = [
        OperationCount(
            name=f"input->{e.population}",
            role="input",
            spikes=0,
            neurons=0,
            neuron_steps=0.0,
            synaptic_events=0,
            additions=0,
            toolbox=0,
            neurobench_acs=0,
            neurobench_macs=n,
            neurobench_dense=e.synapses * begun,
            macs=e.macs * runs,
        )
        for e, n in zip(info.encoders, effective, strict=True)
    ]
    for i, p in enumerate(info.projections):
        rows.append(
            OperationCount(
                name=p.name,
                role="bias" if p.bias else "comparisons" if p.compares else "synapses",
                spikes=sums["deliveries"][i],
                neurons=sizes[p.source],
                neuron_steps=sizes[p.source] * duration,
                synaptic_events=0 if p.compares else sums["synaptic_events"][i],
                additions=sums["additions"][i],
                # Neither definition counts biases as synaptic operations.
                toolbox=0 if p.bias else sums["toolbox"][i],
                neurobench_acs=0 if p.bias else sums["effective"][i],
                neurobench_macs=0,
                neurobench_dense=0 if p.apart else p.synapses * begun,
                macs=0 if p.bias else p.macs * runs,
                comparisons=sums["synaptic_events"][i] if p.compares else 0,
            )
        )
    neurons = sum(p.size for p in info.populations if p.fires or p.reads_out)
    decays = sum(p.size * p.decays for p in info.populations)
    network = info.settings.get("network_sha256")
    return _with_totals(runs, rows, neurons * runs, neurons * begun, decays * begun, network if isinstance(network, str) else None)


def _with_totals(
    runs: int, rows: list[OperationCount], neurons: float, updates: float, decays: float, network: str | None
) -> OperationReport:
    totals = {}
    for role in _ROLES:
        chosen = [r for r in rows if r.role == role]
        totals[role] = _sum("total", role, sum(r.neurons for r in chosen), chosen)
    return OperationReport(runs, "sum", rows, **totals, neurons=neurons, neuron_updates=updates, network=network, decays=decays)


def _of_run(run: Run) -> OperationReport:
    counts, info = run.counts, run.info
    begun = len(counts.spikes)
    sums = {name: getattr(counts, name).sum(0).tolist() for name in OPERATIONS}
    return report_operations(info, sums, [e.effective * begun for e in info.encoders], 1, begun, run.duration)
