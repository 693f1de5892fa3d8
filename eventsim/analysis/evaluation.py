"""Evaluations of whole data sets: the file (docs/evaluation-format.md) and what follows from it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from eventsim.analysis.counting import OperationReport, report_operations
from eventsim.analysis.thresholds import EXIT_THRESHOLDS, Exits
from eventsim.errors import RunError
from eventsim.files.hdf5_reading import Column, SealedFile, is_hdf5
from eventsim.files.hdf5_writing import HDF5Replacement
from eventsim.files.seal import CheckSums, block_rows, seal
from eventsim.job.job import OPERATIONS
from eventsim.model.exits import EXIT_KINDS, ExitKind
from eventsim.model.tables import IntArray
from eventsim.record.result import RunInfo, read_info

FORMAT, VERSION = "eventsim-evaluation", 2
_BLOCK = 512
_MAX_JSON = 2**24
Floats = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[Any]]
# Operations kept per image; synaptic events are kept per step too.
TOTALS = tuple(name for name in OPERATIONS if name != "synaptic_events")
# What is kept of what an image takes on hardware, and the type: picoseconds, picojoules, messages.
_ON_HARDWARE = {"duration": "i", "decision": "i", "energy": "f", "messages": "i", "dropped": "i", "p99_waiting": "i"}


def is_evaluation(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an evaluation; anything else is left to others to complain about."""
    if not is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r", locking=False) as file:
            return bool(file.attrs.get("format", b"") == np.bytes_(FORMAT))
    except Exception:  # whatever h5py finds wrong with it
        return False


def write(
    path: Path,
    info: RunInfo,
    key: str,
    numbers: IntArray,
    labels: IntArray | None,
    classes: Sequence[str],
    pieces: Iterable[Arrays],
) -> None:
    """Write an evaluation from its pieces, in their order, whole or not at all.

    Raises
    ------
    RunError
        The file cannot be written, or the pieces are not those of ``numbers``.
    """
    sums: dict[str, CheckSums] = {}
    try:
        replacement = HDF5Replacement(path)
        with replacement as file:
            file.attrs["format"] = np.bytes_(FORMAT)
            file.attrs.create("version", VERSION, dtype="u4")
            file.attrs["key"] = np.bytes_(key)
            described = dataclasses.asdict(info) | {"labels": list(info.labels) or list(classes)}
            file.create_dataset("info", data=np.bytes_(json.dumps(described).encode()))
            file.create_dataset("image", data=numbers)
            file.create_dataset("label", data=np.full(len(numbers), -1) if labels is None else labels)
            count = 0
            for piece in pieces:
                for column, values in piece.items():
                    _append(file, sums, column, values)
                count += len(piece["end_tick"])
                # A full disk is noticed soon, and not at the end.
                replacement.check()
            if count != len(numbers):
                raise RunError(f"{path}: {count} images done, expected {len(numbers)}")
            seal(file, sums)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from None


def _append(file: h5py.File, sums: dict[str, CheckSums], column: str, values: npt.NDArray[Any]) -> None:
    if column not in file:
        rest = values.shape[1:]
        # Chunks of about 64 KiB, whatever an image's row holds.
        rows = max(1, 2**16 // max(1, int(np.prod(rest)) * values.dtype.itemsize))
        chunks = (rows, *(max(1, n) for n in rest))
        # A chunk has at least one of everything, and nothing that is smaller may be of fixed size (a network without projections).
        most = (None, *(n or None for n in rest))
        file.create_dataset(column, (0, *rest), values.dtype, maxshape=most, chunks=chunks, compression="gzip", shuffle=True)
        sums[column] = CheckSums(block_rows(values.dtype, values.shape))
    dataset = file[column]
    n = len(dataset)
    dataset.resize(n + len(values), axis=0)
    if values.size:
        dataset[n:] = values
    sums[column].update(values.astype(dataset.dtype, copy=False))


def check_loss(loss: float) -> None:
    """Raise RunError unless an accuracy that may be lost is a share."""
    if not 0 <= loss <= 1:
        raise RunError(f"the accuracy that may be lost must be a share from 0 to 1 (0.003 is 0.3 points), found {loss:g}")


@dataclass(frozen=True)
class TradeOff:
    """What stopping early gives, for each threshold of an exit rule. Every array has one entry per threshold, ascending.

    Attributes
    ----------
    kind : {"margin", "potential"}
    threshold : int64
        Thresholds from the smallest that does not hold at the start to the smallest that no image reaches.
    accuracy : float64
    latency : float64
        Mean time of the exit in steps; T where the rule never held.
    spikes, synaptic_events : float64
        Means per image, bias clocks left out.
    exited : float64
        Share of images that stopped early.
    """

    kind: ExitKind
    threshold: IntArray
    accuracy: Floats
    latency: Floats
    spikes: Floats
    synaptic_events: Floats
    exited: Floats

    def at(self, threshold: int) -> dict[str, float]:
        """One point of the curve.

        Raises
        ------
        RunError
            It is not one of the curve's thresholds.
        """
        found = np.flatnonzero(self.threshold == threshold)
        if not len(found):
            raise RunError(f"the curve has no {self.kind} of {threshold}; take one of TradeOff.threshold")
        i = int(found[0])
        names = ("accuracy", "latency", "spikes", "synaptic_events", "exited")
        return {name: float(getattr(self, name)[i]) for name in names}


@dataclass(frozen=True)
class ExitChoice:
    """A threshold chosen on one half of the images and verified on the other.

    Attributes
    ----------
    kind : {"margin", "potential"}
    threshold : int
    allowed_loss : float
        Of accuracy, as a share.
    chosen_on, verified_on : dict
        ``images``, ``full_accuracy`` (without exit), and the point of the trade-off curve on that half.
    """

    kind: ExitKind
    threshold: int
    allowed_loss: float
    chosen_on: dict[str, float]
    verified_on: dict[str, float]

    def __str__(self) -> str:
        v = self.verified_on
        return (
            f"{self.threshold:,}: {v['accuracy']:.2%} (whole run {v['full_accuracy']:.2%}) at {v['latency']:.3f} steps, "
            f"{v['synaptic_events']:,.0f} events; on half of the images, chosen on the other"
        )


class Evaluation:
    """An evaluation file, opened for analysis; a context manager. Large arrays are read when asked for.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    info : RunInfo
        Settings and the network's parts; ``info.settings`` has the data set, the network's provenance and hash.
    key : str
        The same for evaluations of the same network, images and settings.
    image : int64 (images,)
        Numbers in the data set.
    truth : int64 (images,) or None
        Labels; None if the data set has none.

    Raises
    ------
    RunError
        Not a whole evaluation of a version that this eventsim reads.

    Examples
    --------
    >>> from eventsim import Evaluation
    >>> with Evaluation("eval.h5") as e:                              # doctest: +SKIP
    ...     print(e.accuracy, e.accuracy_over_time(), e.decision_latency().mean())
    ...     curve = e.trade_off("margin")
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._file = SealedFile(self.path, RunError, "evaluation")
        try:
            with self._file.guarded():
                self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> None:
        file = self._file
        if file.attribute("", "format") != np.bytes_(FORMAT):
            raise RunError(
                f"{self.path}: not an evaluation of eventsim, as `eventsim evaluate` writes them; `eventsim info` tells what it is"
            )
        self.version = file.integer("", "version")
        if not 1 <= self.version <= VERSION:
            raise RunError(f"{self.path}: an evaluation of version {self.version}; this eventsim reads versions 1 to {VERSION}")
        file.unseal(required=self.version > 1)
        text = file.column("info")
        if text.dtype.itemsize > _MAX_JSON or text.dtype.kind != "S" or text.ndim:
            raise file.damaged("its description is no text of reasonable size")
        self.key = file.text("", "key")
        self.info: RunInfo = read_info(json.loads(bytes(text.read()).decode()))
        n, steps = file.column("image").size, self.info.steps
        if not n:
            raise file.damaged("it has no images")
        populations, projections = len(self.info.populations), len(self.info.projections)
        classes = next((p.size for p in self.info.populations if p.name == self.info.output), 0)
        expected: dict[str, tuple[int, ...]] = {
            "image": (n,),
            "label": (n,),
            "decision_tick": (n,),
            "end_tick": (n,),
            "exited": (n,),
            "first_tick": (n, populations),
            "readout": (n, steps, classes),
            "prediction": (n, steps),
            "spikes": (n, steps, populations),
            "negative_spikes": (n, populations),
            "synaptic_events": (n, steps, projections),
            "encoded": (n, len(self.info.encoders)),
        } | {name: (n, projections) for name in TOTALS}
        for name, shape in expected.items():
            column = file.column(name)
            if column.shape != shape or column.dtype.kind != "i":
                raise file.damaged(f"{name} is {column.dtype} {column.shape}, expected integers {shape}")
        self._check_values(classes)
        for kind in self.exit_kinds:
            self._check_exits(kind, n, classes)
        if "hardware" in file:
            self._check_hardware(n)
        self.image: IntArray = file.column("image").read()
        labels = file.column("label").read()
        self.truth: IntArray | None = None if np.any(labels < 0) else labels

    def _check_values(self, classes: int) -> None:
        """What is used as an index, or divided by, is in its range."""
        ticks = self.info.steps * self.info.resolution
        limits = {"label": (-1, classes - 1), "prediction": (-1, classes - 1), "end_tick": (1, ticks), "decision_tick": (-1, ticks)}
        for name, (low, high) in limits.items():
            for block in self._blocks(name):
                if block.size and (block.min() < low or block.max() > high):
                    raise self._file.damaged(f"{name} is outside {low}..{high}")

    def _check_exits(self, kind: ExitKind, n: int, classes: int) -> None:
        columns = [self._file.column(f"exits/{kind}/{name}") for name in ("rows", *Exits._fields)]
        if any(column.ndim != 1 or column.dtype.kind != "i" for column in columns):
            raise self._file.damaged(f"exits/{kind}")
        rows = columns[0].read()
        total = columns[1].size
        if len(rows) != n or rows.min() < 0 or rows.max() > total or int(rows.sum()) != total or any(c.size != total for c in columns[1:]):
            raise self._file.damaged(f"exits/{kind}")
        level, decision = (self._file.column(f"exits/{kind}/{name}").read() for name in ("level", "decision"))
        starts = np.cumsum(rows) - rows
        falls = np.diff(level, prepend=0) < 0
        falls[starts[rows > 0]] = False
        base, most = self._start_level(kind), len(EXIT_THRESHOLDS)
        if not 0 <= base <= most or np.any(level < base) or np.any(level > most) or np.any(falls):
            raise self._file.damaged(f"exits/{kind}: levels out of range or order")
        if np.any(decision < 0) or np.any(decision >= classes):
            raise self._file.damaged(f"exits/{kind}: decisions out of range")

    def _check_hardware(self, n: int) -> None:
        said = self.info.settings.get("hardware", {})
        if any(not isinstance(said.get(name), str) for name in ("name", "file")):
            raise self._file.damaged("its description: setting 'hardware'")
        for name, kind in _ON_HARDWARE.items():
            column = self._file.column(f"hardware/{name}")
            if column.shape != (n,) or column.dtype.kind != kind:
                raise self._file.damaged(f"hardware/{name} is {column.dtype} {column.shape}, expected {(n,)}")
            values = column.read()
            if not np.all(np.isfinite(values)) or values.min() < (-1 if name == "decision" else 0):
                raise self._file.damaged(f"hardware/{name} is negative or no number")

    @property
    def sealed(self) -> bool:
        """Whether the file has check sums; those of version 1 have none."""
        return self._open.sums is not None

    def verify(self) -> None:
        """Read and verify all of the file.

        Raises
        ------
        RunError
            It is damaged.
        """
        self._open.verify()

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        """The number of images."""
        return len(self.image)

    def __repr__(self) -> str:
        return f"<Evaluation {os.fspath(self.path)!r}{'' if self._file else ' (closed)'}: {self}>"

    def __str__(self) -> str:
        rule = self.info.exit_rule
        stop = "" if rule is None else f", exit {rule['kind']} {rule['threshold']:,}"
        s = self.info.settings
        mode = "clocked" if self.info.resolution == 1 else f"{self.info.resolution:,} ticks a step"
        return f"{len(self):,} images of {s.get('dataset')} ({s.get('split')}), {self.info.steps} steps, {mode}{stop}"

    def array(self, name: str) -> npt.NDArray[Any]:
        """A dataset of the file, whole (docs/evaluation-format.md).

        Raises
        ------
        RunError
            The file is closed, or has none of this name.
        """
        return self._column(name).read()

    @property
    def _open(self) -> SealedFile:
        if not self._file:
            raise RunError(f"{self.path}: the evaluation is closed")
        return self._file

    def _column(self, name: str) -> Column:
        if name not in self._open:
            raise RunError(f"{self.path}: has no {name!r}")
        return self._open.column(name)

    def _blocks(self, name: str) -> Iterator[npt.NDArray[Any]]:
        column = self._column(name)
        rows = max(1, _BLOCK // column.rows) * column.rows
        for i in range(0, len(column), rows):
            yield column.read(i, min(len(column), i + rows))

    # Accuracy and latency

    def _labels(self) -> IntArray:
        if self.truth is None:
            raise RunError(f"{self.path}: the data set has no labels, so there is no accuracy")
        return self.truth

    @property
    def prediction(self) -> IntArray:
        """The final decision of each image: int (images,), -1 where there is none because nothing reached the readout."""
        return self.array("prediction")[:, -1]

    @property
    def accuracy(self) -> float:
        """Share of images whose final decision is right.

        Raises
        ------
        RunError
            The data set has no labels.
        """
        return float((self.prediction == self._labels()).mean())

    def wrong(self) -> npt.NDArray[np.bool_]:
        """Whether each image's final decision is wrong, or there is none: bool (images,).

        Raises
        ------
        RunError
            The data set has no labels.
        """
        return self.prediction != self._labels()

    def accuracy_over_time(self) -> Floats:
        """Share of right decisions at the end of every step: float64 (steps,). Where there is none yet, none is right.

        Raises
        ------
        RunError
            The data set has no labels.
        """
        return (self.array("prediction") == self._labels()[:, None]).mean(0)

    def decision_latency(self) -> Floats:
        """First time (steps) from which each image's decision never changes again: float64 (images,); nan where there is none.

        Raises
        ------
        RunError
            The evaluation is of version 1, where a decision counted before anything had reached the readout.
        """
        ticks = self.array("decision_tick")
        if self.version == 1 and np.any(ticks == 1):
            raise RunError(
                f"{self.path}: an evaluation of version 1, which counts decisions before anything has reached the readout; "
                "evaluate again for the decision latency"
            )
        return np.where(ticks > 0, ticks / self.info.resolution, np.nan)

    def duration(self) -> Floats:
        """Simulated time (steps) of each image: T, or the time of its early exit."""
        return self.array("end_tick") / self.info.resolution

    def first_spike_latency(self) -> dict[str, Floats]:
        """Time (steps) of each population's first spike in each image; nan where it never fired."""
        ticks = self.array("first_tick")
        at = np.where(ticks > 0, ticks / self.info.resolution, np.nan)
        return {p.name: at[:, i] for i, p in enumerate(self.info.populations) if p.sends_spikes and not p.is_clock}

    def confusion(self) -> IntArray:
        """Counts (label, decision): int64 (classes, classes). Images without a decision are in no column.

        Raises
        ------
        RunError
            The data set has no labels.
        """
        classes = next(p.size for p in self.info.populations if p.name == self.info.output)
        matrix = np.zeros((classes, classes), np.int64)
        decided = self.prediction >= 0
        np.add.at(matrix, (self._labels()[decided], self.prediction[decided]), 1)
        return matrix

    def label_of(self, neuron: int) -> str:
        """Name of an output neuron, its number where it has none (as of a data set with fewer classes than the network)."""
        return self.info.labels[neuron] if 0 <= neuron < len(self.info.labels) else str(neuron)

    # Early exit

    @property
    def exit_kinds(self) -> list[ExitKind]:
        """Kinds of exit rules whose trade-off was kept."""
        return [kind for kind in EXIT_KINDS if f"exits/{kind}" in self._open]

    def exits(self, kind: ExitKind) -> tuple[IntArray, Exits]:
        """Where each image first reached thresholds: (offsets (images + 1,), rows of all images one after another).

        Raises
        ------
        RunError
            The evaluation was made without, or with an exit rule; or it is damaged.
        """
        if kind not in EXIT_KINDS:
            raise RunError(f"an exit is by {' or '.join(EXIT_KINDS)}, found {kind!r}")
        if f"exits/{kind}" not in self._open:
            raise RunError(f"{self.path}: keeps no trade-off of exits by {kind}; evaluate without an exit rule, with the trade-off")
        group = f"exits/{kind}"
        counts = self.array(f"{group}/rows")
        offsets = np.concatenate(([0], np.cumsum(counts)))
        rows = Exits(*(self.array(f"{group}/{column}") for column in Exits._fields))
        later = np.ones(len(rows.level), bool)
        later[offsets[:-1][counts > 0]] = False  # an image's first row begins anew
        low = self._start_level(kind)
        if not (np.all((rows.level > low) & (rows.level <= len(EXIT_THRESHOLDS))) and np.all(np.diff(rows.level, prepend=low)[later] > 0)):
            raise RunError(f"{self.path}: a damaged evaluation ({group})")
        return offsets, rows

    def trade_off(self, kind: ExitKind = "margin", images: npt.NDArray[Any] | None = None) -> TradeOff:
        """Accuracy, latency and costs of every threshold of an exit rule, exactly as if the runs had stopped.

        Parameters
        ----------
        kind : {"margin", "potential"}
        images : array, optional
            Positions (0..images-1) of the images to consider, or booleans (images,). Default: all.

        Returns
        -------
        TradeOff
            Arrays (thresholds,).

        Raises
        ------
        RunError
            The data set has no labels; or the evaluation was made without the trade-off, or with an exit rule; or it is damaged.
            Or ``images`` are no such positions, or none.
        """
        offsets, rows = self.exits(kind)
        chosen = np.arange(len(self)) if images is None else self._positions(images)
        right_at_end = self.prediction == self._labels()
        spikes, events = self.totals()
        # Thresholds that hold at the start are refused by a run; the start is the same for all images.
        base = self._start_level(kind)
        top = int(rows.level.max(initial=base))
        count = min(top + 1, len(EXIT_THRESHOLDS)) - base
        sums = np.zeros((5, count))
        ends = self.array("end_tick")
        for image in chosen.tolist():
            part = slice(int(offsets[image]), int(offsets[image + 1]))
            level = rows.level[part] - base
            # Row k is where a run with threshold number base + j stops, for level[k-1] <= j < level[k].
            repeats = np.diff(level, prepend=0)
            reached = int(level[-1]) if len(level) else 0
            stop = [
                (rows.decision[part] == self._labels()[image]).astype(float),
                rows.tick[part].astype(float),
                rows.spikes[part].astype(float),
                rows.synaptic_events[part].astype(float),
            ]
            for total, values in zip(sums, stop, strict=False):
                total[:reached] += np.repeat(values, repeats)
            for total, final in zip(sums, (right_at_end[image], ends[image], spikes[image], events[image]), strict=False):
                total[reached:] += final
            sums[4, :reached] += 1
        right, ticks, fired, delivered, exited = sums / len(chosen)
        threshold = EXIT_THRESHOLDS[base : base + count]
        return TradeOff(kind, threshold, right, ticks / self.info.resolution, fired, delivered, exited)

    def _positions(self, images: npt.ArrayLike) -> IntArray:
        found = np.asarray(images)
        if found.dtype == bool and found.shape == (len(self),):
            found = found.nonzero()[0]
        if found.ndim != 1 or found.dtype.kind not in "iu" or not found.size or found.min() < 0 or found.max() >= len(self):
            raise RunError(f"images must be positions 0..{len(self) - 1}, at least one, or as many booleans; found {found!r}"[:300])
        return found.astype(np.int64)

    def _start_level(self, kind: ExitKind) -> int:
        level = self.info.settings.get("start_levels", {}).get(kind, 0)
        if type(level) is not int or not 0 <= level <= len(EXIT_THRESHOLDS):
            raise RunError(f"{self.path}: a damaged evaluation (start_levels of {kind})")
        return level

    def choose_exit(self, kind: ExitKind = "margin", loss: float = 0.003, seed: int = 0) -> ExitChoice:
        """The smallest threshold that loses at most ``loss`` accuracy on a random half of the images, verified on the other.

        The threshold taken is the smallest such that it and all larger ones keep the accuracy: a curve may dip.

        Raises
        ------
        RunError
            Fewer than two images, a loss that is no share (0 <= loss <= 1), or no trade-off was kept.
        """
        check_loss(loss)
        if len(self) < 2:
            raise RunError("choosing an exit threshold needs at least two images")
        order = np.random.default_rng(seed).permutation(len(self))
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        right = self.prediction == self._labels()
        curves = [self.trade_off(kind, half) for half in halves]
        full = [float(right[half].mean()) for half in halves]
        keeps = curves[0].accuracy >= full[0] - loss - 1e-12
        # The last threshold is reached by no image, so it keeps the accuracy.
        first = len(keeps) - int(np.argmin(keeps[::-1])) if not keeps.all() else 0
        threshold = int(curves[0].threshold[min(first, len(keeps) - 1)])
        points = [
            {"images": len(half), "full_accuracy": f, **curve.at(threshold)} for half, f, curve in zip(halves, full, curves, strict=True)
        ]
        return ExitChoice(kind, threshold, loss, *points)

    # Spikes and operations

    def totals(self) -> tuple[IntArray, IntArray]:
        """Spikes and synaptic events of each image, bias clocks and comparisons left out: int64 (images,) each."""
        neurons = [i for i, p in enumerate(self.info.populations) if not p.is_clock]
        synapses = [i for i, p in enumerate(self.info.projections) if not p.apart]
        spikes = [block[:, :, neurons].sum((1, 2)) for block in self._blocks("spikes")]
        events = [block[:, :, synapses].sum((1, 2)) for block in self._blocks("synaptic_events")]
        return np.concatenate(spikes), np.concatenate(events)

    def over_time(self, what: str = "synaptic_events") -> Floats:
        """Mean per image at each step: float64, ``"spikes"`` (steps, populations) or ``"synaptic_events"`` (steps, projections).

        Raises
        ------
        RunError
            Asked for something else.
        """
        if what not in ("spikes", "synaptic_events"):
            raise RunError(f"over time there are 'spikes' and 'synaptic_events', found {what!r}")
        return np.sum([block.sum(0) for block in self._blocks(what)], axis=0) / len(self)

    def firing_rates(self) -> dict[str, float]:
        """Integrated firing rate: mean spikes per neuron of each population, over the whole run (the paper's IFR)."""
        spikes = self.over_time("spikes").sum(0)
        return {p.name: float(n / p.size) for p, n in zip(self.info.populations, spikes, strict=True) if p.sends_spikes and not p.is_clock}

    def normalised_operations(self) -> float:
        """The paper's normalised #OPS: sum over layers of firing rate x the next layer's operations, over the operations of the ANN.

        Both sums go over the projections, without the first layer, whose input is analogue in both networks (Lu & Sengupta 2020).
        Zero if there are no others.
        """
        rates = self.firing_rates()
        layers = [p for p in self.info.projections if not p.bias and p.macs]
        if not layers:
            return 0.0
        return sum(rates[p.source] * p.macs for p in layers) / sum(p.macs for p in layers)

    def operations(self) -> OperationReport:
        """Operations by the conventions of ``tools/count_ops.py``, sums over the images."""
        resolution = self.info.resolution
        ends = self.array("end_tick")
        begun = -(-ends // resolution)
        sums = {name: self.array(name).sum(0).tolist() for name in TOTALS}
        sums["synaptic_events"] = np.rint(self.over_time("synaptic_events").sum(0) * len(self)).astype(np.int64).tolist()
        assert set(sums) == set(OPERATIONS)
        effective = (self.array("encoded") * begun[:, None]).sum(0).tolist()
        return report_operations(self.info, sums, effective, len(self), int(begun.sum()), float(ends.sum() / resolution))

    def _latencies(self) -> dict[str, float | None]:
        """Mean, median and 95th percentile of the images with a decision; None if there are none, or it is not known when."""
        latency = np.zeros(0)
        with contextlib.suppress(RunError):
            latency = self.decision_latency()
        made = latency[~np.isnan(latency)]
        values = (made.mean(), np.median(made), np.percentile(made, 95)) if len(made) else (None,) * 3
        names = (f"{name}_decision_latency_steps" for name in ("mean", "median", "p95"))
        return {name: None if value is None else float(value) for name, value in zip(names, values, strict=True)}

    @property
    def hardware(self) -> dict[str, Any] | None:
        """What an image takes on the hardware that the evaluation was asked for, as JSON values; None without.

        ``name`` and ``file`` of the architecture, ``mode`` ("replay"), ``images``, ``accuracy``, and means of an image: ``spikes``,
        ``decision_seconds`` (of images with a decision; None if there is none), ``duration_seconds``, ``energy_joules``, ``messages``,
        ``dropped`` and ``p99_waiting_seconds``. ``array("hardware/energy")`` and the like are those of each image.
        """
        if "hardware" not in self._open:
            return None
        of = {name: self.array(f"hardware/{name}") for name in _ON_HARDWARE}
        decided = of["decision"] >= 0
        return {
            **{name: self.info.settings["hardware"][name] for name in ("name", "file")},
            "mode": "replay",
            "images": len(self),
            "accuracy": None if self.truth is None else self.accuracy,
            "spikes": float(self.totals()[0].mean()),
            "decision_seconds": float(of["decision"][decided].mean()) / 1e12 if decided.any() else None,
            "duration_seconds": float(of["duration"].mean()) / 1e12,
            "energy_joules": float(of["energy"].mean()) / 1e12,
            "messages": float(of["messages"].mean()),
            "dropped": float(of["dropped"].mean()),
            "p99_waiting_seconds": float(of["p99_waiting"].mean()) / 1e12,
        }

    def summary(self) -> dict[str, Any]:
        """The evaluation in a few JSON values, as ``evaluate --json`` prints."""
        spikes, events = self.totals()
        out: dict[str, Any] = {
            "images": len(self),
            "steps": self.info.steps,
            "resolution": self.info.resolution,
            "exit_rule": self.info.exit_rule,
            "accuracy": None if self.truth is None else self.accuracy,
            "undecided": int(np.sum(self.prediction < 0)),
            **self._latencies(),
            "mean_duration_steps": float(self.duration().mean()),
            "mean_spikes": float(spikes.mean()),
            "mean_synaptic_events": float(events.mean()),
            "mean_additions": float(self.operations().mean().synapses.additions),
            "normalised_operations": self.normalised_operations(),
            "firing_rates": self.firing_rates(),
        }
        with contextlib.suppress(RunError):
            out["accuracy_over_time"] = self.accuracy_over_time().tolist()
        if (hardware := self.hardware) is not None:
            out["hardware"] = hardware
        return out | {key: self.info.settings.get(key) for key in ("network", "network_sha256", "dataset", "split")}
