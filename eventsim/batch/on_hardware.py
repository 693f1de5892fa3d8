"""A network on the images of a data set, on a chip: how right, how soon and at what energy; and a study of how fast it may go."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eventsim.analysis.provenance import spread
from eventsim.batch.pictures import Pictures
from eventsim.batch.study import Study, make_folder
from eventsim.data.image_sets import Dataset
from eventsim.errors import InputError, RunError
from eventsim.hardware.hardware import Hardware
from eventsim.model.network import Network

# Steps of 1 ms and three decades down.
STEPS_US = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
# What is averaged, by its name: of the report, in seconds, joules and messages.
_MEANS = {
    "decision_seconds": lambda report: report["decision_seconds"],
    "duration_seconds": lambda report: report["duration_seconds"],
    "energy_joules": lambda report: report["energy_pj"] / 1e12,
    "messages": lambda report: report["messages"],
    "dropped": lambda report: report["dropped"],
    "p99_waiting_seconds": lambda report: report["waiting_seconds"]["p99"],
}


def on_hardware(
    network: Network,
    data: Dataset,
    hardware: Hardware,
    *,
    images: int | None = None,
    closed: bool = False,
    invert: bool = False,
    crop: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Run a network on images, one after the other, and average what that takes on a chip.

    Parameters
    ----------
    network : Network
    data : Dataset
    hardware : Hardware
    images : int, optional
        So many, spread evenly over the set. Default: all.
    closed, **settings
        See :meth:`eventsim.Hardware.run`.
    invert, crop : bool
        See :func:`eventsim.evaluate`.
    progress : callable, optional
        Called with (images done, all images).

    Returns
    -------
    dict
        JSON values: images, accuracy (None without labels), and means of an image: seconds until the decision (of those that decide) and of
        the whole run, joules, messages, messages dropped, the 99th percentile of waiting (seconds), spikes.

    Raises
    ------
    InputError, DatasetError, HardwareError, RunError, PotentialOverflow
    """
    if network.input is None or network.output is None:
        raise InputError("an evaluation needs a network that takes an image and has an output readout")
    pictures = Pictures(data, network.input.shape, invert, crop)
    chosen = np.arange(len(data)) if images is None else spread(images, len(data))
    right, spikes, reports = 0, 0, []
    for done, number in enumerate(chosen.tolist(), 1):
        result, report = hardware.run(network, pictures[number], closed=closed, **settings)
        reports.append(report.summary())
        spikes += result.total_spikes
        right += data.labels is not None and result.decision == int(data.labels[number])
        if progress is not None:
            progress(done, len(chosen))
    found: dict[str, Any] = {"name": hardware.architecture.name, "file": hardware.architecture.source, "mode": reports[0]["mode"]}
    found |= {"images": len(chosen), "accuracy": None if data.labels is None else right / len(chosen), "spikes": spikes / len(chosen)}
    for name, value in _MEANS.items():
        values = [value(report) for report in reports]
        known = [v for v in values if v is not None]
        found[name] = float(np.mean(known)) if known else None
    return found


def throughput_study(
    network: Network,
    data: Dataset,
    hardware: Hardware,
    folder: Path,
    values: Iterable[float] = STEPS_US,
    *,
    each: Callable[[str, int, int], Callable[[int, int], None] | None] = lambda *_: None,
    **settings: Any,
) -> Study:
    """Closed runs with steps of several durations: what is lost when a chip is to answer faster.

    Parameters
    ----------
    network, data, hardware
        See :func:`on_hardware`.
    folder : Path
        For the table.
    values : iterable of float
        Microseconds of a step.
    each : callable, optional
        As for :func:`eventsim.batch.study.run_study`.
    **settings
        Of :func:`on_hardware`.

    Raises
    ------
    RunError
        No values, or one that is no number of picoseconds; and as :func:`on_hardware`.
    """
    values = list(values)
    picoseconds = [round(value * 10**6) for value in values]
    if not values or min(picoseconds) < 1 or any(p / 10**6 != value for p, value in zip(picoseconds, values, strict=True)):
        raise RunError(f"steps must be microseconds, at least 0.000001 with at most six decimals, found {values}")
    make_folder(folder)
    rows = []
    for number, (value, step) in enumerate(zip(values, picoseconds, strict=True), 1):
        chip = hardware.architecture
        slower = Hardware(replace(chip, chip=replace(chip.chip, step=step)))
        found = on_hardware(network, data, slower, closed=True, progress=each(f"step {value:g} us", number, len(values)), **settings)
        decision = found["decision_seconds"]
        rows.append(
            {
                "step (us)": value,
                "accuracy": found["accuracy"],
                "decision (us)": None if decision is None else decision * 1e6,
                "images/s": 1 / found["duration_seconds"],
                "spikes": found["spikes"],
                "messages": found["messages"],
                "dropped": found["dropped"],
                "99 % wait (us)": found["p99_waiting_seconds"] * 1e6,
                "energy (uJ)": found["energy_joules"] * 1e6,
            }
        )
    study = Study("throughput", rows, {})
    study.write(folder)
    return study
