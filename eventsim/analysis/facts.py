"""``info``: facts about a network file, a trace or an evaluation, as JSON values and as tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from eventsim.analysis.counting import count_operations
from eventsim.analysis.evaluation import Evaluation, is_evaluation
from eventsim.errors import NetworkFileError, TraceError
from eventsim.files.printable import printable
from eventsim.model.netfile import FORMAT, load
from eventsim.model.network import Driven, Network, Source, Spiking
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


_SEALED = "all of it, against its check sums"


def _verified(file: Trace | Evaluation) -> dict[str, Any]:
    file.verify()
    return {"verified": _SEALED if file.sealed else "all of it can be read; a file of this version has no check sums"}


def network_facts(network: Network) -> dict[str, Any]:
    """Facts about a network: populations, projections, totals, provenance."""
    populations = []
    for name, p in network.populations.items():
        facts: dict[str, Any] = {"name": name, "kind": p.kind, "shape": list(p.shape), "neurons": int(np.prod(p.shape))}
        if isinstance(p, (Driven, Spiking)):
            facts |= {"threshold_min": int(p.threshold.min()), "threshold_max": int(p.threshold.max()), "refractory": p.refractory}
            facts |= {"v0_min": int(p.v0.min()), "v0_max": int(p.v0.max())}
        if isinstance(p, Spiking):
            facts |= {"reset": p.reset, "signed": p.signed}
        if isinstance(p, Source):
            facts["emits"] = p.emits
        populations.append(facts)
    projections: list[dict[str, Any]] = []
    encoders = [
        (f"input->{name}", network.input.shape, p.shape, p.encoder, 0.0, False)
        for name, p in network.populations.items()
        if isinstance(p, Driven) and p.encoder is not None and network.input is not None
    ]
    joined = []
    for q in network.projections:
        source = network.populations[q.source]
        bias = isinstance(source, Source) and source.emits == "clock"
        joined.append((q.name, source.shape, network.populations[q.target].shape, q.table, q.delay, bias))
    for name, before, after, table, delay, bias in encoders + joined:
        binary = table.magnitude is not None
        size = int(table.weights.size)
        stored = -(-size // 8) if binary else size * table.weights.dtype.itemsize
        if table.kind == "sparse":
            stored += table.indptr.nbytes + table.indices.nbytes  # type: ignore[union-attr]
        projections.append(
            {
                "name": name,
                "table": table.kind,
                "weights": size,
                "binary": binary,
                "magnitude": table.magnitude,
                "bits": 1 if binary else 8 * table.weights.dtype.itemsize,
                "synapses": int(table.fan_out(before, after).sum()),
                "macs": table.macs(before, after),
                "stored_bytes": stored,
                "delay": delay,
                "bias": bias,
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
        "synapses": sum(p["synapses"] for p in projections if not p["bias"]),
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
        {"name": r.name, "spikes": r.spikes, "synaptic_events": r.synaptic_events, "additions": r.additions, "macs": r.macs}
        for r in count_operations([trace]).rows
        if r.role != "input"
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
        {"name": r.name, "spikes": r.spikes, "synaptic_events": r.synaptic_events, "additions": r.additions, "macs": r.macs}
        for r in evaluation.operations().mean().rows
        if r.role != "input"
    ]
    return {"kind": "evaluation", "summary": evaluation.summary(), "populations": populations, "projections": projections}


def print_facts(facts: dict[str, Any]) -> None:
    """Print what :func:`describe_file` returned as tables."""
    from rich.console import Console

    # A pipe has no width; do not let it fold the numbers.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False, emoji=False)
    facts = _printable(facts)
    if facts["kind"] == "network":
        _print_network(console, facts)
    elif facts["kind"] == "evaluation":
        _print_evaluation(console, facts)
    else:
        _print_trace(console, facts)
    if "verified" in facts:
        console.print(f"verified: {facts['verified']}")


def _printable(value: Any) -> Any:
    """JSON values whose texts, names included, are fit for a terminal."""
    if isinstance(value, dict):
        return {printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def _table(title: str, headings: list[str]) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i < 2 else "right", no_wrap=True)
    return table


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}..{high:,}"


def _print_network(console: Any, facts: dict[str, Any]) -> None:
    console.print(f"{facts['file']}: network, {facts['bytes']:,} bytes")
    if facts["input"]:
        console.print(f"input {'x'.join(map(str, facts['input']))} (height x width x channels)")
    console.print()
    table = _table("populations", ["name", "kind", "shape", "neurons", "threshold", "v0", "options"])
    for p in facts["populations"]:
        options = [p.get("emits", ""), "signed" if p.get("signed") else "", "reset zero" if p.get("reset") == "zero" else ""]
        if p.get("refractory"):
            options.append(f"refractory {p['refractory']:g}")
        if p["name"] == facts["output"]:
            options.append("output")
        fires = "threshold_min" in p
        threshold = _span(p["threshold_min"], p["threshold_max"]) if fires else ""
        v0 = _span(p["v0_min"], p["v0_max"]) if fires else ""
        shape = "x".join(map(str, p["shape"]))
        table.add_row(p["name"], p["kind"], shape, f"{p['neurons']:,}", threshold, v0, ", ".join(o for o in options if o))
    console.print(table)
    console.print()
    table = _table("projections", ["name", "table", "weights", "bits", "synapses", "dense MACs", "stored bytes", "delay"])
    for p in facts["projections"]:
        bits = f"binary x{p['magnitude']}" if p["binary"] else str(p["bits"])
        cells = [f"{p['weights']:,}", bits, f"{p['synapses']:,}", f"{p['macs']:,}", f"{p['stored_bytes']:,}", f"{p['delay']:g}"]
        table.add_row(p["name"], p["table"], *cells)
    console.print(table)
    console.print()
    console.print(
        f"{facts['neurons']:,} neurons, {facts['weights']:,} weights ({facts['binary_share']:.1%} binary), "
        f"{facts['synapses']:,} synapses, {facts['macs']:,} MACs in the dense source network"
    )
    for key, value in facts["provenance"].items():
        console.print(f"{key}: {value}")


def _print_trace(console: Any, facts: dict[str, Any]) -> None:
    summary = facts["summary"]
    console.print(f"{facts['file']}: trace, {facts['bytes']:,} bytes")
    for key in (
        "network",
        "input",
        "label",
        "decision_latency_steps",
        "duration_steps",
        "steps",
        "resolution",
        "engine",
        "encoding",
        "seed",
    ):
        if summary.get(key) is not None:
            console.print(f"{key.replace('_', ' ')}: {summary[key]}")
    console.print()
    table = _table("populations", ["name", "kind", "shape", "spikes", "spikes/neuron/step", "first spike (steps)", "recorded"])
    for p in facts["populations"]:
        first = "" if p["first_spike"] is None else f"{p['first_spike']:.3f}"
        cells = ["x".join(map(str, p["shape"])), f"{p['spikes']:,}", f"{p['rate']:.4f}", first, "yes" if p["recorded"] else "no"]
        table.add_row(p["name"], p["kind"], *cells)
    console.print(table)
    console.print()
    table = _table("projections", ["name", "", "spikes delivered", "synaptic events", "additions"])
    for p in facts["projections"]:
        table.add_row(p["name"], "", f"{p['spikes']:,}", f"{p['synaptic_events']:,}", f"{p['additions']:,}")
    console.print(table)
    console.print()
    console.print(f"{summary['spikes']:,} spikes, {summary['synaptic_events']:,} synaptic events, {summary['additions']:,} additions")


def _print_evaluation(console: Any, facts: dict[str, Any]) -> None:
    console.print(f"{facts['file']}: evaluation, {facts['bytes']:,} bytes")
    for key, value in facts["summary"].items():
        if value is not None and not isinstance(value, (dict, list)):
            console.print(f"{key.replace('_', ' ')}: {value}")
    console.print()
    table = _table("populations", ["name", "kind", "shape", "spikes/image", "spikes/neuron/image"])
    for p in facts["populations"]:
        table.add_row(p["name"], p["kind"], "x".join(map(str, p["shape"])), f"{p['spikes']:,.1f}", f"{p['spikes_per_neuron']:.4f}")
    console.print(table)
    console.print()
    table = _table("projections", ["name", "", "spikes/image", "synaptic events/image", "additions/image", "dense MACs"])
    for p in facts["projections"]:
        cells = [f"{p[key]:,.1f}" for key in ("spikes", "synaptic_events", "additions")]
        table.add_row(p["name"], "", *cells, f"{p['macs']:,}")
    console.print(table)
