"""Report the synaptic operations of traces and evaluations of a network, by several definitions.

    python tools/count_ops.py run.h5 [more.h5 ...] [--sum] [--json | --csv] [--costs costs.json]
    python tools/count_ops.py eval.h5 [other.h5 ...]

All counts are means of a run; with --sum, sums over the runs. Several files are counted together, every run and every image of an
evaluation alike; they must be of one network. The definitions are in docs/definitions.md.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from eventsim import Evaluation, Trace
from eventsim.analysis.costs import read_costs, usual_costs
from eventsim.analysis.costs.model import CostModel
from eventsim.analysis.counting import OperationCount, OperationReport, add_reports, count_operations
from eventsim.analysis.evaluation import is_evaluation
from eventsim.cli.errors import OneLineErrors
from eventsim.cli.names import FILE_NAME
from eventsim.files.printable import printable


class _Command(OneLineErrors):
    program = "count_ops"


@click.command(cls=_Command, help="\n\n".join(__doc__.split("\n\n")[::2]), context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, required=True, type=FILE_NAME)
@click.option("--sum", "as_sum", is_flag=True, help="Sums over the runs instead of means of a run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one row a projection.")
@click.option("--costs", "costs_file", type=FILE_NAME, help="JSON file with energies per operation in pJ.")
def main(files: tuple[Path, ...], as_sum: bool, as_json: bool, as_csv: bool, costs_file: Path | None) -> None:
    if as_json and as_csv:
        raise click.UsageError("choose one of --json and --csv")
    costs = read_costs(costs_file) if costs_file else usual_costs()
    report = add_reports([read(path) for path in files])
    if not as_sum:
        report = report.mean()
    if as_json:
        print(json.dumps({"files": [str(f) for f in files]} | report.to_dict(costs), indent=2))
    elif as_csv:
        print_csv(report, costs)
    else:
        print_table(report, costs, files)


def read(path: Path) -> OperationReport:
    if is_evaluation(path):
        with Evaluation(path) as evaluation:
            return evaluation.operations()
    with Trace(path) as trace:
        return count_operations([trace])


def print_csv(report: OperationReport, costs: CostModel) -> None:
    columns = [*OperationCount.__dataclass_fields__, "rate", "events_per_mac"]
    writer = csv.writer(sys.stdout)
    writer.writerow(["runs", "counts", *columns, *(f"energy_{kind}_pj" for kind in costs.kinds)])
    for row in report.rows:
        energy = row.energy(costs)
        cells = [printable(value) if isinstance(value, str) else value for value in (getattr(row, c) for c in columns)]
        writer.writerow([report.runs, report.counts, *cells, *(energy[kind] for kind in costs.kinds)])


def print_table(report: OperationReport, costs: CostModel, files: tuple[Path, ...]) -> None:
    # A pipe has no width; do not let it fold the numbers. Names come from files: they are no markup.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False, emoji=False)
    what = printable(files[0]) if len(files) == 1 else f"{len(files)} files"
    if report.runs > 1:
        what += f", {report.counts} of {report.runs:,} runs"
    # (A table would fold its title to its own width.)
    console.print(f"Synaptic operations: {what}", style="italic", soft_wrap=True)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("projection")
    for heading in ("spikes", "rate", "synaptic\nevents", "additions", "SNN\nToolbox", "NeuroBench\nACs", "dense\nMACs", "events\n/ MAC"):
        table.add_column(heading, justify="right", no_wrap=True)

    def add(row: OperationCount, name: str) -> None:
        ratio = "" if row.events_per_mac is None else f"{row.events_per_mac:.3f}"
        counts = (row.synaptic_events, row.additions, row.toolbox, row.neurobench_acs, row.macs)
        table.add_row(printable(name), f"{row.spikes:,.0f}", f"{row.rate:.4f}", *(f"{n:,.0f}" for n in counts), ratio)

    for row in report.rows:
        if row.role == "synapses":
            add(row, row.name)
    table.add_section()
    add(report.synapses, "total")
    console.print(table)
    console.print()
    i, b, s = report.input, report.bias, report.synapses
    console.print("Apart from these:")
    console.print(f"  input layer   {i.macs:,.0f} MACs, once per run (NeuroBench: {i.neurobench_macs:,.0f} effective MACs)")
    console.print(f"  biases        {b.spikes:,.0f} clock spikes, {b.synaptic_events:,.0f} additions")
    c = report.comparisons
    if any(row.role == "comparisons" for row in report.rows):
        console.print(f"  maxima        {c.spikes:,.0f} spikes, {c.comparisons:,.0f} comparisons of counts")
    console.print(f"  neurons       {report.neurons:,.0f}, {report.neuron_updates:,.0f} updates")
    if report.decays:
        console.print(f"  leaks         {report.decays:,.0f} decays")
    console.print(f"  NeuroBench    dense operations {s.neurobench_dense + i.neurobench_dense:,.0f}")
    console.print(f"  source network {s.macs + i.macs:,.0f} MACs a pass")
    energy = {kind: f"{value / 1e6:,.3f} uJ" for kind, value in report.energy(costs).items()}
    console.print(f"Energy, {costs.name}: {costs.sentence(energy)}")
    apart = costs.apart()
    if apart is not None:
        console.print(f"  with {apart}:")
        for kind, parts in report.energy_parts(costs).items():
            console.print(f"  {kind:8} " + ", ".join(f"{part} {value / 1e6:,.3f} uJ" for part, value in parts.items()))


if __name__ == "__main__":
    main()
