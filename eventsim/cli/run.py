"""``python -m eventsim run``: a network on an input, or on a folder of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from eventsim.batch.folder import Outcome, Runner, Settings, Source, run_in_processes
from eventsim.batch.inputs import find_inputs, needed
from eventsim.cli.errors import remark
from eventsim.cli.hardware import draw_report, print_report, report_in_a_line
from eventsim.cli.names import FILE_NAME, NAME
from eventsim.cli.options import event_input, names, options, reading, reading_of, ticks_per_step
from eventsim.cli.progress import item_progress, tick_progress
from eventsim.data.recordings.fitting import Reading
from eventsim.engines.registry import ENGINES
from eventsim.errors import InputError, RunError
from eventsim.files.atomic import check_output
from eventsim.files.printable import printable
from eventsim.job.job import DEFAULT_MAX_SPIKES, DEFAULT_RESOLUTION
from eventsim.model.network import Network
from eventsim.model.populations.event_input import Polarity
from eventsim.record.result import Result

# Exit code of a run that stopped at its limit of spikes.
STOPPED = 3
# A run and the file of its trace.
Job = tuple[Source, Path | None]

_of_input = options(
    click.option(
        "--input",
        "-i",
        "sources",
        multiple=True,
        help="Image, .npy array or batch, .csv of events, recording, folder of them, - for standard input; or POPULATION=FILE (several).",
    ),
    click.option("--invert", is_flag=True, help="Take 255 - pixel of image files: MNIST networks expect white on black."),
    click.option("--crop", is_flag=True, help="Cut image files to the network's proportions, in the middle, before they are resized."),
)
_of_simulation = options(
    click.option("--steps", type=int, help="Length of the run, T. Default: what the network file recommends, else 100."),
    click.option("--resolution", type=int, help=f"Ticks per step, R. Default: {DEFAULT_RESOLUTION} (asynchronous)."),
    click.option("--clocked", is_flag=True, help="One tick per step: the usual time-stepped loop, spike for spike."),
    click.option("--engine", type=click.Choice(ENGINES), default="auto", show_default=True),
    click.option(
        "--encoding", type=click.Choice(["current", "poisson"]), default="current", show_default=True, help="How pixels drive the network."
    ),
)
_of_trace = options(
    click.option("--trace", type=FILE_NAME, help="Trace file to write (for several inputs: a folder). Default: run.h5 (runs/)."),
    click.option("--no-trace", is_flag=True, help="Write no trace."),
    click.option(
        "--record", default="all", show_default=True, help="Populations whose spikes go to the trace: all, none, or names with commas."
    ),
    click.option(
        "--potentials",
        default="none",
        show_default=True,
        help="Populations whose membrane potentials at step ends go to the trace: all, none, or names with commas. One input only.",
    ),
)
_of_end = options(
    click.option("--exit-margin", type=int, help="Stop once the best readout potential leads by this much."),
    click.option("--exit-potential", type=int, help="Stop once a readout potential is at least this."),
    click.option(
        "--max-spikes",
        type=click.IntRange(0),
        default=DEFAULT_MAX_SPIKES,
        help=f"Stop a run once its neurons have made more spikes; what it did until then counts. Default: {DEFAULT_MAX_SPIKES:,}.",
    ),
)
_of_hardware = options(
    click.option(
        "--hardware",
        type=NAME,
        help="Architecture file, or a name (as in `info loihi`): also say what the run takes there, in time and energy.",
    ),
    click.option("--closed", is_flag=True, help="What --hardware takes changes when spikes happen: queues and routes delay them."),
    click.option("--pictures", type=FILE_NAME, help="Folder: draw there how busy --hardware is: mesh.svg, timeline.svg. One input only."),
    click.option("--sana-fe", type=FILE_NAME, help="Folder: write network, input and --hardware there as files for SANA-FE, too."),
)
_of_process = options(
    click.option("--seed", type=int, default=0, show_default=True, help="Of random input (Poisson)."),
    click.option(
        "--threads",
        type=click.IntRange(1, 256),
        default=1,
        show_default=True,
        help="Threads for one input, or as many inputs of a folder at a time; the result is the same.",
    ),
)


@dataclass(frozen=True)
class Choices:
    """What the options say, by their names."""

    invert: bool
    crop: bool
    step_us: int | None
    window: str | None
    polarity: Polarity | None
    downsample: int
    hot_pixels: int | None
    fields: str | None
    time_unit: str | None
    steps: int | None
    resolution: int | None
    clocked: bool
    engine: str
    encoding: str
    trace: Path | None
    no_trace: bool
    record: str
    potentials: str
    hardware: str | None
    closed: bool
    pictures: Path | None
    sana_fe: Path | None
    exit_margin: int | None
    exit_potential: int | None
    max_spikes: int
    seed: int
    threads: int

    def check(self) -> None:
        """Refuse options that contradict each other."""
        ticks_per_step(self.resolution, self.clocked)
        if self.trace is not None and self.no_trace:
            raise click.UsageError("give --trace or --no-trace, not both")
        if self.no_trace and self.record not in ("all", "none"):
            raise click.UsageError("--record chooses what the trace holds, and --no-trace writes none; give one of them")
        if self.no_trace and self.potentials != "none":
            raise click.UsageError("--potentials go to the trace, and --no-trace writes none; give one of them")
        if self.hardware is not None and self.record != "all":
            raise click.UsageError("--hardware needs the spikes of all populations; leave out --record")
        if self.closed and self.hardware is None:
            raise click.UsageError("--closed is for runs on --hardware; name an architecture")
        if self.closed and (self.resolution is not None or self.clocked or self.engine != "auto" or self.potentials != "none"):
            raise click.UsageError("--closed has ticks and an engine of its own; give no --resolution, --clocked, --engine or --potentials")
        if self.pictures is not None and self.hardware is None:
            raise click.UsageError("--pictures draws what runs on --hardware take; name an architecture")
        if self.sana_fe is not None and (self.hardware is None or self.closed or ticks_per_step(self.resolution, self.clocked) != 1):
            raise click.UsageError("--sana-fe writes clocked runs on --hardware: name an architecture, give --clocked, leave out --closed")
        if self.sana_fe is not None and (self.exit_margin is not None or self.exit_potential is not None):
            raise click.UsageError("--sana-fe writes whole runs; leave out --exit-margin and --exit-potential")

    def reading(self) -> Reading:
        """How recordings are read."""
        return reading_of(vars(self))

    def settings(self) -> dict[str, Any]:
        """Keyword arguments of :meth:`eventsim.Simulator.run` that all inputs have in common."""
        same = ("steps", "engine", "exit_margin", "exit_potential", "max_spikes", "seed")
        return {name: getattr(self, name) for name in same} | {
            "resolution": ticks_per_step(self.resolution, self.clocked),
            # Without a trace nobody could read the spikes, but what is said of hardware follows from them.
            "record": names("none" if self.no_trace and self.hardware is None else self.record),
            "potentials": names(self.potentials),
        }


@click.command()
@click.argument("network", type=FILE_NAME)
@_of_input
@event_input
@reading
@_of_simulation
@_of_trace
@_of_end
@_of_hardware
@_of_process
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an object, or for several inputs one object a line.")
def run(network: Path, sources: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Run NETWORK on an input: the answer, when it came, and what it cost.

    \b
    Examples:
      eventsim run networks/lenet-mnist.h5 --input digit.png
      eventsim run net.h5 --input images/ --clocked --no-trace --json
      eventsim run net.h5 --input recording.aedat4 --step-us 1000 --window 0:300ms

    The exit code is 0 where every input was run to its end, 1 after an error, and 3 where a run stopped at --max-spikes.
    """
    choices = Choices(**given)
    choices.check()
    settings = Settings(network, choices.encoding, choices.invert, choices.crop, choices.settings(), choices.hardware, choices.closed)
    runner = Runner(
        replace(settings, reading=choices.reading(), step_us=choices.step_us, polarity=choices.polarity, sana_fe=choices.sana_fe)
    )
    inputs, several = _inputs(runner.network, sources, choices)
    if choices.pictures is not None:
        # What is missing is said before the run, not after it.
        import_module("eventsim.hardware.plot")
        _folder(choices.pictures)
    folder = _folder(choices.trace or Path("runs")) if several and not choices.no_trace else None
    jobs = _traced(inputs, folder, None if choices.no_trace or folder is not None else choices.trace or Path("run.h5"))
    _keep_inputs(network, jobs)
    if several and choices.threads > 1:
        # Once rather than in every process.
        runner.warm_up(inputs[0])
        outcomes = run_in_processes(runner.settings, jobs, choices.threads)
    else:
        outcomes = _one_by_one(runner, jobs, choices, several)
    failures, stopped = 0, False
    for outcome in item_progress(outcomes, len(jobs)):
        for text in outcome.remarks:
            remark(text)
        if outcome.error is not None:
            # One bad file does not stop a folder.
            if not several:
                raise InputError(outcome.error)
            failures += 1
            click.echo(f"eventsim: error: {printable(outcome.error)}", err=True)
            continue
        if outcome.summary["stopped"] is not None:
            stopped = True
            click.echo(f"eventsim: stopped: {printable(outcome.path)}: {_limit_reached(outcome.summary)}", err=True)
        if choices.pictures is not None and outcome.report is not None:
            outcome.summary["pictures"] = [str(file) for file in draw_report(outcome.report, choices.pictures)]
        _print_outcome(outcome, several, as_json)
    if failures:
        raise InputError(f"{failures} of {len(jobs)} inputs could not be run")
    if stopped:
        click.get_current_context().exit(STOPPED)


def _inputs(network: Network, sources: tuple[str, ...], choices: Choices) -> tuple[list[Source], bool]:
    """What to run, and whether it is several inputs (or may be: a folder of one)."""
    named = _by_population(network, sources)
    if (choices.invert or choices.crop) and (named is not None or network.input is None):
        raise click.UsageError("--invert and --crop are for image files, and this run takes none")
    if choices.encoding == "poisson" and named:
        raise click.UsageError("--encoding poisson makes spikes of an image; give one, not inputs by population")
    if named is not None:
        return [named], False
    inputs: list[Source] = [*find_inputs(network, sources[0])]
    several = len(inputs) > 1 or (sources[0] != "-" and Path(sources[0]).is_dir())
    if several and choices.potentials != "none":
        raise click.UsageError("--potentials is for one input; run the inputs one by one to keep the membrane potentials of each")
    if several and choices.pictures is not None:
        raise click.UsageError("--pictures is for one input; run the inputs one by one to draw what each takes")
    if several and choices.sana_fe is not None:
        raise click.UsageError("--sana-fe is for one input; run the inputs one by one to write files of each")
    return inputs, several


def _by_population(network: Network, sources: tuple[str, ...]) -> dict[str, str] | None:
    """Files by population, if that is what is given; nothing is given to a network that takes no input."""
    pairs = [tuple(source.split("=", 1)) for source in sources]
    if len(pairs) == 1 and (len(pairs[0]) == 1 or pairs[0][0] not in network.populations):
        if len(pairs[0]) > 1 and not Path(sources[0]).exists():
            known = ", ".join(network.populations)
            raise click.UsageError(f"--input {sources[0]}: no such file, and no population {pairs[0][0]!r}; there are: {known}")
        return None
    given: dict[str, str] = {}
    for pair in pairs:
        if len(pair) == 1 or pair[0] not in network.populations or pair[0] in given:
            raise click.UsageError(
                f"--input {'='.join(pair)}: several inputs are each POPULATION=FILE, one a population; "
                f"there are: {', '.join(network.populations)}"
            )
        if not pair[1]:
            raise click.UsageError(f"--input {pair[0]}=: name a file, or - for standard input")
        given[pair[0]] = pair[1]
    if not given:
        missing = ["an image"] if any(p.encoder is not None for p in network.populations.values()) else []
        missing += [f"{name}=FILE" for name in needed(network)]
        if missing:
            raise click.UsageError(f"this network needs --input: {', '.join(missing)}")
    return given


def _folder(folder: Path) -> Path:
    """A folder of traces or pictures, made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made ({error.strerror})") from None
    return folder


def _traced(inputs: Sequence[Source], folder: Path | None, trace: Path | None) -> list[Job]:
    """Each input with its trace: a file of its own in the folder, if there is one."""
    if folder is None:
        return [(item, trace) for item in inputs]
    targets = [folder / f"{item.file_name}.h5" for item in inputs if not isinstance(item, dict)]
    if len(set(targets)) < len(targets):
        files = [target.name for target in targets]
        raise InputError(f"two inputs have the trace {next(n for n in files if files.count(n) > 1)}; rename one of them")
    return list(zip(inputs, targets, strict=True))


def _keep_inputs(network: Path, jobs: Sequence[Job]) -> None:
    """Refuse traces that are inputs: spikes may come from a trace."""
    given = [list(source.values()) if isinstance(source, dict) else [source.path] for source, _ in jobs]
    places = {os.path.realpath(path): path for paths in given for path in paths}
    for paths, (_, target) in zip(given, jobs, strict=True):
        if target is not None:
            # Its own, whatever it is called; and those of the others, which may be run later.
            check_output(target, network, *paths, places.get(os.path.realpath(target)))


def _one_by_one(runner: Runner, jobs: Sequence[Job], choices: Choices, several: bool) -> Iterator[Outcome]:
    """Run in this process. One input has all threads and a bar over its ticks."""
    if several:
        for item, target in jobs:
            yield runner.run(item, target)
        return
    ((item, target),) = jobs
    steps = runner.expected_steps(item)
    ticks = ticks_per_step(choices.resolution, choices.clocked)
    if choices.closed and runner.hardware is not None:
        ticks = runner.hardware.closed_resolution
    with tick_progress(steps * ticks) as progress:
        yield runner.run(item, target, progress, choices.threads)


def _print_outcome(outcome: Outcome, several: bool, as_json: bool) -> None:
    summary = outcome.summary
    if as_json:
        click.echo(json.dumps(summary, indent=None if several else 2))
    elif several:
        answer = "" if summary["label"] is None else f"{summary['label']}, decided at {summary['decision_latency_steps']:.3f} steps, "
        line = f"{outcome.path}: {answer}{summary['spikes']:,} spikes, {summary['synaptic_events']:,} synaptic events"
        if "hardware" in summary:
            line += f"; {report_in_a_line(summary['hardware'], summary.get('moved'))}"
        click.echo(printable(line))
    else:
        assert outcome.result is not None
        _print_result(outcome.result, summary)
        if outcome.report is not None:
            print_report(outcome.report.summary(), summary.get("moved"))
            for file in summary.get("pictures", ()):
                click.echo(f"{'picture':16} {printable(file)}")


def _limit_reached(summary: dict[str, Any]) -> str:
    reached = f"more than {summary['max_spikes']:,} spikes by {summary['duration_steps']:.3f} of {summary['steps']} steps"
    return f"{reached}; what is shown and written ends there (--max-spikes sets the limit)"


def _print_result(result: Result, summary: dict[str, Any]) -> None:
    steps = result.info.steps
    mode = "clocked" if result.info.resolution == 1 else f"{result.info.resolution:,} ticks a step"
    rows = []
    if result.label is not None:
        rows.append(("answer", result.label))
        rows.append(("top answers", "  ".join(f"{label} ({potential:,})" for _, label, potential in result.top())))
        rows.append(("decided at", f"{result.decision_latency:.3f} of {steps} steps"))
    elif result.info.output is not None:
        rows.append(("answer", "none: no spike reached the readout"))
    if result.exit_latency is not None:
        rows.append(("stopped at", f"{result.exit_latency:.3f} of {steps} steps (early exit)"))
    if result.stopped is not None:
        limit = result.info.settings["max_spikes"]
        rows.append(("stopped at", f"{result.duration:.3f} of {steps} steps: more than {limit:,} spikes"))
    rows.append(("spikes", f"{result.total_spikes:,}"))
    rows.append(("synaptic events", f"{result.total_synaptic_events:,}"))
    rows.append(("simulated", f"{result.duration:g} steps ({mode}) in {summary['wall_seconds']:.3f} s by the {summary['engine']} engine"))
    if "sana_fe" in summary:
        rows.append(
            ("for SANA-FE", f"{summary['sana_fe']['folder']}: network.yaml, architecture.yaml; {summary['sana_fe']['steps']:,} steps")
        )
    if summary["trace"]:
        rows.append(("trace", summary["trace"]))
    for name, value in rows:
        click.echo(f"{name:16} {printable(value)}")
