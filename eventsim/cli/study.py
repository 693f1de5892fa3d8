"""``python -m eventsim study``: sweeps over design choices, a table and a plot each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eventsim.analysis.evaluation import Evaluation
from eventsim.batch import fault_study
from eventsim.batch import study as studies
from eventsim.batch.folder import network_of
from eventsim.batch.imperfect_study import LEVELS, converter_points, run_points
from eventsim.batch.study import Point, Study
from eventsim.batch.throughput_study import STEPS_US, throughput_study
from eventsim.cli.calibration import sample_images
from eventsim.cli.lazy import WholeHelp
from eventsim.cli.names import FILE_NAME, NAME
from eventsim.cli.opening import dataset_of
from eventsim.cli.options import architecture, evaluated, normalisation, numbers, one_place, options, workers
from eventsim.cli.pictures import write_figures
from eventsim.cli.progress import point_progress
from eventsim.conversion.read import read_model
from eventsim.errors import RunError
from eventsim.files.printable import echo
from eventsim.hardware.architecture import CrossbarCore
from eventsim.hardware.hardware import Hardware
from eventsim.model.network import Network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PLOTTED = ("accuracy", "decision latency", "spikes", "synaptic events")
_scheduler = click.option("--scheduler", type=NAME, help="Address of a Dask scheduler.")


def _swept(default: Sequence[float], folder: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options of a sweep: what it takes if no values are given, and where it writes."""
    told = ",".join(f"{value:.15g}" for value in default)
    return options(
        evaluated,
        workers,
        _scheduler,
        click.option("--values", help=f"Values of the sweep, with commas. Default: {told}."),
        click.option(
            "--output",
            "-o",
            type=FILE_NAME,
            help=f"Folder for the table, the plot and the evaluations. Default: {folder}.",
        ),
    )


@click.group(cls=WholeHelp)
def study() -> None:
    """Sweep a design choice: accuracy, latency and operations in one table and one plot.

    Every value is an evaluation in the output folder; after an interruption, the same command goes on.
    """


@study.command()
@click.argument("network", type=FILE_NAME)
@_swept(studies.RESOLUTIONS, "study-resolution")
def resolution(network: Path, **common: Any) -> None:
    """Ticks per step, from clocked to asynchronous."""
    _sweep(
        "resolution",
        lambda net, values: studies.resolution_points(net, _whole("--values", "a resolution", values)),
        studies.RESOLUTIONS,
        network,
        common,
        log=True,
    )


@study.command()
@click.argument("network", type=FILE_NAME)
@_swept(studies.DELAYS, "study-delay")
def delay(network: Path, **common: Any) -> None:
    """Delay of every projection, in steps."""
    _sweep("delay", studies.delay_points, studies.DELAYS, network, common)


@study.command()
@click.argument("network", type=FILE_NAME)
@_swept(studies.ONSETS, "study-onset")
def onset(network: Path, **common: Any) -> None:
    """Steps by which each layer begins to fire later than the one before it, asynchronous."""
    _sweep("onset", studies.onset_points, studies.ONSETS, network, common)


@study.command()
@click.argument("network", type=FILE_NAME)
@_swept(studies.REFRACTORY, "study-refractory-period")
def refractory(network: Path, **common: Any) -> None:
    """Refractory period of all layers but the first, in steps, asynchronous."""
    _sweep("refractory period", studies.refractory_points, studies.REFRACTORY, network, common)


@study.command()
@click.argument("network", type=FILE_NAME)
@_swept(studies.INITIALS, "study-initial-potential")
def initial(network: Path, **common: Any) -> None:
    """Initial membrane potential, in thresholds."""
    _sweep("initial potential", studies.initial_points, studies.INITIALS, network, common)


@study.command()
@click.argument("model", type=FILE_NAME)
@architecture
@click.option("--calibrate", type=NAME, help="Data set (its training images) or folder for calibration. Default: --dataset.")
@click.option("--calibration-images", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--initial", type=click.Choice(["half", "zero"]), default="half", show_default=True)
@normalisation
@_swept(studies.PERCENTILES, "study-percentile")
def percentile(
    model: Path, architecture: str | None, calibrate: str | None, calibration_images: int, initial: str, mean: str | None,
    std: str | None, **common: Any,
) -> None:  # fmt: skip
    """Percentile of the activations of ReLU layers that becomes one spike per step; MODEL as for `convert`."""
    source = read_model(model, architecture, None)
    calibration, _, _ = sample_images(calibrate or common["dataset"], "train", calibration_images)
    settings = {"initial": initial, "mean": numbers(mean, 0.0), "std": numbers(std, 1.0)}

    def points(_: Any, values: Any) -> list[Point]:
        made = studies.percentile_points(source, calibration, values, **settings)
        return [replace(point, network=_network(point.network, common)) for point in made]

    _sweep("percentile", points, studies.PERCENTILES, None, common)


@study.command()
@click.argument("network", type=FILE_NAME)
@click.option("--kind", type=click.Choice(list(fault_study.KINDS)), default="flips", show_default=True, help="What is wrong.")
@click.option("--seeds", type=click.IntRange(1, 1000), default=fault_study.SEEDS, show_default=True, help="Networks for each value.")
@_swept(fault_study.VALUES, "study-faults-KIND")
def faults(network: Path, kind: str, seeds: int, **common: Any) -> None:
    """Faults of hardware: weights flipped, cells stuck, conductances and thresholds that vary, spikes lost or late.

    --values: probabilities, or spreads; of jitter steps.
    """
    net, values, settings = _network(network, common), numbers_or(common["values"], fault_study.VALUES), _settings(common)
    data = dataset_of(common)
    studies.check_labels(data)
    folder = common["output"] or Path(f"study-faults-{kind}")
    with point_progress() as each:
        if kind in fault_study.OF_SPIKES:
            spike_points = fault_study.spike_fault_points(net, kind, values, seeds)
            found = run_points("faults", spike_points, data, folder, each=each, **settings)
        else:
            found = studies.run_study("faults", fault_study.fault_points(net, kind, values, seeds), data, folder, each=each, **settings)
    means = _means("faults", fault_study.over_seeds(found.rows, kind), found, folder)
    if seeds == 1:
        _no_interval()

    def draw() -> Figure:
        from eventsim.analysis import plot

        return plot.curves(means.rows, kind, ("accuracy", "spikes"))

    _finish(means, folder, {"plot": draw}, means=True)


@study.command()
@click.argument("network", type=FILE_NAME)
@evaluated
@workers
@_scheduler
@click.option("--hardware", type=NAME, required=True, help="Architecture file of crossbars, or the name of one.")
@click.option("--values", help=f"Levels that converters tell apart, with commas. Default: {','.join(map(str, LEVELS))}.")
@click.option("--rows", help="Full scales of converters in rows, with commas. Default: what the file says.")
@click.option(
    "--seeds", type=click.IntRange(1, 1000), default=fault_study.SEEDS, show_default=True, help="Sets of offsets, if there are any."
)
@click.option("--output", "-o", type=FILE_NAME, default="study-adc", show_default=True, help="Folder for table, plot and points.")
def adc(network: Path, hardware: str, values: str | None, rows: str | None, seeds: int, output: Path, **common: Any) -> None:
    """Converters of crossbars: accuracy against what they tell apart, clocked and asynchronous."""
    data, net = dataset_of(common), _network(network, common)
    studies.check_labels(data)
    levels = _whole("--values", "levels of a converter", numbers_or(values, LEVELS))
    scales = _whole("--rows", "a full scale in rows", numbers_or(rows, ()))
    chip = Hardware(hardware).architecture
    points = converter_points(net, chip, levels, scales, seeds)
    with point_progress() as each:
        found = run_points("adc", points, data, output, each=each, **_settings(common))
    kept = ("spikes", "reads", "conversions")
    means = _means("adc", fault_study.over_seeds(found.rows, "rows", "levels", "bits", measures=kept), found, output)
    if seeds == 1 and isinstance(chip.core, CrossbarCore) and chip.core.offset:
        _no_interval()

    def draw() -> Figure:
        from eventsim.analysis import plot

        curves = [row | {"series": f"{row['series']}, {row['rows']} rows"} for row in means.rows]
        return plot.curves(curves, "levels", ("accuracy", "conversions"), log=True)

    _finish(means, output, {"plot": draw}, means=True)


@study.command()
@click.argument("network", type=FILE_NAME)
@evaluated
@workers
@_scheduler
@click.option("--hardware", type=NAME, required=True, help="Architecture file without barriers, or the name of one.")
@click.option("--values", help=f"Durations of a step in microseconds, with commas. Default: {','.join(f'{v:g}' for v in STEPS_US)}.")
@click.option("--output", "-o", type=FILE_NAME, default="study-throughput", show_default=True, help="Folder for table and plot.")
def throughput(network: Path, hardware: str, values: str | None, output: Path, **common: Any) -> None:
    """Closed runs on hardware: accuracy against the duration of a step."""
    data, net = dataset_of(common), _network(network, common)
    chip = Hardware(hardware)
    with point_progress() as each:
        found = throughput_study(net, data, chip, output, numbers_or(values, STEPS_US), each=each, **_settings(common))

    def draw() -> Figure:
        from eventsim.analysis import plot

        return plot.curves(found.rows, "step (us)", ("accuracy", "decision (us)"), log=True)

    _finish(found, output, {"plot": draw})


@study.command("exit")
@click.argument("network", type=FILE_NAME)
@_swept(studies.LOSSES, "study-exit")
def early_exit(network: Path, **common: Any) -> None:
    """Early exit by margin and by potential: what it saves for a loss of accuracy (--values, as shares: 0.003 is 0.3 points)."""
    net = _network(network, common)
    data, folder, losses = dataset_of(common), common["output"] or Path("study-exit"), numbers_or(common["values"], studies.LOSSES)
    with point_progress() as each:
        found = studies.exit_study(net, data, folder, losses, each=each, **_settings(common))

    def draw() -> Figure:
        from eventsim.analysis import plot

        with contextlib.ExitStack() as stack:
            return plot.trade_off({mode: stack.enter_context(Evaluation(found.evaluations[mode])) for mode in studies.MODES})

    _finish(found, folder, {"plot": draw})


def _network(network: Path | Network, common: Mapping[str, Any]) -> Network:
    """The network of a study, which takes recordings as the options say."""
    return network_of(network, common["step_us"], common["polarity"])


def _settings(common: Mapping[str, Any]) -> dict[str, Any]:
    """What every point of a study is run with, by the options that all studies have."""
    one_place(common)
    return {key: common[key] for key in ("images", "steps", "workers", "scheduler", "invert", "crop")}


def numbers_or(text: str | None, default: Any) -> list[float]:
    """Numbers with commas, or the default."""
    return list(default) if text is None else numbers(text, 0.0)


def _whole(option: str, what: str, values: Sequence[float]) -> list[int]:
    for value in values:
        if not float(value).is_integer():  # (of whole numbers themselves only from Python 3.12 on)
            raise click.UsageError(f"{option} {value:g}: {what}: a whole number is expected")
    return [int(value) for value in values]


def _sweep(
    name: str, make: Callable[..., list[Point]], default: Any, network: Path | None, common: dict[str, Any], log: bool = False
) -> None:
    points = make(None if network is None else _network(network, common), numbers_or(common["values"], default))
    data = dataset_of(common)
    folder = common["output"] or Path(f"study-{name.replace(' ', '-')}")
    with point_progress() as each:
        found = studies.run_study(name, points, data, folder, each=each, **_settings(common))

    def draw() -> Figure:
        from eventsim.analysis import plot

        return plot.curves(found.rows, name, _PLOTTED, log=log, labels={"decision latency": "decision latency (steps)"})

    def over_time() -> Figure:
        from eventsim.analysis import plot

        with contextlib.ExitStack() as stack:
            return plot.accuracy_over_time({t: stack.enter_context(Evaluation(path)) for t, path in found.evaluations.items()})

    _finish(found, folder, {"plot": draw, "accuracy-over-time": over_time})


def _means(name: str, rows: list[dict[str, Any]], found: Study, folder: Path) -> Study:
    means = Study(name, rows, found.evaluations, tuple(found.swept))
    studies.make_folder(folder / "means")
    means.write(folder / "means")
    return means


def _no_interval() -> None:
    echo("note: one seed gives no interval; --seeds 2 or more give one", err=True)


def _finish(found: Study, folder: Path, figures: dict[str, Callable[[], Figure]], *, means: bool = False) -> None:
    """Print the table and write the plots; ``means``: the table is that of means, and the other has all seeds."""
    echo(found.markdown())
    try:
        for file in write_figures(folder, figures):
            echo(str(file))
    except RunError as error:
        # The table stands without its picture.
        echo(f"note: no plot: {error}", err=True)
    if means:
        echo(f"{folder / 'means' / 'table.csv'}")
    echo(f"{folder / 'table.csv'}{' (all seeds)' if means else ''}")
