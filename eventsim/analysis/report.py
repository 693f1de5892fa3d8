"""One self-contained HTML page for a run or an evaluation. Needs Matplotlib and Jinja2 (``eventsim[plot]``)."""

from __future__ import annotations

import base64
import io
import os
import re
import shlex
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from eventsim.analysis import provenance
from eventsim.analysis.costs import read_costs, usual_costs
from eventsim.analysis.costs.model import CostModel
from eventsim.analysis.counting import OperationReport, count_operations
from eventsim.analysis.evaluation import Evaluation, is_evaluation
from eventsim.analysis.mistakes import some_mistakes
from eventsim.errors import DatasetError, RunError
from eventsim.files.atomic import check_output, write_text
from eventsim.record.trace import Trace

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.figure import Figure

_MAX_MAPS, _MAX_ROWS = 8, 40
# Neurons of a feature map: a file of a few bytes can declare a hundred million.
MAX_MAPPED = 2**22
# Control characters, and halves of characters as in names of files that are no text.
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_DOCTYPE = b"<!doctype html"
# Of images in the page, on the longer side.
_INPUT, _TILE = 512, 96


@dataclass(frozen=True)
class Picture:
    """A figure of the page: SVG text, and what it shows for those who cannot see it."""

    title: str
    svg: str
    caption: str


@dataclass(frozen=True)
class Tile:
    """A small image with words below it."""

    image: str
    text: str


@dataclass(frozen=True)
class Table:
    """A table of the page."""

    title: str
    head: list[str]
    rows: list[Any]


@dataclass(frozen=True)
class Page:
    """What a page shows.

    Attributes
    ----------
    title : str
    facts, made : list of (str, value)
        What is shown at the top, and how it was made; values that are None are left out.
    pictures : list of Picture
    operations : OperationReport
    tables : list of Table
        Before those of operations.
    image : str or None
        The input, as a data address.
    tiles : list of Tile
    remark : str
        On the tiles.
    """

    title: str
    facts: list[tuple[str, Any]]
    made: list[tuple[str, Any]]
    pictures: list[Picture]
    operations: OperationReport
    tables: list[Table]
    image: str | None = None
    tiles: Sequence[Tile] = ()
    remark: str = ""


def write_report(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    costs: str | os.PathLike[str] | None = None,
    dataset: str | os.PathLike[str] | None = None,
) -> None:
    """Write the page of a trace or an evaluation, whole or not at all.

    Parameters
    ----------
    source, output : path-like
        An older page may be replaced, and no other file.
    costs : path-like, optional
        JSON file with energies per operation (docs/definitions.md). Default: the table "45nm".
    dataset : str or path-like, optional
        Where the images of an evaluation are, for those that the network got wrong. Default: the known set that it names.

    Raises
    ------
    RunError, TraceError
        The source is neither, or a trace with a data set, Matplotlib or Jinja2 is missing, or the page cannot be written.
    DatasetError
        The data set given is not there, or not the one evaluated.
    """
    target = Path(output)
    check_output(target, source, costs)
    _check_replaceable(target)
    provenance.date()  # an environment that names no date is said before Matplotlib finds it
    table = usual_costs() if costs is None else read_costs(costs)
    command = ["eventsim", "report", os.fspath(source), "--output", os.fspath(target)]
    command += [] if costs is None else ["--costs", os.fspath(costs)]
    command += [] if dataset is None else ["--dataset", os.fspath(dataset)]
    if is_evaluation(source):
        with Evaluation(source) as evaluation:
            page = evaluation_page(evaluation, table, shlex.join(command), dataset)
    else:
        with Trace(source) as trace:
            if dataset is not None:
                raise RunError(f"{source}: is a trace; a data set is for the images of an evaluation")
            page = run_page(trace, os.fspath(source), table, shlex.join(command))
    try:
        write_text(target, page)
    except OSError as error:
        raise RunError(f"{target}: cannot be written ({error.strerror})") from None


def _check_replaceable(target: Path) -> None:
    """A page may replace an older page, and nothing else: no trace, no network."""
    if target.exists() and not target.is_file():
        raise RunError(f"{target}: is no regular file; name another output")
    try:
        with open(target, "rb") as file:
            head = file.read(len(_DOCTYPE))
    except OSError:
        return  # it is not there, or writing will say what is wrong
    if head and head.lower() != _DOCTYPE:
        raise RunError(f"{target}: exists and is no HTML page; remove it or name another output")


def run_page(run: Trace, name: str, costs: CostModel, command: str) -> str:
    """The page of a run: its input, spikes, readout and operations. HTML; ``command`` is the one that makes the page."""
    from eventsim.analysis import plot

    mode = "clocked" if run.info.resolution == 1 else f"{run.info.resolution:,} ticks a step"
    facts = [("network", run.info.settings.get("network")), ("input", run.info.settings.get("input"))]
    if run.label is not None:
        truth = run.info.settings.get("truth")
        facts.append(("answer", run.label + ("" if truth is None else f" (label {run.label_of(int(truth))})")))
        if run.decision_latency is not None:
            facts.append(("decided at", f"{run.decision_latency:.3f} of {run.info.steps} steps"))
    elif run.info.output is not None:
        facts.append(("answer", "none: no spike reached the readout"))
    if run.exit_latency is not None:
        facts.append(("stopped at", f"{run.exit_latency:.3f} of {run.info.steps} steps"))
    if run.stopped is not None:
        limit = run.info.settings.get("max_spikes", 0)
        facts.append(("stopped at", f"{run.duration:.3f} of {run.info.steps} steps: more than {limit:,} spikes"))
    facts += [
        ("mode", mode),
        ("spikes", f"{run.total_spikes:,}"),
        ("synaptic events", f"{run.total_synaptic_events:,}"),
    ]
    pictures = []
    recorded = [p for p in run.recorded if not run.population(p).is_clock]
    if run.readout is not None:
        pictures.append(_picture(plot.readout(run), "Readout over time", "Output potentials at the end of each step."))
    if recorded:
        which = "Every population" if len(recorded) <= _MAX_ROWS else f"The first {_MAX_ROWS} of {len(recorded)} populations"
        pictures.append(
            _picture(plot.raster(run, recorded[:_MAX_ROWS]), "Spike raster", f"{which} from the first to the last; time in steps.")
        )
    pictures.append(_picture(plot.operations(run), "Operations per layer and step", "Synaptic events of each projection."))
    for population in [p for p in recorded if run.population(p).size <= MAX_MAPPED][:_MAX_MAPS]:
        pictures.append(_picture(plot.feature_maps(run, population), f"Feature maps of {population}", "Net spikes of each neuron."))
    latencies = [(k, "never" if v is None else f"{v:.3f}") for k, v in run.first_spike_latency().items() if run.population(k).sends_spikes]
    made = [
        ("run by", run.made_by or "an older eventsim"),
        ("as in", provenance.run_command(run) or "no single command: from Python, or one of several"),
        ("file of", provenance.last_change(run.path)),
        ("engine", run.info.settings.get("engine")),
        ("network's SHA-256", run.info.settings.get("network_sha256")),
    ]
    page = Page(
        title=f"Run: {name}",
        facts=facts,
        made=made,
        pictures=pictures,
        operations=count_operations([run]),
        tables=[Table("First spike of each population (steps)", ["population", "first spike"], latencies)],
        image=None if run.image is None or run.image.shape[2] not in (1, 3) else _png(run.image, _INPUT),
    )
    return _render(page, costs, command)


def evaluation_page(evaluation: Evaluation, costs: CostModel, command: str, dataset: str | os.PathLike[str] | None = None) -> str:
    """The page of an evaluation: accuracy, latency, trade-off, operations, confusions, mistakes. HTML; ``dataset`` as above."""
    from eventsim.analysis import plot

    e, summary = evaluation, evaluation.summary()
    facts: list[tuple[str, Any]] = [("network", summary["network"]), ("evaluated", str(e))]
    if e.truth is not None:
        facts.append(("accuracy", f"{e.accuracy:.2%}"))
    mean, p95 = summary["mean_decision_latency_steps"], summary["p95_decision_latency_steps"]
    if mean is not None:
        facts.append(("decision latency", f"mean {mean:.3f}, 95 % by {p95:.3f} steps"))
    if summary["undecided"]:
        facts.append(("without a decision", f"{summary['undecided']:,} images: no spike reached the readout"))
    facts += [
        ("spikes an image", f"{summary['mean_spikes']:,.0f}"),
        ("synaptic events an image", f"{summary['mean_synaptic_events']:,.0f}"),
        ("normalised #OPS (against the ANN)", f"{summary['normalised_operations']:.3f}"),
    ]
    pictures, tables = [], []
    if e.truth is not None:
        pictures.append(_picture(plot.accuracy_over_time(e), "Accuracy against time", "Share of right decisions at the end of each step."))
    if mean is not None:
        pictures.append(_picture(plot.latency_histogram(e), "Decision latency", "When each image's decision was final."))
    if e.truth is not None and e.exit_kinds:
        choices = [e.choose_exit(kind) for kind in e.exit_kinds] if len(e) > 1 else []
        marks = [(e.trade_off(c.kind), c.threshold) for c in choices]
        caption = "What stopping early gives, for every threshold; the dot is the whole run, crosses the thresholds of the table."
        pictures.append(_picture(plot.trade_off(e, marks), "Early exit", caption))
        rows = []
        for c in choices:
            for half, on in (("chosen on", c.chosen_on), ("verified on", c.verified_on)):
                numbers = [f"{on['full_accuracy']:.2%}", f"{on['accuracy']:.2%}", f"{on['latency']:.3f}", f"{on['synaptic_events']:,.0f}"]
                rows.append((c.kind, f"{c.threshold:,}", f"{half} {on['images']:,.0f} images", *numbers))
        tables.append(
            Table("Exit thresholds that lose at most 0.3 points of accuracy",
             ["rule", "threshold", "half", "whole run", "with exit", "mean latency (steps)", "mean synaptic events"], rows)
        )  # fmt: skip
    pictures.append(_picture(plot.operations(e), "Operations per layer and step", "Mean synaptic events an image of each projection."))
    pictures.append(_picture(plot.firing_rates(e), "Firing rates", "Mean spikes per neuron and step."))
    if e.truth is not None:
        pictures.append(_picture(plot.confusion(e), "Confusion matrix", "Labels against decisions."))
    tiles, remark = _mistakes(e, dataset) if e.truth is not None else ([], "")
    made = [
        ("evaluated by", f"eventsim {summary_version}" if (summary_version := e.info.settings.get("eventsim")) else "an older eventsim"),
        ("as in", provenance.evaluate_command(e) or "no single command: from Python, or one of several"),
        ("file of", provenance.last_change(e.path)),
        ("network's SHA-256", e.info.settings.get("network_sha256")),
    ]
    page = Page(f"Evaluation: {e.path.name}", facts, made, pictures, e.operations(), tables, tiles=tiles, remark=remark)
    return _render(page, costs, command)


def _mistakes(e: Evaluation, dataset: str | os.PathLike[str] | None) -> tuple[list[Tile], str]:
    """Some images that the network got wrong, and a remark on them."""
    wrong = int(e.wrong().sum())
    try:
        found = some_mistakes(e, dataset)
    except DatasetError as error:
        if dataset is not None:
            raise
        return [], f"{wrong:,} of {len(e):,} images were answered wrongly. They cannot be shown: {error}."
    if not wrong:
        return [], "All images were answered rightly."
    tiles = []
    for m in found:
        when = "" if m.latency is None else f", decided at {m.latency:.2f}"
        tiles.append(Tile(_png(m.pixels, _TILE), f"{m.number}: {m.truth}, answer {m.answer}{when}"))
    return tiles, f"{len(found):,} of {wrong:,} images that were answered wrongly: number, label, answer, and when it was final (steps)."


def _picture(figure: Figure, title: str, caption: str) -> Picture:
    text = io.StringIO()
    # Text stays text: it can be read aloud, searched and copied.
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", dpi=150, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    # Figures share a page: their ids must not meet.
    mark = re.sub(r"[^A-Za-z0-9]+", "-", title.lower()) + f"-{zlib.crc32(title.encode()):x}"
    svg = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{mark}-", svg)
    return Picture(title, svg, caption)


def _png(pixels: npt.NDArray[np.uint8], longest: int) -> str:
    """An image as a data address, made smaller if it is large; the page enlarges without smoothing."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((longest, longest))
    data = io.BytesIO()
    image.save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _operation_rows(report: OperationReport) -> list[tuple[str, ...]]:
    rows = []
    for r in [row for row in report.rows if row.role == "synapses"] + [report.synapses]:
        ratio = "" if r.events_per_mac is None else f"{r.events_per_mac:.3f}"
        numbers = (r.spikes, r.synaptic_events, r.additions, r.toolbox, r.neurobench_acs, r.macs)
        rows.append((r.name, *(f"{n:,.0f}" for n in numbers), ratio))
    return rows


def _operation_tables(report: OperationReport, costs: CostModel) -> list[Table]:
    """Means of a run: its operations, and where they cost more than arithmetic, the parts of their energy."""
    head = ["projection", "spikes", "synaptic events", "additions", "SNN Toolbox", "NeuroBench ACs", "dense MACs", "events / MAC"]
    operations = Table("Operations" + ("" if report.runs == 1 else f", mean of {report.runs:,} images"), head, _operation_rows(report))
    tables = [operations]
    if compared := [row for row in report.rows if row.role == "comparisons"]:
        maxima = [(row.name, f"{row.spikes:,.0f}", f"{row.comparisons:,.0f}") for row in compared]
        tables.append(Table("Maxima", ["projection", "spikes", "comparisons of counts"], maxima))
    if costs.apart() is None:
        return tables
    parts, energy = costs.energy_parts(report), costs.energy(report)
    names = list(parts[costs.kinds[0]])
    rows = [(kind, *(f"{parts[kind][name] / 1e6:,.3f}" for name in names), f"{energy[kind] / 1e6:,.3f}") for kind in costs.kinds]
    title = f"Energy by the table {costs.name} (µJ" + ("" if report.runs == 1 else ", mean of an image") + ")"
    return [*tables, Table(title, ["", *names, "sum"], rows)]


def _render(page: Page, costs: CostModel, command: str) -> str:
    try:
        import jinja2
    except ImportError:
        raise RunError("a report needs Jinja2; install eventsim[plot]") from None
    report = page.operations.mean()
    energy = {kind: f"{value / 1e6:.3f} µJ" for kind, value in costs.energy(report).items()}
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(files("eventsim.analysis").joinpath("report.html.jinja").read_text(encoding="utf-8"))
    text = template.render(
        title=page.title,
        facts=[(name, value) for name, value in page.facts if value is not None],
        pictures=page.pictures,
        tables=[*page.tables, *_operation_tables(report, costs)],
        energy=f"Energy by the table {costs.name}: {costs.sentence(energy, 'the ')}.",
        image=page.image,
        tiles=page.tiles,
        remark=page.remark,
        made=[(name, value) for name, value in page.made if value],
        program=provenance.program(),
        date=provenance.date(),
        command=command,
    )
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)
