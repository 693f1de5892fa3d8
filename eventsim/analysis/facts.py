"""Facts about a network file, a trace or an evaluation, as JSON values: what ``info`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eventsim.analysis.counting import count_operations
from eventsim.analysis.evaluation import Evaluation, is_evaluation
from eventsim.errors import NetworkFileError, TraceError
from eventsim.model.netfile import load
from eventsim.model.network import Network
from eventsim.model.storage.format import FORMAT
from eventsim.record.trace import Trace


def describe_file(path: Path, verify: bool = False) -> dict[str, Any]:
    """Facts about a network file, a trace or an evaluation.

    Parameters
    ----------
    path : Path
    verify : bool
        Read and verify all of it, and say so (``"verified"``). Of a network file that is always done.

    Raises
    ------
    NetworkFileError, TraceError, RunError
        None of these, or a damaged one.
    """
    try:
        # Opening a pipe would wait for a writer for ever.
        if not (path.is_file() or path.is_dir()) and path.exists():
            raise NetworkFileError(f"{path}: is a device or a pipe, expected a file")
        with open(path, "rb") as stream:
            head = stream.read(len(FORMAT))
    except OSError as error:
        raise NetworkFileError(f"{path}: cannot be read ({error.strerror})") from None
    facts: dict[str, Any] = {"file": str(path), "bytes": path.stat().st_size}
    if head == FORMAT.encode():
        return facts | network_facts(load(path)) | ({"verified": _SEALED} if verify else {})
    if is_evaluation(path):
        with Evaluation(path) as evaluation:
            return facts | evaluation_facts(evaluation) | (_verified(evaluation) if verify else {})
    try:
        with Trace(path) as trace:
            return facts | trace_facts(trace) | (_verified(trace) if verify else {})
    except TraceError as error:
        if "not a readable HDF5" in str(error):
            raise TraceError(f"{path}: neither a network file, a trace nor an evaluation of eventsim") from None
        raise


# What is told of a projection in a run.
_COUNTED = ("spikes", "synaptic_events", "additions", "macs", "comparisons")
_SEALED = "all of it, against its check sums"


def _verified(file: Trace | Evaluation) -> dict[str, Any]:
    file.verify()
    return {"verified": _SEALED if file.sealed else "all of it can be read; a file of this version has no check sums"}


def network_facts(network: Network) -> dict[str, Any]:
    """Facts about a network: populations, projections, totals, provenance."""
    populations = []
    for name, p in network.populations.items():
        facts: dict[str, Any] = {"name": name, "kind": p.kind, "shape": list(p.shape), "neurons": p.size}
        populations.append(facts | p.facts())
    projections: list[dict[str, Any]] = []
    encoders = [
        (f"input->{name}", network.input.shape, p.shape, p.encoder, 0.0, False)
        for name, p in network.populations.items()
        if p.encoder is not None and network.input is not None
    ]
    joined = []
    for q in network.projections:
        source = network.populations[q.source]
        joined.append((q.name, source.shape, network.populations[q.target].shape, q.table, q.delay, source.is_clock))
    for name, before, after, table, delay, bias in encoders + joined:
        binary = table.magnitude is not None
        projections.append(
            {
                "name": name,
                "table": table.kind,
                "weights": int(table.weights.size),
                "binary": binary,
                "magnitude": table.magnitude,
                "bits": 1 if binary else 8 * table.weights.dtype.itemsize,
                "synapses": int(table.fan_out(before, after).sum()),
                "macs": table.macs(before, after),
                "stored_bytes": table.stored_bytes,
                "delay": delay,
                "bias": bias,
                "compares": not table.weighted,
            }
        )
    weights = sum(p["weights"] for p in projections if not p["bias"])
    return {
        "kind": "network",
        "populations": populations,
        "projections": projections,
        "neurons": sum(p["neurons"] for p in populations),
        "weights": weights,
        "binary_share": sum(p["weights"] for p in projections if p["binary"] and not p["bias"]) / weights if weights else 0.0,
        "synapses": sum(p["synapses"] for p in projections if not (p["bias"] or p["compares"])),
        "macs": sum(p["macs"] for p in projections if not p["bias"]),
        "input": None if network.input is None else list(network.input.shape),
        "output": network.output,
        "labels": network.labels,
        "provenance": network.provenance,
    }


def trace_facts(trace: Trace) -> dict[str, Any]:
    """Facts about a trace: the run's summary, and per population and projection what happened."""
    recorded = trace.recorded
    latency = trace.first_spike_latency()
    populations = [
        {
            "name": p.name,
            "kind": p.kind,
            "shape": list(p.shape),
            "spikes": n,
            "rate": n / p.size / trace.duration,
            "first_spike": latency[p.name],
            "recorded": p.name in recorded,
        }
        for p, n in zip(trace.info.populations, trace.counts.spikes.sum(0).tolist(), strict=True)
    ]
    projections = [
        {"name": r.name} | {key: getattr(r, key) for key in _COUNTED} for r in count_operations([trace]).rows if r.role != "input"
    ]
    return {"kind": "trace", "summary": trace.summary(), "populations": populations, "projections": projections}


def evaluation_facts(evaluation: Evaluation) -> dict[str, Any]:
    """Facts about an evaluation: its summary, and what happened per image in every population and projection."""
    spikes = evaluation.over_time("spikes").sum(0).tolist()
    populations = [
        {"name": p.name, "kind": p.kind, "shape": list(p.shape), "spikes": n, "spikes_per_neuron": n / p.size}
        for p, n in zip(evaluation.info.populations, spikes, strict=True)
    ]
    projections = [
        {"name": r.name} | {key: getattr(r, key) for key in _COUNTED} for r in evaluation.operations().mean().rows if r.role != "input"
    ]
    return {"kind": "evaluation", "summary": evaluation.summary(), "populations": populations, "projections": projections}
