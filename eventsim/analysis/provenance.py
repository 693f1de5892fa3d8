"""How a file was made: versions, dates and commands, for reports. Reproducible where ``SOURCE_DATE_EPOCH`` is set."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from eventsim.analysis.evaluation import Evaluation
from eventsim.errors import RunError
from eventsim.job.job import DEFAULT_MAX_SPIKES, DEFAULT_RESOLUTION
from eventsim.record.result import Run, RunInfo


def date() -> str:
    """The date and time (UTC) of what is made now: that of ``SOURCE_DATE_EPOCH`` (seconds since 1970) where it is set.

    Raises
    ------
    RunError
        ``SOURCE_DATE_EPOCH`` is no such number.
    """
    epoch = _epoch()
    return _text(datetime.now(UTC).timestamp() if epoch is None else epoch)


def last_change(path: str | os.PathLike[str]) -> str:
    """The date and time (UTC) of a file's last change, at most ``SOURCE_DATE_EPOCH`` where that is set.

    Raises
    ------
    RunError
        ``SOURCE_DATE_EPOCH`` is no number of seconds.
    """
    changed, epoch = Path(path).stat().st_mtime, _epoch()
    return _text(changed if epoch is None else min(changed, epoch))


def program() -> str:
    """This program and its version."""
    return f"eventsim {version('eventsim')}"


def run_command(run: Run) -> str | None:
    """The command that makes such a run again; None if there is none: it was made from Python, or its input is one of a batch."""
    settings = run.info.settings
    network, source = settings.get("network"), settings.get("input")
    if not isinstance(network, str) or "encoding" not in settings:
        return None
    if isinstance(source, str):
        if re.search(r"\[[0-9]+\]$", source):
            return None
        source = [source]
    elif source is None or isinstance(source, dict):
        source = [f"{population}={file}" for population, file in (source or {}).items()]
    else:
        return None
    command = ["eventsim", "run", network, *(part for name in source for part in ("--input", name)), *_settings(run.info)]
    command += _fitting(settings)
    if settings["encoding"] != "current":
        command += ["--encoding", str(settings["encoding"])]
    for name, usual in (("seed", 0), ("max_spikes", DEFAULT_MAX_SPIKES)):
        if settings.get(name, usual) != usual:
            command += [f"--{name.replace('_', '-')}", str(settings[name])]
    recorded, potentials = settings.get("recorded"), settings.get("potentials")
    if isinstance(recorded, list) and set(recorded) != {p.name for p in run.info.populations if p.sends_spikes}:
        command += ["--record", ",".join(map(str, recorded)) or "none"]
    if isinstance(potentials, list) and potentials:
        command += ["--potentials", ",".join(map(str, potentials))]
    return shlex.join(command)


def evaluate_command(evaluation: Evaluation) -> str | None:
    """The command that makes such an evaluation again; None if its data set or images are from Python, or its network has no file."""
    settings = evaluation.info.settings
    network, total = settings.get("network"), settings.get("dataset_images")
    if not isinstance(network, str) or not isinstance(total, int):
        return None
    n = len(evaluation)
    dataset = settings.get("dataset_folder", settings.get("dataset"))
    if dataset is None or n > total or not np.array_equal(evaluation.image, spread(n, total)):
        return None
    command = ["eventsim", "evaluate", network, "--dataset", str(dataset), "--split", str(settings.get("split"))]
    command += ["--images", str(n)] if n < total else []
    command += [*_settings(evaluation.info), *_fitting(settings)]
    if not settings.get("trade_off") and evaluation.info.exit_rule is None:
        command.append("--no-trade-off")
    return shlex.join(command)


def spread(count: int, total: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Numbers of ``count`` images spread evenly over ``total``: int64 (at most total,).

    Raises
    ------
    RunError
        Not at least one.
    """
    if count < 1:
        raise RunError(f"the number of images must be at least 1, found {count}")
    return np.linspace(0, total - 1, min(count, total)).astype(np.int64)


def _settings(info: RunInfo) -> list[str]:
    options = ["--steps", str(info.steps)]
    hardware = info.settings.get("hardware", {})
    if "file" in hardware:
        options += ["--hardware", str(hardware["file"])]
    if hardware.get("closed"):
        options.append("--closed")  # which has ticks of its own
    elif info.resolution == 1:
        options.append("--clocked")
    elif info.resolution != DEFAULT_RESOLUTION:
        options += ["--resolution", str(info.resolution)]
    if info.exit_rule is not None:
        options += [f"--exit-{info.exit_rule['kind']}", str(info.exit_rule["threshold"])]
    return options


def _fitting(settings: Mapping[str, Any]) -> list[str]:
    fitting = [f"--{name}" for name in ("invert", "crop") if settings.get(name)]
    fitting += _given(settings, "step_us", "polarity")
    window = settings.get("window_us")
    if isinstance(window, list) and len(window) == 2:
        start, end = ("" if time is None else f"{time}us" for time in window)
        fitting += ["--window", f"{start}:{end}"]
    return fitting + _given(settings, "downsample", "hot_pixels", "fields", "time_unit")


def _given(settings: Mapping[str, Any], *names: str) -> list[str]:
    """Options of these names, with what they are set to if they are."""
    return [part for name in names if settings.get(name) is not None for part in (f"--{name.replace('_', '-')}", str(settings[name]))]


def _epoch() -> int | None:
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if not given:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 11:
        raise RunError(f"SOURCE_DATE_EPOCH must be a number of seconds since 1970, found {given!r}")
    return int(given)


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
