"""Operation counts of runs, by stated definitions (docs/definitions.md), and energy as counts times a table of costs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from eventsim.errors import RunError
from eventsim.job import OPERATIONS
from eventsim.result import Run, RunInfo


@dataclass(frozen=True)
class Costs:
    """Energy of one operation, in picojoules.

    The default is the usual table for 45 nm: Horowitz, "Computing's energy problem", ISSCC 2014.

    Attributes
    ----------
    name : str
    int8_add, float32_add, float32_mac : float
    """

    name: str = "45nm"
    int8_add: float = 0.03
    float32_add: float = 0.9
    float32_mac: float = 4.6

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Costs:
        """Read a table of costs from a JSON file: an object with this class's attributes; missing ones keep their default.

        Raises
        ------
        RunError
            Not such a file.
        """
        try:
            raw = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: not a readable table of costs ({error})") from None
        known = {f.name for f in fields(cls)}
        if not isinstance(raw, dict) or not set(raw) <= known or "name" not in raw:
            raise RunError(f"{path}: a table of costs is a JSON object with a name and any of {', '.join(sorted(known - {'name'}))}")
        for key, value in raw.items():
            if key != "name" and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf):
                raise RunError(f"{path}: {key} must be picojoules, found {value!r}")
        return cls(**raw | {"name": str(raw["name"])})


@dataclass(frozen=True)
class OperationCount:
    """Operations of one projection, of one encoder, or of several together, in one run or summed over runs.

    Attributes
    ----------
    name : str
    role : {"synapses", "input", "bias"}
        Projections; encoders of driven populations; projections from bias clocks.
    spikes : int
        Spikes delivered.
    neurons : int
        Of the source population (0 for encoders).
    neuron_steps : float
        Source neurons times simulated steps, summed over runs.
    synaptic_events, additions, toolbox : int
    neurobench_acs, neurobench_macs, neurobench_dense : int
    macs : int
        Multiply-accumulates of the dense source network's layer, once per run.
    """

    name: str
    role: Literal["synapses", "input", "bias"]
    spikes: int
    neurons: int
    neuron_steps: float
    synaptic_events: int
    additions: int
    toolbox: int
    neurobench_acs: int
    neurobench_macs: int
    neurobench_dense: int
    macs: int

    @property
    def rate(self) -> float:
        """Mean spikes per source neuron and step."""
        return self.spikes / self.neuron_steps if self.neuron_steps else 0.0

    @property
    def events_per_mac(self) -> float | None:
        """Synaptic events per multiply-accumulate of the source network."""
        return self.synaptic_events / self.macs if self.macs and self.role == "synapses" else None

    def energy(self, costs: Costs) -> dict[str, float]:
        """Energy in picojoules: of the spiking layer with int8 or float32 additions, and of the dense source layer.

        An encoder's multiply-accumulates happen once per run in both. The source network adds its biases within its
        multiply-accumulates, so a bias projection has no energy of its own there.
        """
        once = self.macs * costs.float32_mac
        if self.role == "input":
            return {"int8": once, "float32": once, "dense": once}
        return {
            "int8": self.synaptic_events * costs.int8_add,
            "float32": self.synaptic_events * costs.float32_add,
            "dense": once,
        }


@dataclass(frozen=True)
class OperationReport:
    """Counts of one run or the sum over several runs of one network.

    Attributes
    ----------
    runs : int
    rows : list of OperationCount
        Encoders, projections and bias projections, in the network's order.
    synapses, input, bias : OperationCount
        Totals by role.
    """

    runs: int
    rows: list[OperationCount]
    synapses: OperationCount
    input: OperationCount
    bias: OperationCount

    def to_dict(self, costs: Costs) -> dict[str, Any]:
        """All counts as JSON values, sums over the runs; energies in picojoules."""

        def row(count: OperationCount) -> dict[str, Any]:
            return asdict(count) | {"rate": count.rate, "events_per_mac": count.events_per_mac, "energy_pj": count.energy(costs)}

        energy = {
            kind: sum(total.energy(costs)[kind] for total in (self.synapses, self.input, self.bias))
            for kind in ("int8", "float32", "dense")
        }
        return {
            "runs": self.runs,
            "rows": [row(r) for r in self.rows],
            "totals": {"synapses": row(self.synapses), "input": row(self.input), "bias": row(self.bias)},
            "energy_pj": energy,
            "costs": asdict(costs),
        }


_SUMMED = (
    "spikes", "neuron_steps", "synaptic_events", "additions", "toolbox", "neurobench_acs", "neurobench_macs", "neurobench_dense", "macs",
)  # fmt: skip


def count_operations(runs: Sequence[Run]) -> OperationReport:
    """Count the operations of one or more runs of the same network.

    Raises
    ------
    RunError
        No runs, or runs of networks with other projections.
    """
    if not runs:
        raise RunError("no runs to count")
    per_run = [_rows(run) for run in runs]
    first = [(r.name, r.role, r.neurons) for r in per_run[0]]
    for rows in per_run[1:]:
        if [(r.name, r.role, r.neurons) for r in rows] != first:
            raise RunError("the runs are of different networks; count them apart")
    rows = [_sum(same[0].name, same[0].role, same[0].neurons, list(same)) for same in zip(*per_run, strict=True)]
    return _with_totals(len(runs), rows)


def _sum(name: str, role: Any, neurons: int, counts: Sequence[OperationCount]) -> OperationCount:
    return OperationCount(name=name, role=role, neurons=neurons, **{key: sum(getattr(c, key) for c in counts) for key in _SUMMED})


def report_operations(
    info: RunInfo, sums: Mapping[str, Sequence[int]], effective: Sequence[int], runs: int, begun: int, duration: float
) -> OperationReport:
    """The report of runs that share a description.

    Parameters
    ----------
    info : RunInfo
    sums : mapping of str to sequence of int
        By name (:data:`eventsim.job.OPERATIONS`): counts per projection, summed over the runs.
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
                role="bias" if p.bias else "synapses",
                spikes=sums["deliveries"][i],
                neurons=sizes[p.source],
                neuron_steps=sizes[p.source] * duration,
                synaptic_events=sums["synaptic_events"][i],
                additions=sums["additions"][i],
                # Neither definition counts biases as synaptic operations.
                toolbox=0 if p.bias else sums["toolbox"][i],
                neurobench_acs=0 if p.bias else sums["effective"][i],
                neurobench_macs=0,
                neurobench_dense=0 if p.bias else p.synapses * begun,
                macs=0 if p.bias else p.macs * runs,
            )
        )
    return _with_totals(runs, rows)


def _with_totals(runs: int, rows: list[OperationCount]) -> OperationReport:
    totals = {}
    for role in ("synapses", "input", "bias"):
        chosen = [r for r in rows if r.role == role]
        totals[role] = _sum("total", role, sum(r.neurons for r in chosen), chosen)
    return OperationReport(runs, rows, **totals)


def _rows(run: Run) -> list[OperationCount]:
    counts, info = run.counts, run.info
    begun = len(counts.spikes)
    sums = {name: getattr(counts, name).sum(0).tolist() for name in OPERATIONS}
    return report_operations(info, sums, [e.effective * begun for e in info.encoders], 1, begun, run.duration).rows
