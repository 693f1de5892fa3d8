"""Images that a study runs event by event, and the file that keeps what is done of them, so that an interruption loses nothing."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from eventsim.analysis.evaluation import Arrays
from eventsim.batch.event_by_event import in_order
from eventsim.batch.pictures import Pictures
from eventsim.batch.work import AnyWork
from eventsim.data.image_sets import Dataset
from eventsim.errors import RunError
from eventsim.files.atomic import write_text

# Seconds after which what is done is written.
_KEEP_EVERY = 5.0


class KeptWork(AnyWork, Protocol):
    """What all images have in common, and what their results depend on."""

    @property
    def parts(self) -> list[Any]:
        """JSON values: all that results depend on but the machine."""


@dataclass(frozen=True)
class Images:
    """Images of a data set for a work, and where what is done of them is kept.

    Attributes
    ----------
    data : Dataset
    pictures : Pictures
        Of it.
    chosen : int64 array
        Numbers of the images.
    path : Path
        A JSON file: ``key``, ``columns`` (names and types) and ``images``, a row each, in the order of ``chosen``.
    neuron_steps : int
        What an image takes.
    """

    data: Dataset
    pictures: Pictures
    chosen: npt.NDArray[np.int64]
    path: Path
    neuron_steps: int

    def run(self, work: KeptWork, progress: Callable[[int, int], None] | None, workers: int | None, scheduler: str | None) -> Arrays:
        """What is kept of all images; those are run of which nothing is kept yet.

        Raises
        ------
        RunError
            The file is of another work, or of other images, or cannot be written.
        """
        selection = [self.data.selection(self.chosen), *self.pictures.choices]
        key = hashlib.sha256(json.dumps([*work.parts, *selection]).encode()).hexdigest()
        found = self._read(key)
        parts, done, kept = ([found], _length(found), time.monotonic()) if found else ([], 0, time.monotonic())
        written = done
        if progress is not None:
            progress(done, len(self.chosen))
        try:
            for _, arrays in in_order(work, self.pictures, self.chosen, done, self.neuron_steps, workers, scheduler):
                parts.append(arrays)
                done += _length(arrays)
                if time.monotonic() - kept > _KEEP_EVERY:
                    self._write(key, parts)
                    written, kept = done, time.monotonic()
                if progress is not None:
                    progress(done, len(self.chosen))
        finally:
            # Also where it is interrupted.
            if done > written:
                self._write(key, parts)
        return _joined(parts)

    def right(self, answers: npt.NDArray[np.int64]) -> float | None:
        """The share of images whose answer is their label; None without labels."""
        return None if self.data.labels is None else float(np.mean(answers == self.data.labels[self.chosen]))

    def _read(self, key: str) -> Arrays:
        """What was done before; nothing where a file is damaged."""
        try:
            kept = json.loads(self.path.read_bytes())
            columns, rows = kept["columns"], kept["images"][: len(self.chosen)]
            found = {name: _column([row[i] for row in rows], kind) for i, (name, kind) in enumerate(columns.items())}
            before = kept["key"]
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError):
            return {}
        if before != key:
            raise RunError(f"{self.path}: is of another study (of another network, hardware, images or settings); name another output")
        return found if rows else {}

    def _write(self, key: str, parts: list[Arrays]) -> None:
        arrays = _joined(parts)
        columns = {name: str(values.dtype) for name, values in arrays.items()}
        rows = zip(*([None if value != value else value for value in values.tolist()] for values in arrays.values()), strict=True)
        try:
            write_text(self.path, json.dumps({"key": key, "columns": columns, "images": list(rows)}))
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written ({error.strerror})") from None


def _column(values: list[Any], kind: str) -> npt.NDArray[Any]:
    """Values of a file, of which numbers that are none are written as null."""
    if kind not in ("int64", "float64"):
        raise ValueError(kind)
    return np.array([np.nan if value is None else value for value in values], kind)


def _length(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def _joined(parts: list[Arrays]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
