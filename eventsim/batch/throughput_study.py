"""How fast a chip may go: accuracy, latency and energy of closed runs with steps of several durations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eventsim.analysis.provenance import spread
from eventsim.batch.pictures import pictures_of
from eventsim.batch.study import Study, make_folder
from eventsim.data.image_sets import Dataset
from eventsim.errors import InputError, RunError
from eventsim.hardware.hardware import Hardware
from eventsim.job.recordings import steps_of_window
from eventsim.model.network import Network

# Steps of 1 ms and three decades down.
STEPS_US = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0)


def throughput_study(
    network: Network,
    data: Dataset,
    hardware: Hardware,
    folder: Path,
    values: Iterable[float] = STEPS_US,
    *,
    images: int | None = None,
    invert: bool = False,
    crop: bool = False,
    each: Callable[[str, int, int], Callable[[int, int], None] | None] = lambda *_: None,
    **settings: Any,
) -> Study:
    """Closed runs with steps of several durations: what is lost when a chip is to answer faster.

    Parameters
    ----------
    network : Network
    data : Dataset
    hardware : Hardware
    folder : Path
        For the table.
    values : iterable of float
        Microseconds of a step.
    images : int, optional
        So many, spread evenly over the set. Default: all.
    invert, crop : bool
        See :func:`eventsim.evaluate`.
    each : callable, optional
        As for :func:`eventsim.batch.study.run_study`.
    **settings
        See :meth:`eventsim.Hardware.run`.

    Raises
    ------
    RunError
        No values, or one that is no number of picoseconds.
    InputError, DatasetError, HardwareError, PotentialOverflow
    """
    values = list(values)
    picoseconds = [round(value * 10**6) for value in values]
    if not values or min(picoseconds) < 1 or any(p / 10**6 != value for p, value in zip(picoseconds, values, strict=True)):
        raise RunError(f"steps must be microseconds, at least 0.000001 with at most six decimals, found {values}")
    if network.output is None:
        raise InputError("a study needs a network that has an output readout")
    pictures = pictures_of(network, data, invert, crop)
    chosen = np.arange(len(data)) if images is None else spread(images, len(data))
    if settings.get("steps") is None:
        settings["steps"] = steps_of_window(network, data.reading.length)
    make_folder(folder)
    rows = []
    for number, (value, step) in enumerate(zip(values, picoseconds, strict=True), 1):
        chip = hardware.architecture
        slower = Hardware(replace(chip, chip=replace(chip.chip, step=step)))
        progress = each(f"step {value:g} us", number, len(values))
        right, spikes, reports = 0, 0, []
        for done, image in enumerate(chosen.tolist(), 1):
            result, report = slower.run(network, pictures[image], closed=True, **settings)
            reports.append(report)
            spikes += result.total_spikes
            right += data.labels is not None and result.decision == int(data.labels[image])
            if progress is not None:
                progress(done, len(chosen))
        decided = [report.decision for report in reports if report.decision is not None]
        rows.append(
            {
                "step (us)": value,
                "accuracy": None if data.labels is None else right / len(chosen),
                "decision (us)": float(np.mean(decided)) / 1e6 if decided else None,
                "images/s": 1e12 / float(np.mean([report.duration for report in reports])),
                "spikes": spikes / len(chosen),
                "messages": float(np.mean([report.counts["message"] for report in reports])),
                "dropped": float(np.mean([report.counts["dropped"] for report in reports])),
                "99 % wait (us)": float(np.mean([report.waiting()["p99"] for report in reports])) / 1e6,
                "energy (uJ)": float(np.mean([report.total_energy for report in reports])) / 1e6,
            }
        )
    study = Study("throughput", rows, {})
    study.write(folder)
    return study
