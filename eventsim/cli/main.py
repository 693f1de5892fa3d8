"""The command line: ``python -m eventsim run|info|convert|data|evaluate|study|report``."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import eventsim
from eventsim.cli.convert import convert
from eventsim.cli.data import data
from eventsim.cli.errors import OneLineErrors
from eventsim.cli.evaluate import evaluate
from eventsim.cli.report import report
from eventsim.cli.study import study
from eventsim.engines.registry import ENGINES
from eventsim.files.printable import printable
from eventsim.job.job import DEFAULT_MAX_SPIKES

if TYPE_CHECKING:
    from eventsim.batch.folder import Outcome

_PROGRESS_AFTER = 1.0
# Exit code of a run that stopped at its limit of spikes.
STOPPED = 3


class _Group(OneLineErrors, click.Group):
    """All commands."""

    resuming = ("evaluate", "study")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(eventsim.__version__, prog_name="eventsim")
def main() -> None:
    """Exact event-driven simulation of binary spiking neural networks."""


main.add_command(convert)
main.add_command(data)
main.add_command(evaluate)
main.add_command(report)
main.add_command(study)


@main.command()
@click.argument("network", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "-i",
    "sources",
    multiple=True,
    help="Image, .npy array or batch, .csv of events, folder of them, - for standard input; or POPULATION=FILE, as often as needed.",
)
@click.option("--invert", is_flag=True, help="Take 255 - pixel of image files: MNIST networks expect white on black.")
@click.option("--crop", is_flag=True, help="Cut image files to the network's proportions, in the middle, before they are resized.")
@click.option("--steps", type=int, help="Length of the run, T. Default: what the network file recommends, else 100.")
@click.option("--resolution", type=int, help=f"Ticks per step, R. Default: {eventsim.DEFAULT_RESOLUTION} (asynchronous).")
@click.option("--clocked", is_flag=True, help="One tick per step: the usual time-stepped loop, spike for spike.")
@click.option("--engine", type=click.Choice(ENGINES), default="auto", show_default=True)
@click.option(
    "--encoding", type=click.Choice(["current", "poisson"]), default="current", show_default=True, help="How pixels drive the network."
)
@click.option(
    "--trace", type=click.Path(path_type=Path), help="Trace file to write (for several inputs: a folder). Default: run.h5 (runs/)."
)
@click.option("--no-trace", is_flag=True, help="Write no trace.")
@click.option(
    "--record", default="all", show_default=True, help="Populations whose spikes go to the trace: all, none, or names with commas."
)
@click.option(
    "--potentials",
    default="none",
    show_default=True,
    help="Populations whose membrane potentials at step ends go to the trace: all, none, or names with commas. One input only.",
)
@click.option("--exit-margin", type=int, help="Stop once the best readout potential leads by this much.")
@click.option("--exit-potential", type=int, help="Stop once a readout potential is at least this.")
@click.option(
    "--max-spikes",
    type=click.IntRange(0),
    default=DEFAULT_MAX_SPIKES,
    help=f"Stop a run once its neurons have made more spikes; what it did until then counts. Default: {DEFAULT_MAX_SPIKES:,}.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of random input (Poisson).")
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Threads for one input, or as many inputs of a folder at a time; the result is the same.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an object, or for several inputs one object a line.")
def run(
    network: Path,
    sources: tuple[str, ...],
    invert: bool,
    crop: bool,
    steps: int | None,
    resolution: int | None,
    clocked: bool,
    engine: str,
    encoding: str,
    trace: Path | None,
    no_trace: bool,
    record: str,
    potentials: str,
    exit_margin: int | None,
    exit_potential: int | None,
    max_spikes: int,
    seed: int,
    threads: int,
    as_json: bool,
) -> None:
    """Run NETWORK on an input: the answer, when it came, and what it cost.

    \b
    Examples:
      eventsim run networks/lenet-mnist.h5 --input digit.png
      eventsim run net.h5 --input images/ --clocked --no-trace --json

    The exit code is 0 where every input was run to its end, 1 after an error, and 3 where a run stopped at --max-spikes.
    """
    if clocked and resolution not in (None, 1):
        raise click.UsageError("--clocked means --resolution 1; give one of them")
    if trace is not None and no_trace:
        raise click.UsageError("give --trace or --no-trace, not both")
    if no_trace and record not in ("all", "none"):
        raise click.UsageError("--record chooses what the trace holds, and --no-trace writes none; give one of them")
    if no_trace and potentials != "none":
        raise click.UsageError("--potentials go to the trace, and --no-trace writes none; give one of them")
    from eventsim.batch.folder import Runner, Settings, run_in_processes
    from eventsim.batch.inputs import find_inputs
    from eventsim.job.preparation import default_steps

    settings = Settings(network, encoding, invert, crop)
    runner = Runner(settings)
    named = _by_population(runner.network, sources)
    if (invert or crop) and (named is not None or runner.network.input is None):
        raise click.UsageError("--invert and --crop are for image files, and this run takes none")
    if encoding == "poisson" and named:
        raise click.UsageError("--encoding poisson makes spikes of an image; give one, not inputs by population")
    inputs: list[Any] = find_inputs(runner.network, sources[0]) if named is None else [named]
    several = named is None and (len(inputs) > 1 or (sources[0] != "-" and Path(sources[0]).is_dir()))
    if several and potentials != "none":
        raise click.UsageError("--potentials is for one input; run the inputs one by one to keep the membrane potentials of each")
    if steps is None:
        steps = default_steps(runner.network)
    ticks_per_step = 1 if clocked else eventsim.DEFAULT_RESOLUTION if resolution is None else resolution
    # Without a trace nobody could read the spikes.
    wanted = "none" if no_trace else record
    settings.run.update(
        steps=steps,
        resolution=ticks_per_step,
        engine=engine,
        record=_names(wanted),
        potentials=_names(potentials),
        exit_margin=exit_margin,
        exit_potential=exit_potential,
        max_spikes=max_spikes,
        seed=seed,
        threads=1 if several else threads,
    )
    folder = None
    if several and not no_trace:
        folder = trace or Path("runs")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise eventsim.TraceError(f"{folder}: cannot be made ({error.strerror})") from None
    runner.simulator.compile(engine)  # type: ignore[arg-type]
    jobs = [(item, folder / f"{item.file_name}.h5" if folder else None if no_trace else trace or Path("run.h5")) for item in inputs]
    if len({target for _, target in jobs}) < len(jobs) and folder is not None:
        names = [target.name for _, target in jobs if target is not None]
        raise eventsim.InputError(f"two inputs have the trace {next(n for n in names if names.count(n) > 1)}; rename one of them")
    failures, stopped = 0, False
    if several and threads > 1:
        outcomes = run_in_processes(settings, jobs, threads)
    else:

        def one_by_one() -> Iterator[Outcome]:
            for item, target in jobs:
                with _tick_progress(steps * ticks_per_step, not several) as progress:
                    yield runner.run(item, target, progress)

        outcomes = one_by_one()
    for outcome in _each(outcomes, len(jobs)):
        for remark in outcome.remarks:
            click.echo(f"note: {printable(remark)}", err=True)
        if outcome.error is not None:
            # One bad file does not stop a folder.
            if not several:
                raise eventsim.InputError(outcome.error)
            failures += 1
            click.echo(f"eventsim: error: {printable(outcome.error)}", err=True)
            continue
        summary = outcome.summary
        if summary["stopped"] is not None:
            stopped = True
            click.echo(f"eventsim: stopped: {printable(outcome.path)}: {_limit_reached(summary)}", err=True)
        if as_json:
            click.echo(json.dumps(summary, indent=None if several else 2))
        elif several:
            answer = "" if summary["label"] is None else f"{summary['label']}, decided at {summary['decision_latency_steps']:.3f} steps, "
            line = f"{outcome.path}: {answer}{summary['spikes']:,} spikes, {summary['synaptic_events']:,} synaptic events"
            click.echo(printable(line))
        else:
            assert outcome.result is not None
            _print_result(outcome.result, summary)
    if failures:
        raise eventsim.InputError(f"{failures} of {len(jobs)} inputs could not be run")
    if stopped:
        click.get_current_context().exit(STOPPED)


def _names(text: str) -> str | list[str]:
    """Populations as an option names them."""
    return text if text in ("all", "none") else [name.strip() for name in text.split(",")]


def _limit_reached(summary: dict[str, Any]) -> str:
    reached = f"more than {summary['max_spikes']:,} spikes by {summary['duration_steps']:.3f} of {summary['steps']} steps"
    return f"{reached}; what is shown and written ends there (--max-spikes sets the limit)"


def _by_population(network: eventsim.Network, sources: tuple[str, ...]) -> dict[str, str] | None:
    """Files by population, if that is what is given; nothing is given to a network that takes no input."""
    pairs = [tuple(source.split("=", 1)) for source in sources]
    if len(pairs) == 1 and (len(pairs[0]) == 1 or pairs[0][0] not in network.populations):
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
        from eventsim.batch.inputs import needed
        from eventsim.model.network import Driven

        missing = ["an image"] if any(isinstance(p, Driven) and p.encoder is not None for p in network.populations.values()) else []
        missing += [f"{name}=FILE" for name in needed(network)]
        if missing:
            raise click.UsageError(f"this network needs --input: {', '.join(missing)}")
    return given


def _print_result(result: eventsim.Result, summary: dict[str, Any]) -> None:
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
    if summary["trace"]:
        rows.append(("trace", summary["trace"]))
    for name, value in rows:
        click.echo(f"{name:16} {printable(value)}")


def _each(outcomes: Iterator[Outcome], total: int) -> Iterator[Outcome]:
    """The outcomes as they come, with a progress bar on a terminal if there are several."""
    if total == 1 or not sys.stderr.isatty():
        yield from outcomes
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(outcomes, "running", total=total, console=Console(stderr=True), transient=True)


@contextlib.contextmanager
def _tick_progress(total: int, wanted: bool) -> Iterator[Callable[[int], None] | None]:
    """A progress bar over ticks on a terminal, once a run has taken a while."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    start = time.monotonic()
    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("simulating", total=total)
    try:

        def show(tick: int) -> None:
            if time.monotonic() - start > _PROGRESS_AFTER:
                bar.start()
                bar.update(task, completed=tick)

        yield show
    finally:
        bar.stop()


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--verify", is_flag=True, help="Read all of it and compare it with its check sums.")
def info(file: Path, as_json: bool, verify: bool) -> None:
    """Describe a network file, a trace or an evaluation."""
    from eventsim.analysis import facts as inspect

    facts = inspect.describe_file(file, verify)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        inspect.print_facts(facts)
