"""Traces: the spikes and counts of a run in HDF5, in the SONATA layout with groups of our own (docs/trace-format.md).

Spikes go to disk as they come, so memory stays bounded; the file has a temporary name until it is whole.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from eventsim.errors import TraceError
from eventsim.files.hdf5_reading import Column, SealedFile
from eventsim.files.hdf5_writing import HDF5Replacement
from eventsim.files.seal import CheckSums, block_rows, seal
from eventsim.job.job import OPERATIONS, Counts, Job
from eventsim.model.network import Network
from eventsim.model.tables import IntArray
from eventsim.record.potentials import MAX_POTENTIALS, Potentials
from eventsim.record.result import NO_SPIKES, Run, RunInfo, Spikes, read_info

FORMAT, VERSION = "eventsim-trace", 2
_SONATA_MAGIC = 0x0A7A
CHUNK = 2**13
# A SONATA file's own enumeration of how spikes are ordered.
_SORTING = h5py.enum_dtype({"none": 0, "by_id": 1, "by_time": 2}, basetype="u1")
# Spikes of a population that are kept before they are written.
BUFFER = 2**16
# Spikes that are read at a time, about.
BLOCK = 2**20
_MAX_JSON = 2**24


class TraceWriter:
    """Writes a run's trace; a context manager and a :class:`eventsim.job.job.Recorder`.

    Parameters
    ----------
    path : path-like
        Replaced when :meth:`finish` has been called and the context ends without an error; untouched otherwise.
    network : Network
    job : Job
    recorded : iterable of str
        Populations whose spikes are written.

    Attributes
    ----------
    run_id : str
        Tells this run's trace from any other.

    Raises
    ------
    TraceError
        The file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], network: Network, job: Job, recorded: Iterable[str]):
        self._path = Path(path)
        self._resolution = job.resolution
        self._signed = {name for name, p in network.populations.items() if p.signed}
        self._recorded = [name for name in network.populations if name in set(recorded)]
        self._buffers: dict[str, list[Spikes]] = {name: [] for name in self._recorded}
        self._finished = False
        self.run_id = uuid.uuid4().hex

    def __enter__(self) -> TraceWriter:
        self._check_replaceable()
        self._sums: dict[str, CheckSums] = {}
        try:
            self._new = HDF5Replacement(self._path)
        except OSError as error:
            raise self._cannot(error) from error
        self._file = self._new.file
        try:
            self._file.attrs.create("magic", _SONATA_MAGIC, dtype="u4")
            self._file.attrs.create("version", np.array([0, 1], "u4"))
            self._file.create_group("spikes")
            for population in self._recorded:
                self._create_population(population)
            self._new.check()
        except OSError as error:
            self._new.discard()
            raise self._cannot(error) from error
        except BaseException:
            self._new.discard()
            raise
        return self

    def _cannot(self, error: OSError) -> TraceError:
        return TraceError(f"{self._path}: cannot be written ({error.strerror or error})")

    def _check_replaceable(self) -> None:
        """A trace may replace an older trace, and nothing else: no network, no image, no device."""
        if self._path.is_dir():
            raise TraceError(f"{self._path}: is a folder; name a file for the trace")
        if not self._path.exists() or (self._path.is_file() and self._path.stat().st_size == 0):
            return
        if not self._path.is_file():
            raise TraceError(f"{self._path}: is no regular file; name another for the trace, or write none (--no-trace)")
        try:
            with h5py.File(self._path, "r", locking=False) as file:
                is_trace = bytes(file["eventsim"].attrs["format"]) == FORMAT.encode()
        except Exception:  # whatever h5py finds wrong with it, it is no trace
            is_trace = False
        if not is_trace:
            raise TraceError(f"{self._path}: exists and is no trace of eventsim; remove it or name another file for the trace")

    def _create_population(self, name: str) -> None:
        group = self._file["spikes"].create_group(name)
        group.attrs.create("sorting", 2, dtype=_SORTING)
        columns = {"timestamps": "f8", "node_ids": "u8"} | ({"signs": "i1"} if name in self._signed else {})
        for column, dtype in columns.items():
            # Contiguous would need the number of spikes beforehand. No compression: libsonata's wheel reads none.
            group.create_dataset(column, (0,), dtype, maxshape=(None,), chunks=(CHUNK,))
            self._sums[f"spikes/{name}/{column}"] = CheckSums(block_rows(np.dtype(dtype), (0,)))
        group["timestamps"].attrs["units"] = np.bytes_("ms")

    def wants(self, population: str) -> bool:
        """Whether the population's spikes are written."""
        return population in self._recorded

    def record(self, population: str, ticks: IntArray, neurons: IntArray, signs: IntArray) -> None:
        """Append spikes of one population."""
        buffer = self._buffers[population]
        buffer.append(Spikes(np.array(ticks), np.array(neurons), np.array(signs)))
        if sum(len(part.ticks) for part in buffer) >= BUFFER or len(buffer) >= BUFFER // 16:
            self._flush(population)

    def _flush(self, population: str) -> None:
        buffer = self._buffers[population]
        if not buffer:
            return
        ticks, neurons, signs = (np.concatenate(arrays) for arrays in zip(*buffer, strict=True))
        buffer.clear()
        group = self._file["spikes"][population]
        columns = {"timestamps": ticks / self._resolution, "node_ids": neurons, "signs": signs}
        try:
            for name, dataset in group.items():
                n = len(dataset)
                values = columns[name].astype(dataset.dtype, copy=False)
                dataset.resize(n + len(values), axis=0)
                dataset[n:] = values
                self._sums[f"spikes/{population}/{name}"].update(values)
            self._new.check()
        except OSError as error:
            raise self._cannot(error) from error

    def finish(self, run: Run) -> None:
        """Add the run's description and counts. The file gets its name when the context ends."""
        for population in self._recorded:
            self._flush(population)
        try:
            group = self._file.create_group("eventsim")
            group.attrs["format"] = np.bytes_(FORMAT)
            group.attrs.create("version", VERSION, dtype="u4")
            group.attrs["run"] = np.bytes_(self.run_id)
            group.attrs["made_by"] = np.bytes_(f"eventsim {metadata.version('eventsim')}")
            group.create_dataset("info", data=np.bytes_(json.dumps(dataclasses.asdict(run.info)).encode()))
            counts = run.counts
            for name in ("end_tick", "exited", "decision", "decision_tick"):
                value = getattr(counts, name)
                group.attrs.create(name, -1 if value is None else int(value), dtype="i8")
            group.attrs["stopped"] = np.bytes_(counts.stopped or "")
            for name in ("spikes", "negative_spikes", "first_tick", *OPERATIONS):
                _store(group, f"counts/{name}", getattr(counts, name))
            readouts = group.create_group("readout")
            for name, values in counts.readout.items():
                _store(readouts, name, values)
            for name in run.potentials_recorded:
                if name not in counts.readout:
                    _store(group, f"potentials/{name}", run.potentials(name))
                    threshold = run.threshold(name)
                    assert threshold is not None
                    _store(group, f"thresholds/{name}", threshold[: run.population(name).shape[-1]])
            if run.image is not None:
                _store(group, "image", run.image)
            seal(self._file, self._sums)
            self._new.check()
        except OSError as error:
            raise self._cannot(error) from error
        self._finished = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None or not self._finished:
            self._new.discard()
            return
        try:
            self._new.commit()
        except OSError as failure:
            raise self._cannot(failure) from failure


def _store(group: h5py.Group, name: str, values: npt.NDArray[Any]) -> None:
    group.create_dataset(name, data=values, **({"compression": "gzip", "shuffle": True} if values.size else {}))


class Trace(Run):
    """A trace file, opened for analysis; a context manager. See :class:`eventsim.record.result.Run` for what it offers.

    Parameters
    ----------
    path : path-like
        Written by ``run --trace`` or :meth:`eventsim.Simulator.run`.

    Attributes
    ----------
    path : Path
    run_id : str
        Tells the run from any other; empty in traces of older versions.
    made_by : str
        Program and version; empty in traces of older versions.

    Raises
    ------
    TraceError
        Not a whole trace of a version that this eventsim reads.

    Examples
    --------
    >>> from eventsim import Trace
    >>> with Trace("run.h5") as trace:                          # doctest: +SKIP
    ...     print(trace.label, trace.decision_latency, trace.total_synaptic_events)
    ...     ticks, neurons, signs = trace.spikes("conv2", start=0, stop=10)
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._file = SealedFile(self.path, TraceError, "trace")
        try:
            with self._file.guarded():
                info, counts = self._read()
        except BaseException:
            self._file.close()
            raise
        super().__init__(info, counts)

    def _read(self) -> tuple[RunInfo, Counts]:
        file = self._file
        if file.attribute("eventsim", "format") != np.bytes_(FORMAT):
            raise TraceError(f"{self.path}: not a trace of eventsim, as `eventsim run` writes them; `eventsim info` tells what it is")
        version = file.integer("eventsim", "version")
        if not 1 <= version <= VERSION:
            raise TraceError(f"{self.path}: a trace of version {version}; this eventsim reads versions 1 to {VERSION}")
        file.unseal(required=version > 1)
        text = file.column("eventsim/info")
        if text.dtype.itemsize > _MAX_JSON or text.dtype.kind != "S" or text.ndim:
            raise file.damaged("its description is no text of reasonable size")
        self.run_id, self.made_by = (file.text("eventsim", name, b"") for name in ("run", "made_by"))
        info = read_info(json.loads(bytes(text.read()).decode()))
        end_tick, exited, decision, decision_tick = (
            file.integer("eventsim", name) for name in ("end_tick", "exited", "decision", "decision_tick")
        )
        outputs = next((p.size for p in info.populations if p.name == info.output), 0)
        if not 1 <= end_tick <= info.steps * info.resolution or exited not in (0, 1) or not -1 <= decision < outputs:
            raise file.damaged(f"it ends at tick {end_tick}, with the decision {decision}")
        if not -1 <= decision_tick <= end_tick:
            raise file.damaged(f"a decision at tick {decision_tick} of {end_tick}")
        if version == 1 and decision_tick == 1:
            # Any decision counted from tick 1 on there, whether or not something had reached the readout: when it was made is not known.
            decision_tick = -1
        steps = -(-end_tick // info.resolution)
        expected: dict[str, tuple[int, ...]] = {"spikes": (steps, len(info.populations)), "negative_spikes": (steps, len(info.populations))}
        expected |= {"first_tick": (len(info.populations),)} | {name: (steps, len(info.projections)) for name in OPERATIONS}
        arrays = {name: self._array(f"counts/{name}", shape) for name, shape in expected.items()}
        sizes = {p.name: p.size for p in info.populations if p.reads_out}
        readout = {name: self._array(f"readout/{name}", (steps, sizes[name])) for name in file.names("eventsim/readout")}
        if info.output is not None and info.output not in readout:
            raise file.damaged(f"it has no readout {info.output!r}")
        if any(np.any(values < 0) for values in arrays.values()):
            raise file.damaged("negative counts")
        stopped = file.text("eventsim", "stopped", b"")
        if stopped not in ("", "max_spikes"):
            raise file.damaged(f"stopped by {stopped!r}")
        return info, Counts(
            end_tick=end_tick,
            exited=bool(exited),
            readout=readout,
            decision=None if decision < 0 else decision,
            decision_tick=None if decision_tick < 0 else decision_tick,
            stopped="max_spikes" if stopped else None,
            engine=str(info.settings.get("engine", "")),
            **arrays,
        )

    def _array(self, name: str, shape: tuple[int, ...]) -> IntArray:
        column = self._file.column(f"eventsim/{name}")
        if column.shape != shape or column.dtype.kind != "i" or column.dtype.itemsize != 8:
            raise self._file.damaged(f"{name} is {column.dtype} {column.shape}, expected int64 {shape}")
        return column.read().astype(np.int64)

    def __repr__(self) -> str:
        return f"<Trace {os.fspath(self.path)!r}{'' if self._file else ' (closed)'}: {self._in_brief()}>"

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; counts stay usable, spikes do not."""
        self._file.close()

    @property
    def image(self) -> npt.NDArray[np.uint8] | None:
        """The image that the network was given: uint8 (height, width, channels); None for other inputs and older traces.

        Raises
        ------
        TraceError
            The file is closed or damaged.
        """
        if "eventsim/image" not in self._open:
            return None
        column = self._open.column("eventsim/image")
        if column.dtype != np.uint8 or column.ndim != 3 or not column.size:
            raise self._file.damaged("its image")
        return column.read()

    @property
    def recorded(self) -> list[str]:
        """Populations whose spikes are in the file.

        Raises
        ------
        TraceError
            The file is closed.
        """
        return [p.name for p in self.info.populations if f"spikes/{p.name}" in self._open]

    @property
    def _open(self) -> SealedFile:
        if not self._file:
            raise TraceError(f"{self.path}: the trace is closed")
        return self._file

    @property
    def sealed(self) -> bool:
        """Whether the file has check sums; those of version 1 have none."""
        return self._open.sums is not None

    def verify(self) -> None:
        """Read and verify all of the file.

        Raises
        ------
        TraceError
            It is damaged.
        """
        self._open.verify()
        for name in self.recorded:
            for _ in self.spike_blocks(name):
                pass
        for name in self.potentials_recorded:
            self.potentials(name)

    @property
    def potentials_recorded(self) -> list[str]:
        """Populations whose membrane potentials are in the file.

        Raises
        ------
        TraceError
            The file is closed.
        """
        file = self._open
        return [p.name for p in self.info.populations if f"eventsim/potentials/{p.name}" in file or p.name in self.counts.readout]

    def _potentials(self, population: str) -> Potentials:
        about, file = self.population(population), self._open
        with file.guarded():
            shape = (-(-self.counts.end_tick // self.info.resolution), about.size)
            if math.prod(shape) > MAX_POTENTIALS:
                raise file.damaged("more potentials than a run keeps")
            threshold = self._array(f"thresholds/{population}", about.shape[-1:])
            return Potentials(self._array(f"potentials/{population}", shape), threshold)

    def spikes(self, population: str, start: float = 0, stop: float | None = None) -> Spikes:
        """Spikes of a population with ``start < time <= stop`` (steps), the only part of the file that is read.

        Raises
        ------
        RunError
            No such population, or its spikes were not recorded; no such window.
        TraceError
            The file is closed or damaged.
        """
        parts = list(self.spike_blocks(population, start, stop))
        return Spikes(*map(np.concatenate, zip(*parts, strict=True))) if len(parts) > 1 else parts[0] if parts else NO_SPIKES

    def spike_blocks(self, population: str, start: float = 0, stop: float | None = None) -> Iterator[Spikes]:
        """The same, about a million at a time; see :meth:`Run.spike_blocks`."""
        self.check_recorded(population, self.recorded)
        file, size = self._open, self.population(population).size
        with file.guarded():
            timestamps, neurons = (file.column(f"spikes/{population}/{name}") for name in ("timestamps", "node_ids"))
            signs = file.column(f"spikes/{population}/signs") if f"spikes/{population}/signs" in file else None
            columns = (timestamps, neurons) if signs is None else (timestamps, neurons, signs)
            if any(column.shape != (timestamps.size,) or column.dtype.kind not in "fiu" for column in columns):
                raise file.damaged(f"columns of different length for {population}")
            first, last = self.window(start, stop)
            low, high = self._place(timestamps, first), self._place(timestamps, last + 1)
        step = max(1, BLOCK // timestamps.rows) * timestamps.rows
        before, end = 0.0, self.counts.end_tick / self.info.resolution
        while low < high:
            # Whole blocks of the file, so that each is read and verified once.
            to = min(high, (low // step + 1) * step)
            with file.guarded():
                times, ids = timestamps.read(low, to), neurons.read(low, to)
                marks = np.ones(to - low, np.int8) if signs is None else signs.read(low, to)
                # Also what is not a number is none of these.
                if not (times[0] >= before and times.min() > 0 and times.max() <= end and np.all(np.diff(times) >= 0)):
                    raise file.damaged(f"spikes of {population} out of order or out of the run")
                if int(ids.max()) >= size or int(ids.min()) < 0 or np.any(np.abs(marks) != 1):
                    raise file.damaged(f"{population} has no such neurons or signs")
            yield Spikes(np.rint(times * self.info.resolution).astype(np.int64), ids.astype(np.int64), marks.astype(np.int8))
            low, before = to, times[-1]

    def _place(self, timestamps: Column, tick: int) -> int:
        """Index of the first spike at or after a tick, by bisection over the file's blocks."""
        low, high = 0, -(-len(timestamps) // timestamps.rows)
        # Half a tick below, so that rounding of tick / R to float64 cannot matter.
        limit = (tick - 0.5) / self.info.resolution
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if timestamps.block(middle)[-1] < limit else (low, middle)
        if low * timestamps.rows >= len(timestamps):
            return len(timestamps)
        return low * timestamps.rows + int(np.searchsorted(timestamps.block(low), limit))


def reopen(path: Path, run_id: str) -> Trace:
    """The trace that a run wrote.

    Parameters
    ----------
    path : Path
    run_id : str
        As :attr:`TraceWriter.run_id`.

    Raises
    ------
    TraceError
        The file is gone or damaged, or it is now another run's.
    """
    try:
        trace = Trace(path)
    except TraceError as error:
        raise TraceError(f"the spikes of this run are in its trace, which cannot be read: {error}") from None
    if trace.run_id != run_id:
        trace.close()
        raise TraceError(f"{path}: held the spikes of this run, and another run has replaced it; give each run a trace of its own")
    return trace
