"""Facts about a file as tables on a terminal."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from eventsim.cli.hardware import print_architecture
from eventsim.cli.values import lines
from eventsim.files.printable import printable


def print_facts(facts: dict[str, Any]) -> None:
    """Print what :func:`eventsim.analysis.facts.describe_file` returned as tables."""
    # A pipe has no width; do not let it fold the numbers.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False, emoji=False)
    facts = _printable(facts)
    if facts["kind"] == "network":
        _print_network(console, facts)
    elif facts["kind"] == "evaluation":
        _print_evaluation(console, facts)
    elif facts["kind"] == "hardware":
        print_architecture(console, facts)
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


# What is told of a run.
_OF_RUN = (
    "network", "input", "label", "decision_latency_steps", "duration_steps", "steps", "resolution", "engine", "encoding", "seed",
)  # fmt: skip
# What is shown of each projection.
_OPERATIONS = ("spikes", "synaptic_events", "additions", "comparisons")


def _table(title: str, headings: list[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i < 2 else "right", no_wrap=True)
    return table


def _print_values(console: Console, values: dict[str, Any]) -> None:
    for name, value in values.items():
        for line in lines(name, value):
            # (A terminal breaks lines where it ends, words or not: whoever copies one has it whole.)
            console.print(line, soft_wrap=True)


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}..{high:,}"


def _print_network(console: Console, facts: dict[str, Any]) -> None:
    console.print(f"{facts['file']}: network, {facts['bytes']:,} bytes")
    if facts["input"]:
        console.print(f"input {'x'.join(map(str, facts['input']))} (height x width x channels)")
    console.print()
    table = _table("populations", ["name", "kind", "shape", "neurons", "threshold", "v0", "options"])
    for p in facts["populations"]:
        minima = f"minimum in {p['minima']:,} channels" if p.get("minima") else ""
        options = [p.get("emits", ""), minima, "signed" if p.get("signed") else "", "reset zero" if p.get("reset") == "zero" else ""]
        if p.get("refractory"):
            options.append(f"refractory {p['refractory']:g}")
        if p.get("onset"):
            options.append(f"onset {p['onset']:g}")
        options += _of_events_and_leaks(p)
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
        bits = f"binary x{p['magnitude']}" if p["binary"] else "" if p["compares"] else str(p["bits"])
        cells = [f"{p['weights']:,}", bits, f"{p['synapses']:,}", f"{p['macs']:,}", f"{p['stored_bytes']:,}", f"{p['delay']:g}"]
        table.add_row(p["name"], p["table"], *cells)
    console.print(table)
    console.print()
    console.print(
        f"{facts['neurons']:,} neurons, {facts['weights']:,} weights ({facts['binary_share']:.1%} binary), "
        f"{facts['synapses']:,} synapses, {facts['macs']:,} MACs in the dense source network"
    )
    _print_values(console, facts["provenance"])


def _of_events_and_leaks(population: dict[str, Any]) -> list[str]:
    """What recordings become, and how potentials and currents leak."""
    words = []
    if "polarity" in population:
        words += [f"polarity {population['polarity']}", f"{population['step_us']:,} us a step"]
    if population.get("leak_max"):
        words.append(f"leak {_span(population['leak_min'], population['leak_max'])}")
    for key in ("decay", "current_decay"):
        if population.get(f"{key}_max"):
            words.append(f"{key.replace('_', ' ')} {_span(population[f'{key}_min'], population[f'{key}_max'])}/4096")
    if population.get("reset") == "value":
        words.append("reset to a value")
    return words


def _print_trace(console: Console, facts: dict[str, Any]) -> None:
    summary = facts["summary"]
    console.print(f"{facts['file']}: trace, {facts['bytes']:,} bytes")
    _print_values(console, {key: summary[key] for key in _OF_RUN if summary.get(key) is not None})
    console.print()
    table = _table("populations", ["name", "kind", "shape", "spikes", "spikes/neuron/step", "first spike (steps)", "recorded"])
    for p in facts["populations"]:
        first = "" if p["first_spike"] is None else f"{p['first_spike']:.3f}"
        cells = ["x".join(map(str, p["shape"])), f"{p['spikes']:,}", f"{p['rate']:.4f}", first, "yes" if p["recorded"] else "no"]
        table.add_row(p["name"], p["kind"], *cells)
    console.print(table)
    console.print()
    table = _table("projections", ["name", "", "spikes delivered", "synaptic events", "additions", "comparisons"])
    for p in facts["projections"]:
        table.add_row(p["name"], "", *(f"{p[key]:,}" for key in _OPERATIONS))
    console.print(table)
    console.print()
    console.print(f"{summary['spikes']:,} spikes, {summary['synaptic_events']:,} synaptic events, {summary['additions']:,} additions")


def _print_evaluation(console: Console, facts: dict[str, Any]) -> None:
    console.print(f"{facts['file']}: evaluation, {facts['bytes']:,} bytes")
    _print_values(console, {k: v for k, v in facts["summary"].items() if v is not None and not isinstance(v, (dict, list))})
    console.print()
    table = _table("populations", ["name", "kind", "shape", "spikes/image", "spikes/neuron/image"])
    for p in facts["populations"]:
        table.add_row(p["name"], p["kind"], "x".join(map(str, p["shape"])), f"{p['spikes']:,.1f}", f"{p['spikes_per_neuron']:.4f}")
    console.print(table)
    console.print()
    table = _table(
        "projections", ["name", "", "spikes/image", "synaptic events/image", "additions/image", "comparisons/image", "dense MACs"]
    )
    for p in facts["projections"]:
        cells = [f"{p[key]:,.1f}" for key in _OPERATIONS]
        table.add_row(p["name"], "", *cells, f"{p['macs']:,}")
    console.print(table)
