"""Report the synaptic operations of one or more traces of a network, by several definitions.

    python tools/count_ops.py run.h5 [more.h5 ...] [--json | --csv] [--costs costs.json]
    python tools/count_ops.py eval.h5                  # an evaluation: mean of an image

The definitions are in docs/definitions.md.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from eventsim import Evaluation, EventsimError, Trace
from eventsim.counting import Costs, OperationCount, OperationReport, count_operations
from eventsim.evaluation import is_evaluation


@click.command(help=__doc__.split("\n\n")[0], context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("traces", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print sums over the traces as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print sums over the traces as CSV, one row a projection.")
@click.option("--costs", "costs_file", type=click.Path(path_type=Path), help="JSON file with energies per operation in pJ.")
def main(traces: tuple[Path, ...], as_json: bool, as_csv: bool, costs_file: Path | None) -> None:
    if as_json and as_csv:
        raise click.UsageError("choose one of --json and --csv")
    try:
        costs = Costs.read(costs_file) if costs_file else Costs()
        report = read(traces)
    except EventsimError as error:
        print(f"count_ops: error: {error}", file=sys.stderr)
        sys.exit(1)
    if as_json:
        print(json.dumps({"traces": [str(t) for t in traces]} | report.to_dict(costs), indent=2))
    elif as_csv:
        print_csv(report, costs)
    else:
        print_table(report, costs, traces)


def read(paths: tuple[Path, ...]) -> OperationReport:
    if len(paths) == 1 and is_evaluation(paths[0]):
        with Evaluation(paths[0]) as evaluation:
            return evaluation.operations()
    runs = []
    for path in paths:
        with Trace(path) as trace:
            runs.append(trace)
    return count_operations(runs)


def print_csv(report: OperationReport, costs: Costs) -> None:
    columns = [
        *OperationCount.__dataclass_fields__,
        "rate",
        "events_per_mac",
        "energy_int8_pj",
        "energy_float32_pj",
        "energy_dense_pj",
    ]
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    for row in report.rows:
        energy = row.energy(costs)
        values = [getattr(row, c) for c in columns[:-3]]
        writer.writerow([*values, energy["int8"], energy["float32"], energy["dense"]])


def print_table(report: OperationReport, costs: Costs, traces: tuple[Path, ...]) -> None:
    n = report.runs
    # A pipe has no width; do not let it fold the numbers.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    what = str(traces[0]) if n == 1 else f"{len(traces)} file{'s'[: len(traces) > 1]}, mean of {n:,} runs"
    table = Table(title=f"Synaptic operations: {what}", title_justify="left", box=None, header_style="bold", pad_edge=False)
    table.add_column("projection")
    for heading in ("spikes", "rate", "synaptic\nevents", "additions", "SNN\nToolbox", "NeuroBench\nACs", "dense\nMACs", "events\n/ MAC"):
        table.add_column(heading, justify="right", no_wrap=True)

    def number(value: float) -> str:
        return f"{value / n:,.0f}"

    def add(row: OperationCount, name: str) -> None:
        ratio = "" if row.events_per_mac is None else f"{row.events_per_mac:.3f}"
        cells = [number(row.spikes), f"{row.rate:.4f}", number(row.synaptic_events), number(row.additions)]
        cells += [number(row.toolbox), number(row.neurobench_acs), number(row.macs), ratio]
        table.add_row(name, *cells)

    for row in report.rows:
        if row.role == "synapses":
            add(row, row.name)
    table.add_section()
    add(report.synapses, "total")
    console.print(table)
    console.print()
    i, b, s = report.input, report.bias, report.synapses
    console.print("Apart from these:")
    console.print(f"  input layer   {number(i.macs)} MACs, once per run (NeuroBench: {number(i.neurobench_macs)} effective MACs)")
    console.print(f"  biases        {number(b.spikes)} clock spikes, {number(b.synaptic_events)} additions")
    console.print(f"  NeuroBench    dense operations {number(s.neurobench_dense + i.neurobench_dense)}")
    console.print(f"  source network {number(s.macs + i.macs)} MACs a pass")
    energy = report.to_dict(costs)["energy_pj"]
    console.print(
        f"Energy, {costs.name}: {energy['int8'] / n / 1e6:,.3f} uJ with int8 additions ({costs.int8_add:g} pJ), "
        f"{energy['float32'] / n / 1e6:,.3f} uJ with float32 additions ({costs.float32_add:g} pJ); "
        f"dense source network {energy['dense'] / n / 1e6:,.3f} uJ ({costs.float32_mac:g} pJ a MAC; all three with the input layer)"
    )


if __name__ == "__main__":
    main()
