"""Studies: one network, or one trained model, under a sweep of design choices. Every point is a resumable evaluation."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.analysis.costs import usual_costs
from eventsim.analysis.evaluation import Evaluation, check_loss
from eventsim.batch.evaluate import evaluate
from eventsim.conversion import convert
from eventsim.conversion.choices import PERCENTILES
from eventsim.data.image_sets import Dataset
from eventsim.errors import RunError
from eventsim.files.atomic import write_text
from eventsim.job.job import DEFAULT_RESOLUTION, MAX_STEPS, MODES
from eventsim.model.exits import ExitRule, exit_kinds
from eventsim.model.limits import MAX_PERIOD
from eventsim.model.network import Network
from eventsim.model.onsets import with_onsets
from eventsim.model.order import feed_forward_order
from eventsim.model.periods import ticks
from eventsim.model.refractory import with_refractory

RESOLUTIONS = (1, 2, 4, 16, 64, 256, 4096, DEFAULT_RESOLUTION)
DELAYS = (0.0, 0.1, 0.25, 0.5, 1.0)
INITIALS = (0.0, 0.25, 0.5, 0.75)
ONSETS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
REFRACTORY = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0)
LOSSES = (0.001, 0.003, 0.01)


@dataclass(frozen=True)
class Point:
    """One point of a sweep.

    Attributes
    ----------
    columns : dict
        What identifies it in the table; ``"series"`` joins points in the plot.
    network : Network
    settings : dict
        Keyword arguments of :func:`eventsim.evaluate`.
    """

    columns: dict[str, Any]
    network: Network
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes
    ----------
    name : str
    rows : list of dict
        The table.
    evaluations : dict of str to Path
        The evaluation of every point, by name.
    swept : tuple of str
        Columns whose values were asked for: they are written in full.
    """

    name: str
    rows: list[dict[str, Any]]
    evaluations: dict[str, Path]
    swept: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write ``table.csv`` and ``table.md``.

        Raises
        ------
        RunError
            The folder cannot be written.
        """
        try:
            table = io.StringIO(newline="")
            writer = csv.DictWriter(table, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
            write_text(folder / "table.csv", table.getvalue())
            write_text(folder / "table.md", self.markdown())
        except OSError as error:
            raise RunError(f"{folder}: cannot be written ({error.strerror})") from None

    def markdown(self) -> str:
        """The table in Markdown."""
        head = list(self.rows[0])
        numeric = [any(isinstance(row[name], (int, float)) for row in self.rows) for name in head]
        lines = ["| " + " | ".join(head) + " |", "|" + "|".join("--:" if n else "---" for n in numeric) + "|"]
        lines += ["| " + " | ".join(shown(name, row[name], name in self.swept) for name in head) + " |" for row in self.rows]
        return "\n".join(lines) + "\n"


def shown(name: str, value: Any, exactly: bool = False) -> str:
    """A value of a table as text, rounded or ``exactly``; "-" where there is none."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if "accuracy" in name or "loss" in name:
            return f"{100 * value:.12g}%" if exactly and round(value, 4) != value else f"{value:.2%}"
        if exactly:
            return f"{value:,.15g}"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def resolution_points(network: Network, values: Iterable[int] = RESOLUTIONS) -> list[Point]:
    """From clocked to asynchronous: ticks per step."""
    return [Point({"series": "", "resolution": value}, network, {"resolution": value}) for value in values]


def delay_points(network: Network, values: Iterable[float] = DELAYS) -> list[Point]:
    """The same delay, in steps, in every projection, as the mode rounds it; see :func:`delayed`.

    Raises
    ------
    RunError
        A delay that is negative, not finite or longer than any run, or a network with a cycle.
    """
    values = list(values)
    for value in values:
        if not 0 <= value <= MAX_STEPS:
            raise RunError(f"a delay must be 0..{MAX_STEPS} steps, found {value}")
    return [
        Point({"series": mode, "delay": value}, delayed(network, ticks(value, resolution) / resolution), {"resolution": resolution})
        for mode, resolution in MODES.items()
        for value in values
    ]


def onset_points(network: Network, values: Iterable[float] = ONSETS) -> list[Point]:
    """From one layer to the next, so many steps later: when neurons begin to fire, asynchronous (:func:`eventsim.with_onsets`).

    Raises
    ------
    NetworkError
        A network with a cycle, or a value that is no number of steps.
    """
    return [Point({"series": "", "onset": value}, with_onsets(network, value)) for value in values]


def refractory_points(network: Network, values: Iterable[float] = REFRACTORY) -> list[Point]:
    """Refractory period of all neurons that spikes reach, in steps, asynchronous (:func:`eventsim.with_refractory`).

    Raises
    ------
    NetworkError
        A value that is no number of steps, or neurons that spike once.
    """
    return [Point({"series": "", "refractory period": value}, with_refractory(network, value)) for value in values]


def initial_points(network: Network, values: Iterable[float] = INITIALS) -> list[Point]:
    """Initial membrane potential of all neurons, in thresholds."""
    return [
        Point({"series": mode, "initial potential": value}, with_initial(network, value), {"resolution": resolution})
        for mode, resolution in MODES.items()
        for value in values
    ]


def percentile_points(
    model: Any, calibration: npt.NDArray[np.uint8] | None, values: Iterable[float] = PERCENTILES, **settings: Any
) -> list[Point]:
    """The percentile of a layer's activations that becomes one spike per step (:func:`eventsim.convert`).

    Raises
    ------
    ConversionError
        Conversion fails.
    RunError
        No layer depends on it: all activations of the model have bounds of their own.
    """
    points, depends = [], False
    for value in values:
        # (The study itself says how faithful each is.)
        made = convert(model, calibration, percentile=value, check=False, **settings)
        depends |= bool(made.ranges)
        points += [
            Point({"series": mode, "percentile": value}, made.network, {"resolution": resolution}) for mode, resolution in MODES.items()
        ]
    if not depends:
        raise RunError("a percentile changes nothing here: all activations of this model have bounds of their own (QCFS, signs, clips)")
    return sorted(points, key=lambda point: list(MODES).index(point.columns["series"]))


def delayed(network: Network, delay: float) -> Network:
    """The network with this delay (steps) in every projection.

    A bias is delayed by as much as the spikes of the longest way to its layer, so that it begins when they do.

    Raises
    ------
    RunError
        The network has a cycle, or neurons that spike once (:mod:`eventsim.conversion.stepcode`): with all their inputs in, which the
        delays that it was made with see to.
    """
    order = feed_forward_order(network)
    if order is None:
        raise RunError("a delay sweep needs a feed-forward network")
    _refuse_phases(network, "delays")
    clocks = {name for name, p in network.populations.items() if p.is_clock}
    behind = dict.fromkeys(order, 0.0)
    for name in order:
        for p in network.projections:
            if p.target == name and p.source not in clocks:
                behind[name] = max(behind[name], behind[p.source] + delay)
    return replace(network, projections=[replace(p, delay=behind[p.target] if p.source in clocks else delay) for p in network.projections])


def _refuse_phases(network: Network, what: str) -> None:
    """Refuse neurons that are told when to decide, by a source that emits at the start, or rest for as long as any run takes."""
    if any(population.emits == "start" or population.refractory == MAX_PERIOD for population in network.populations.values()):
        raise RunError(f"the {what} of this network are part of what it computes (one spike for each threshold); a study cannot vary them")


def with_initial(network: Network, fraction: float) -> Network:
    """The network with the initial potential of every neuron at this fraction of its threshold, rounded down.

    Raises
    ------
    RunError
        The fraction is not in 0..1; or neurons spike once (:mod:`eventsim.conversion.stepcode`), and begin where their threshold says.
    """
    _refuse_phases(network, "initial potentials")
    if not 0 <= fraction < 1:
        raise RunError(f"the initial potential must be at least 0 and below 1 threshold, found {fraction}")
    # In whole numbers: 0.29 of 100 is 29, though the nearest binary number is below.
    over, under = Fraction(str(fraction)).as_integer_ratio()
    populations = {
        name: p if p.threshold is None else p.with_initial(np.array([theta * over // under for theta in p.threshold.tolist()], np.int64))
        for name, p in network.populations.items()
    }
    return replace(network, populations=populations)


def run_study(
    name: str,
    points: Sequence[Point],
    dataset: Dataset,
    folder: Path,
    *,
    each: Callable[[str, int, int], Callable[[int, int], None] | None] = lambda *_: None,
    **settings: Any,
) -> Study:
    """Evaluate every point; what is done is kept in the folder.

    Parameters
    ----------
    name : str
    points : sequence of Point
    dataset : Dataset
    folder : Path
        Holds the evaluations, the table (``table.csv``, ``table.md``).
    each : callable, optional
        Called with each point's name, its number (from 1) and the number of points, returns what :func:`eventsim.evaluate` takes as
        ``progress``.
    **settings
        For :func:`eventsim.evaluate`.

    Raises
    ------
    RunError
        No points, or two that are alike; or the folder cannot be written.
    """
    if not points:
        raise RunError("a study needs at least one value")
    titles = titles_of(point.columns for point in points)
    make_folder(folder)
    rows, evaluations = [], {}
    for number, (point, title) in enumerate(zip(points, titles, strict=True), 1):
        path = folder / f"{file_name(title)}.h5"
        with evaluate(
            point.network, dataset, path, trade_off=False, progress=each(title, number, len(points)), **settings | point.settings
        ) as e:
            rows.append({key: value for key, value in point.columns.items() if key != "series" or value} | measures(e))
        evaluations[title] = path
    study = Study(name, rows, evaluations, tuple(points[0].columns))
    study.write(folder)
    return study


def measures(e: Evaluation) -> dict[str, Any]:
    """What a row of a study says of an evaluation; means per image."""
    s = e.summary()
    costs = usual_costs()
    energy = costs.energy(e.operations().mean())[costs.kinds[0]] / 1e6
    return {
        "accuracy": s["accuracy"],
        "decision latency": s["mean_decision_latency_steps"],
        "spikes": s["mean_spikes"],
        "synaptic events": s["mean_synaptic_events"],
        "additions": s["mean_additions"],
        "energy (uJ)": energy,
    }


def exit_study(
    network: Network,
    dataset: Dataset,
    folder: Path,
    losses: Iterable[float] = LOSSES,
    *,
    each: Callable[[str, int, int], Callable[[int, int], None] | None] = lambda *_: None,
    **settings: Any,
) -> Study:
    """Early exit, clocked and asynchronous: thresholds that lose at most so much accuracy, confirmed by really stopping.

    A threshold is chosen on one half of the images and verified on the other (:meth:`Evaluation.choose_exit`). All images are then run
    again with that threshold, and the curve's accuracy, latency and counts must come out.

    Raises
    ------
    RunError
        The data set has no labels; losses that are no shares, or given twice; or really stopping gave something else than the curve.
    """
    losses = list(losses)
    if not losses:
        raise RunError("a study needs at least one value")
    for loss in losses:
        check_loss(loss)
    titles_of({"allowed loss": loss} for loss in losses)
    check_labels(dataset)
    make_folder(folder)
    rows: list[dict[str, Any]] = []
    evaluations = {}
    outputs = 1 if network.output is None else int(np.prod(network.populations[network.output].shape))
    kinds = len(exit_kinds(outputs))
    points, numbers = len(MODES) * (1 + kinds * len(losses)), count(1)
    for mode, resolution in MODES.items():
        path = folder / f"{mode}.h5"
        evaluations[mode] = path
        with evaluate(network, dataset, path, resolution=resolution, progress=each(mode, next(numbers), points), **settings) as whole:
            _, events = whole.totals()
            for kind in whole.exit_kinds:
                curve = whole.trade_off(kind)
                for loss in losses:
                    choice = whole.choose_exit(kind, loss)
                    expected = curve.at(choice.threshold)
                    title = f"{mode} {kind} {choice.threshold}"
                    stopped = folder / f"{file_name(title)}.h5"
                    rule = ExitRule(kind, choice.threshold).settings
                    progress = each(title, next(numbers), points)
                    with evaluate(network, dataset, stopped, resolution=resolution, progress=progress, **settings, **rule) as real:
                        _confirm(title, expected, real)
                    evaluations[title] = stopped
                    rows.append(
                        {
                            "mode": mode,
                            "rule": kind,
                            "allowed loss": loss,
                            "threshold": choice.threshold,
                            "accuracy, whole run": whole.accuracy,
                            "accuracy": expected["accuracy"],
                            "accuracy lost on the verifying half": choice.verified_on["full_accuracy"] - choice.verified_on["accuracy"],
                            "latency": expected["latency"],
                            "latency cut": whole.info.steps / expected["latency"],
                            "synaptic events": expected["synaptic_events"],
                            "events cut": float(events.mean()) / expected["synaptic_events"] if expected["synaptic_events"] else None,
                        }
                    )
    study = Study("exit", rows, evaluations, ("allowed loss",))
    study.write(folder)
    return study


def _confirm(title: str, expected: Mapping[str, float], real: Evaluation) -> None:
    spikes, events = real.totals()
    found = {
        "accuracy": real.accuracy,
        "latency": float(real.duration().mean()),
        "spikes": float(spikes.mean()),
        "synaptic_events": float(events.mean()),
        "exited": float(real.array("exited").mean()),
    }
    for name, value in found.items():
        if not np.isclose(value, expected[name], rtol=1e-12, atol=0):
            raise RunError(f"{title}: really stopping gave {name} {value}, the trade-off curve says {expected[name]}; please report this")


def check_labels(dataset: Dataset) -> None:
    """Raise RunError if a data set has no labels."""
    if dataset.labels is None:
        raise RunError(f"{dataset.name}: a study of accuracy, and the data set has no labels; one of folders has a folder a class")


def make_folder(folder: Path) -> None:
    """Make the folder of a study; raises RunError if that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made ({error.strerror})") from None


def titles_of(columns: Iterable[Mapping[str, Any]]) -> list[str]:
    """What points are called.

    Raises
    ------
    RunError
        Two are called alike: they would count as one, and as two seeds.
    """
    titles = [title_of(each) for each in columns]
    twice = [title for title, number in Counter(titles).items() if number > 1]
    if twice:
        raise RunError(f"{twice[0]}: asked for {titles.count(twice[0])} times; give every value once")
    return titles


def title_of(columns: Mapping[str, Any]) -> str:
    """What a point is called, by what identifies it."""
    return " ".join(f"{key} {value}" if key != "series" else str(value) for key, value in columns.items()).strip()


def file_name(title: str) -> str:
    """A title as a name of a file."""
    return re.sub(r"[^\w.]+", "-", title)
