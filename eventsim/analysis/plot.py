"""Static figures of runs and evaluations, for papers and reports. Needs Matplotlib (``eventsim[plot]``).

Every function returns a :class:`matplotlib.figure.Figure`; ``figure.savefig("x.svg")`` or ``"x.png"`` keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from eventsim.analysis.evaluation import Evaluation, TradeOff
from eventsim.errors import RunError
from eventsim.files.printable import printable
from eventsim.record.result import Run, Spikes

try:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter, ScalarFormatter
except ImportError:
    raise RunError("figures need Matplotlib; install eventsim[plot]") from None

_WIDTH = 8.0
# Colours that people with colour blindness tell apart (Okabe & Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
# More spikes than this become a picture of their density.
DOTS = 20_000
_BINS, _LINES = 800, 200
# Populations in a raster: a figure cannot be of any height.
_MOST_ROWS = 50
# Bars that are drawn one by one.
_MOST_BARS = 250
# Letters of a name in a figure.
_LONGEST = 40


def _text(name: str) -> str:
    """A name as Matplotlib draws it letter by letter, at a readable length: it comes from a file and may hold anything.

    Dollars would be set as mathematics, and what begins with an underscore is left out of legends.
    """
    shown = printable(name[: _LONGEST + 1])
    if len(shown) > _LONGEST:
        shown = shown[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return (" " if shown.startswith("_") else "") + shown.replace("$", r"\$")


def _percent(axes: Axes) -> None:
    """Percentages on the y axis, with as many decimals as its range needs."""
    low, high = axes.get_ylim()
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=2 if high - low < 0.01 else 1 if high - low < 0.1 else 0))


def _thousands(axis: Axis) -> None:
    """k, M, G for large numbers."""
    if max(map(abs, axis.get_view_interval())) >= 1000:
        axis.set_major_formatter(EngFormatter(sep=""))


def _style(names: Sequence[str], name: str) -> dict[str, Any]:
    """Colour and dashes: what is clocked in one curve and asynchronous in another has one colour."""
    keys = list(dict.fromkeys(n.removeprefix("asynchronous").removeprefix("clocked") for n in names))
    key = name.removeprefix("asynchronous").removeprefix("clocked")
    if len(keys) == 1:
        return {"color": _colour(list(names).index(name))}
    return {"color": _colour(keys.index(key)), "linestyle": "--" if name.startswith("asynchronous") else "-"}


def _figure(height: float, width: float = _WIDTH) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _single(height: float = 3.2, width: float = _WIDTH) -> tuple[Figure, Axes]:
    figure = _figure(height, width)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _firing(run: Run, populations: Sequence[str] | None) -> list[str]:
    if populations is not None:
        return list(populations)
    return [p.name for p in run.info.populations if p.sends_spikes and not p.is_clock]


def raster(run: Run, populations: Sequence[str] | None = None, start: float = 0, stop: float | None = None) -> Figure:
    """Spikes of populations over time, one row of axes each.

    Few spikes are dots (negative ones red); many are the number of spikes in each cell of time and neurons.

    Parameters
    ----------
    run : Result or Trace
        With the spikes of these populations recorded.
    populations : sequence of str, optional
        Default: all that fire.
    start, stop : float
        Window in steps.

    Raises
    ------
    RunError
        No population fires, or the spikes of one were not recorded; more populations than there is room for; an empty window.
    """
    names = _firing(run, populations)
    end = run.duration if stop is None else stop
    if not names:
        raise RunError("no population fires, so there is no raster")
    if len(names) > _MOST_ROWS:
        raise RunError(f"a raster has room for {_MOST_ROWS} populations, found {len(names)}; choose some of them")
    # (What window() says is checked below: between two ticks there is none.)
    if not start < end or not np.isfinite([start, end]).all() or np.diff(run.window(start, end)) < 0:
        raise RunError(f"a raster from {start:g} to {end:g} steps holds nothing")
    figure = _figure(0.5 + 1.25 * len(names))
    rows: Any = figure.subplots(len(names), 1, sharex=True, squeeze=False)
    for axes, name in zip(rows[:, 0], names, strict=True):
        size = run.population(name).size
        # A bin holds whole ticks and whole neurons, or the picture would show stripes that are not there.
        first, last = run.window(start, end)
        columns, ticks = _bins(last - first + 1, _BINS)
        lines, neurons = _bins(size, _LINES)
        density, count = np.zeros(lines * columns, np.int64), 0
        few: list[Spikes] = []
        # Some at a time: there may be more than memory has room for.
        for spikes in run.spike_blocks(name, start, stop):
            count += len(spikes.ticks)
            few = [*few, spikes] if count <= DOTS else []
            density += np.bincount(spikes.neurons // neurons * columns + (spikes.ticks - first) // ticks, minlength=len(density))
        if count <= DOTS:
            for part in few:
                at = part.ticks / run.info.resolution
                for sign, colour in ((1, COLOURS[0]), (-1, COLOURS[1])):
                    here = part.signs == sign
                    axes.plot(at[here], part.neurons[here], ",", color=colour, rasterized=True)
        else:
            left, right = ((first - 1 + at) / run.info.resolution for at in (0, columns * ticks))
            axes.imshow(
                np.log1p(density.reshape(lines, columns)),
                aspect="auto",
                origin="lower",
                extent=(left, right, -0.5, lines * neurons - 0.5),
                cmap="Blues",
                interpolation="nearest",
            )
        # The first and the last neuron and tick are not on the frame.
        beside, above = 0.005 * (end - start), max(0.5, 0.02 * size)
        axes.set_xlim(start - beside, end + beside)
        axes.set_ylim(-0.5 - above, size - 0.5 + above)
        axes.set_yticks([])
        axes.set_ylabel(f"{_text(name)}\n{size:,} neurons\n{count:,} spikes", rotation=0, ha="right", va="center", fontsize=8)
    rows[-1, 0].set_xlabel("time (steps)")
    return figure


def _bins(count: int, most: int) -> tuple[int, int]:
    """At most so many bins for ``count`` things, all of the same whole size: (bins, size)."""
    size = -(-count // most)
    return -(-count // size), size


def readout(run: Run, top: int = 5) -> Figure:
    """Output potentials at the end of every step, the largest ``top`` in colour, with the decision and the exit marked.

    Raises
    ------
    RunError
        The network has no readout.
    """
    potentials = run.readout
    if potentials is None:
        raise RunError("this run has no readout")
    figure, axes = _single()
    at = np.minimum(np.arange(1, len(potentials) + 1), run.duration)
    best = [i for i, _, _ in run.top(top)]
    for neuron in range(potentials.shape[1]):
        if neuron not in best:
            axes.plot(at, potentials[:, neuron], color="0.85", linewidth=0.7, zorder=1)
    for i, neuron in enumerate(best):
        axes.plot(at, potentials[:, neuron], color=_colour(i), label=_text(run.label_of(neuron)), marker="." if len(at) < 40 else "")
    if run.decision_latency is not None:
        axes.axvline(run.decision_latency, color="0.3", linestyle="--", linewidth=1, label=f"decided at {run.decision_latency:.3f}")
    if run.exit_latency is not None:
        axes.axvline(run.exit_latency, color=COLOURS[1], linestyle=":", linewidth=1.5, label=f"stopped at {run.exit_latency:.3f}")
    axes.set(xlabel="time (steps)", ylabel="output potential")
    axes.set_xlim(left=0)
    _thousands(axes.yaxis)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def potentials(run: Run, population: str, neurons: Sequence[int] | None = None) -> Figure:
    """Membrane potentials of a few neurons at the end of every step, with their thresholds and, if they were recorded, their spikes.

    Spikes are marks at the threshold, at their own times: pointing up, or down if they are negative. A potential is above its threshold at
    the end of a step where the refractory period keeps the neuron from firing.

    Parameters
    ----------
    run : Result or Trace
        With the potentials of the population kept.
    population : str
    neurons : sequence of int, optional
        Default: the first eight, as many as there are colours.
    """
    values, threshold, size = run.potentials(population), run.threshold(population), run.population(population).size
    chosen = list(range(min(size, len(COLOURS)))) if neurons is None else list(neurons)
    places = run.positions(population, np.array(chosen, np.int64))
    spikes = run.spikes(population) if population in run.recorded else None
    figure, axes = _single()
    at = run.step_ends()
    for i, (neuron, (y, x, channel)) in enumerate(zip(chosen, places.tolist(), strict=True)):
        place = f"{neuron}" if len(run.population(population).shape) == 1 else f"{neuron} ({y}, {x}, channel {channel})"
        axes.plot(at, values[:, neuron], color=_colour(i), label=place, marker="." if len(at) < 40 else "")
        if threshold is None:
            continue
        axes.axhline(threshold[neuron], color=_colour(i), linestyle="--", linewidth=0.8)
        if spikes is not None:
            for sign, marker in ((1, "^"), (-1, "v")):
                fired = spikes.ticks[(spikes.neurons == neuron) & (spikes.signs == sign)] / run.info.resolution
                if len(fired):
                    axes.plot(fired, np.full(len(fired), threshold[neuron]), marker, color=_colour(i), markersize=5)
    axes.set(xlabel="time (steps)", ylabel=f"potential of {_text(population)}")
    axes.set_xlim(left=0)
    _thousands(axes.yaxis)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), title="neuron", title_fontsize=8)
    return figure


def feature_maps(run: Run, population: str, most: int = 32) -> Figure:
    """Net spikes of every neuron of a population, one picture per channel (the first ``most``; RunError if that is below 1)."""
    counts = run.spike_counts(population)
    maps = counts.reshape(1, -1, 1) if counts.ndim == 1 else counts
    if counts.ndim == 1:
        # Neurons without places fill a rectangle, row by row.
        columns = int(np.ceil(np.sqrt(counts.size * 4)))
        padded = np.full(-(-counts.size // columns) * columns, np.nan)
        padded[: counts.size] = counts
        maps = padded.reshape(-1, columns, 1)
    if most < 1:
        raise RunError(f"feature maps of at least one channel, found {most}")
    shown = min(most, maps.shape[2])
    across = min(16, shown)
    down = -(-shown // across)
    height, width = maps.shape[:2]
    figure = _figure(0.35 + min(6.0, _WIDTH / across * down * height / width), _WIDTH)
    grid: Any = figure.subplots(down, across, squeeze=False)
    low, high = np.nanmin(maps[..., :shown]), max(1, np.nanmax(maps[..., :shown]))
    picture = None
    for i, axes in enumerate(grid.ravel()):
        axes.set_axis_off()
        if i < shown:
            picture = axes.imshow(maps[..., i], vmin=min(0, low), vmax=high, cmap="magma", interpolation="nearest")
    more = "" if shown == maps.shape[2] else f" (first {shown} of {maps.shape[2]} channels)"
    figure.suptitle(f"{_text(population)}: net spikes{more}", fontsize=9)
    if picture is not None:
        figure.colorbar(picture, ax=grid, fraction=0.02, pad=0.01)
    return figure


def operations(run: Run | Evaluation) -> Figure:
    """Synaptic events of each projection at each step (of an evaluation: mean per image), stacked."""
    if isinstance(run, Evaluation):
        per_step, what = run.over_time("synaptic_events"), "synaptic events per image and step"
    else:
        per_step, what = run.counts.synaptic_events.astype(float), "synaptic events per step"
    figure, axes = _single()
    at = np.arange(1, len(per_step) + 1)
    below = np.zeros(len(per_step))
    shown = 0
    for i, p in enumerate(run.info.projections):
        if p.apart:
            continue
        above = below + per_step[:, i]
        if len(at) > _MOST_BARS:
            # One outline: a page with a rectangle a step would not be drawn.
            axes.stairs(above, np.append(at, len(at) + 1) - 0.5, baseline=below, fill=True, color=_colour(shown), label=_text(p.name))
        else:
            axes.bar(at, per_step[:, i], bottom=below, color=_colour(shown), label=_text(p.name), width=1.0 if len(at) > 40 else 0.8)
        below = above
        shown += 1
    axes.set(xlabel="step", ylabel=what)
    _thousands(axes.yaxis)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def firing_rates(evaluations: Mapping[str, Evaluation] | Evaluation) -> Figure:
    """Mean spikes per neuron and step of each population, from the first layer to the last."""
    figure, axes = _single()
    named = _named(evaluations)
    populations = list(dict.fromkeys(population for e in named.values() for population in e.firing_rates()))
    for i, (name, e) in enumerate(named.items()):
        steps = float(e.duration().mean())
        rates = {populations.index(population): rate / steps for population, rate in e.firing_rates().items()}
        axes.plot(list(rates), list(rates.values()), marker="o", color=_colour(i), label=_text(name))
    axes.set_xticks(range(len(populations)), [_text(p) for p in populations])
    axes.set(ylabel="spikes per neuron and step")
    axes.set_ylim(bottom=0)
    axes.tick_params(axis="x", rotation=45)
    _legend(axes, evaluations)
    return figure


def accuracy_over_time(evaluations: Mapping[str, Evaluation] | Evaluation) -> Figure:
    """Accuracy at the end of every step; several evaluations by name."""
    figure, axes = _single()
    named = _named(evaluations)
    for name, e in named.items():
        accuracy = e.accuracy_over_time()
        at = np.arange(1, len(accuracy) + 1)
        axes.plot(at, accuracy, label=_text(name), marker="." if len(accuracy) < 40 else "", **_style(list(named), name))
    reference = _ann_accuracy(named.values())
    if reference is not None:
        axes.axhline(reference, color="0.4", linestyle="--", linewidth=1, label=f"ANN {reference:.2%}")
    axes.set(xlabel="time (steps)", ylabel="accuracy")
    axes.set_xlim(left=0)
    _percent(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def latency_histogram(evaluation: Evaluation) -> Figure:
    """Decision latencies (steps) of all images with a decision; right and wrong ones apart where there are labels.

    Raises
    ------
    RunError
        No image has a decision, or the evaluation is of version 1 (:meth:`Evaluation.decision_latency`).
    """
    figure, axes = _single()
    latency = evaluation.decision_latency()
    made = ~np.isnan(latency)
    if not made.any():
        raise RunError("no image has a decision, so there is no latency")
    steps = evaluation.info.steps
    # In a clocked run a decision falls on a whole step.
    edges = np.arange(steps + 1) + 0.5 if evaluation.info.resolution == 1 else np.linspace(0, steps, min(100, 8 * steps) + 1)
    kind: Literal["bar", "stepfilled"] = "stepfilled" if len(edges) > _MOST_BARS else "bar"
    if evaluation.truth is None:
        axes.hist(latency[made], edges.tolist(), histtype=kind, color=COLOURS[0])
    else:
        right = evaluation.prediction == evaluation.truth
        axes.hist(
            [latency[made & right], latency[made & ~right]],
            edges.tolist(),
            histtype=kind,
            stacked=True,
            color=[COLOURS[0], COLOURS[1]],
            label=["right", "wrong"],
        )
        axes.legend(frameon=False)
    mean = float(latency[made].mean())
    axes.axvline(mean, color="0.3", linestyle="--", linewidth=1)
    axes.annotate(f"mean {mean:.2f}", (mean, 0.97), xycoords=("data", "axes fraction"), xytext=(4, 0), textcoords="offset points", va="top")
    axes.set(xlabel="decision latency (steps)", ylabel="images")
    return figure


def trade_off(evaluations: Mapping[str, Evaluation] | Evaluation, points: Iterable[tuple[TradeOff, int]] = ()) -> Figure:
    """Accuracy against mean latency and against mean synaptic events, over all thresholds of both exit rules.

    Parameters
    ----------
    evaluations : Evaluation, or several by name
    points : iterable of (TradeOff, threshold)
        Thresholds to mark.

    Raises
    ------
    RunError
        No trade-off was kept, or a data set has no labels.
    """
    figure = _figure(3.4)
    panels: Any = figure.subplots(1, 2, sharey=True)
    named = _named(evaluations)
    curves = {kind if len(named) == 1 else f"{name}, {kind}": e.trade_off(kind) for name, e in named.items() for kind in e.exit_kinds}
    if not curves:
        raise RunError("no trade-off was kept; evaluate without an exit rule, with the trade-off")
    # What the field looks at is the last few points of accuracy.
    whole = min(float(curve.accuracy[-1]) for curve in curves.values())
    low, high = max(0.0, whole - 0.12), min(1.0, whole + 0.02) + 0.002
    for axes, key in zip(panels, ("latency", "synaptic_events"), strict=True):
        in_sight: list[float] = []
        for label, curve in curves.items():
            x, y = getattr(curve, key), curve.accuracy
            style = _style(list(curves), label)
            axes.plot(x, y, label=_text(label), linewidth=1.4, **style)
            axes.plot(x[-1], y[-1], "o", color=style["color"], markersize=4)
            in_sight += x[y >= low].tolist()
        if max(in_sight) > 8 * max(min(in_sight), 1e-9):
            axes.set_xscale("log")
            axes.set_xlim(left=0.8 * min(in_sight))
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_formatter(NullFormatter())
        _thousands(axes.xaxis)
    for marked, threshold in points:
        point = marked.at(threshold)
        for axes, key in zip(panels, ("latency", "synaptic_events"), strict=True):
            axes.plot(point[key], point["accuracy"], "x", color="black", markersize=7)
    for axes, what in zip(panels, ("mean latency (steps)", "mean synaptic events per image"), strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel(what)
    panels[0].set_ylabel("accuracy")
    panels[0].set_ylim(low, high)
    _percent(panels[0])
    handles, labels = panels[1].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=4)
    return figure


def confusion(evaluation: Evaluation) -> Figure:
    """Labels against decisions: counts, coloured by the share of the label's images."""
    matrix = evaluation.confusion()
    n = len(matrix)
    size = min(8.0, 1.8 + 0.42 * n)
    figure, axes = _single(size, size)
    shares = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    picture = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    names = [_text(evaluation.label_of(i)) for i in range(n)]
    if n <= 30:
        axes.set_xticks(range(n), names, rotation=90)
        axes.set_yticks(range(n), names)
        for y, x in np.argwhere(matrix):
            axes.text(x, y, str(matrix[y, x]), ha="center", va="center", fontsize=7, color="white" if shares[y, x] > 0.4 else "black")
    axes.set(xlabel="decision", ylabel="label")
    picture.set_clim(0, 1)
    return figure


def curves(
    rows: Sequence[Mapping[str, Any]], x: str, ys: Sequence[str], *, log: bool = False, labels: Mapping[str, str] | None = None
) -> Figure:
    """Columns of a study's table against one of them, one panel each; rows with the same ``"series"`` are joined.

    Columns without any value (the accuracy on images without labels) are left out.

    Raises
    ------
    RunError
        There is nothing to draw.
    """
    ys = [y for y in ys if any(row[y] is not None for row in rows)]
    if not ys:
        raise RunError("the table has no values to draw")
    figure = _figure(3.0, max(_WIDTH, 2.8 * len(ys)))
    panels: Any = figure.subplots(1, len(ys), squeeze=False)
    series = list(dict.fromkeys(row.get("series", "") for row in rows))
    for axes, y in zip(panels[0], ys, strict=True):
        for i, name in enumerate(series):
            chosen = [row for row in rows if row.get("series", "") == name]
            axes.plot([row[x] for row in chosen], [row[y] for row in chosen], marker="o", markersize=4, color=_colour(i), label=_text(name))
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(xlabel=_text((labels or {}).get(x, x)), title=_text((labels or {}).get(y, y)))
        axes.title.set_fontsize(9)
        if "accuracy" in y:
            _percent(axes)
        else:
            _thousands(axes.yaxis)
        if log:
            axes.set_xscale("log", base=2)
    if len(series) > 1:
        panels[0, -1].legend(frameon=False, fontsize=8)
    return figure


def _named(evaluations: Mapping[str, Evaluation] | Evaluation) -> Mapping[str, Evaluation]:
    return {"": evaluations} if isinstance(evaluations, Evaluation) else evaluations


def _legend(axes: Axes, evaluations: Mapping[str, Evaluation] | Evaluation) -> None:
    if not isinstance(evaluations, Evaluation):
        axes.legend(frameon=False, fontsize=8)


def _ann_accuracy(evaluations: Iterable[Evaluation]) -> float | None:
    """Accuracy of the source network, if all networks name the same."""
    # (Provenance is what anyone has written.)
    values = [e.info.settings.get("provenance", {}).get("ANN test accuracy") for e in evaluations]
    shares = {value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1}
    return shares.pop() if len(shares) == 1 and len(values) == sum(value in shares for value in values) else None
