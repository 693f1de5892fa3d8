"""Run a network on a whole data set; what is done is kept, and the same call goes on from there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eventsim.analysis.evaluation import VERSION, Evaluation, write
from eventsim.analysis.provenance import spread
from eventsim.batch import self_test
from eventsim.batch.executors.pieces import available_processors, executor, results
from eventsim.batch.folder import network_of
from eventsim.batch.parts import Parts, remove_parts
from eventsim.batch.pictures import Pictures, Recordings, pictures_of
from eventsim.batch.work import Work, Worker, bytes_of
from eventsim.data.datasets import open_dataset
from eventsim.data.image_sets import Dataset
from eventsim.errors import HardwareError, InputError, RunError
from eventsim.files.atomic import remove_stale
from eventsim.job.job import DEFAULT_RESOLUTION, Job
from eventsim.job.preparation import default_steps
from eventsim.job.recordings import recording_inputs, steps_of_window
from eventsim.model.exits import ExitRule
from eventsim.model.network import Network
from eventsim.model.populations.event_input import Polarity
from eventsim.model.tables import IntArray
from eventsim.record.result import RunInfo
from eventsim.simulate import Simulator

if TYPE_CHECKING:
    from eventsim.hardware.architecture import Architecture
    from eventsim.hardware.hardware import Hardware

# Neuron-steps of a piece of work: some seconds at most, so that an interruption loses little.
_PIECE = 2**26
MOST_IMAGES = 64
# Neuron-steps that take a process longer than its start.
PAYS = 2**27


def evaluate(  # noqa: PLR0913 - public: every setting by its name
    network: Network | str | os.PathLike[str],
    dataset: Dataset | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    split: str = "test",
    images: int | Sequence[int] | None = None,
    steps: int | None = None,
    resolution: int = DEFAULT_RESOLUTION,
    exit_margin: int | None = None,
    exit_potential: int | None = None,
    invert: bool = False,
    crop: bool = False,
    step_us: int | None = None,
    polarity: Polarity | None = None,
    trade_off: bool = True,
    hardware: Hardware | Architecture | str | os.PathLike[str] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    traces: Sequence[int] = (),
    progress: Callable[[int, int], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Evaluation:
    """Run a network on the images of a data set.

    Parts of an unfinished evaluation lie in ``OUTPUT.parts`` until it is whole; the same call goes on from there, makes damaged ones
    again, and one that finds a whole evaluation of the same kind returns it.

    Parameters
    ----------
    network : Network or path-like
        Must have an output readout and take an image, or a recording.
    dataset : Dataset, str or path-like
        See :func:`eventsim.data.datasets.open_dataset`. Images of another size or colour than the network's input are converted.
    output : path-like
        The evaluation, HDF5 (docs/evaluation-format.md).
    split : str
    images : int or sequence of int, optional
        So many images, spread evenly over the set, or these. Default: all.
    steps : int, optional
        T. Default: the window of time that a set of recordings is opened with, what the network recommends, else 100.
    resolution : int
        R, ticks per step.
    exit_margin, exit_potential : int, optional
        Stop each run early; see :meth:`eventsim.Simulator.run`.
    invert, crop : bool
        Take 255 - pixel of the images; cut them to the input's proportions, in the middle, instead of squeezing them (docs/inputs.md).
    step_us : int, optional
        Microseconds of a step of recordings. Default: what the network says.
    polarity : {"split", "merge", "sign"}, optional
        What the events' polarity means. Default: what the network says.
    trade_off : bool
        Keep what exit rules of any threshold would have given. Holds all spikes of one image in memory.
    hardware : Hardware, Architecture or path-like, optional
        A chip, or its architecture (a file, or the name of one that comes with the package): what each image takes there is kept, too
        (:attr:`Evaluation.hardware`).
    workers : int, optional
        Processes, at most; none is started that has nothing to do. Default: as many as pay, at most one per processor. Results do not
        depend on it.
    scheduler : str, optional
        Address of a Dask scheduler whose workers run the images instead.
    traces : sequence of int
        Numbers of images of the data set whose spike traces are written too, to ``OUTPUT.traces/NUMBER.h5``.
    progress : callable, optional
        Called with (images done, all images).
    note : callable, optional
        Called with remarks for the user.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError, RunError, DatasetError, NetworkFileError, PotentialOverflow, HardwareError
    """
    net = network_of(network, step_us, polarity)
    data = dataset if isinstance(dataset, Dataset) else open_dataset(dataset, split)
    simulator = Simulator(net)
    if net.output is None or (net.input is None and not recording_inputs(net)):
        raise InputError("an evaluation needs a network that takes an image or a recording and has an output readout")
    rule = ExitRule.from_settings(exit_margin, exit_potential)
    if workers is not None and workers < 1:
        raise RunError(f"the number of workers must be at least 1, found {workers}")
    chip = None if hardware is None else _architecture(hardware, net)
    pictures = pictures_of(net, data, invert, crop)
    chosen = _chosen(images, len(data))
    if steps is None:
        steps = steps_of_window(net, data.reading.length) or default_steps(net)
    here = version("eventsim"), self_test.digest("reference")
    work = Work(bytes_of(net), simulator.digest(), steps, resolution, 0, rule, trade_off, *here, chip)
    about = {"network": None if isinstance(network, Network) else os.fspath(network)} | _about(net, work, pictures, chosen)
    about |= {name: value for name, value in (("step_us", step_us), ("polarity", polarity)) if value is not None}
    # One image is prepared first: what is wrong with the settings shows before anything is started or written.
    first = pictures[int(chosen[0])]
    if note is not None and (remarks := pictures.remarks(int(chosen[0]))):
        # (What is done to recordings may differ: hot pixels.)
        note(f"{data.name}: {'the first recording:' if isinstance(pictures, Recordings) else 'images'} {', '.join(remarks)}")
    job = simulator.prepare(first, steps=steps, resolution=resolution, exit_rule=rule)
    info = simulator.describe(job, about)
    plan = _Plan(Path(output), work, pictures, chosen, info, progress or _nothing, note or _nothing)
    plan.check_traces(traces)
    done = plan.finished()
    if done is None:
        done = plan.run(simulator, job, workers, scheduler)
    else:
        plan.tidy()
    plan.trace(traces)
    return done


def _architecture(hardware: Hardware | Architecture | str | os.PathLike[str], network: Network) -> Architecture:
    """The architecture, which has room for the network."""
    # Evaluations without hardware do without loading it.
    kind = import_module("eventsim.hardware.hardware").Hardware
    chip: Hardware = hardware if isinstance(hardware, kind) else kind(hardware)
    if chip.changes_spikes:
        raise HardwareError(f"{chip.architecture.name}: its converters change what runs answer; `study adc` evaluates what they make of it")
    chip.place(network)
    return chip.architecture


def _nothing(*_: Any) -> None:
    """Progress that nobody sees, a remark that nobody reads."""


def _about(network: Network, work: Work, pictures: Pictures, chosen: IntArray) -> dict[str, Any]:
    """What the evaluation's description says beside the run's settings."""
    data = pictures.data
    return {
        "network_sha256": work.digest,
        "provenance": network.provenance,
        "dataset": data.name,
        **({} if data.opened_as == data.name else {"dataset_folder": data.opened_as}),
        "split": data.split,
        "images": len(chosen),
        "dataset_images": len(data),
        "selection": data.selection(chosen),
        "trade_off": work.trade_off and work.exit_rule is None,
        "start_levels": import_module("eventsim.analysis.trajectory").Trajectories(network).start_levels(),
        "eventsim": work.version,
        "self_test": work.self_test,
        **pictures.options,
        **({} if work.hardware is None else {"hardware": {"name": work.hardware.name, "file": work.hardware.source}}),
    }


@dataclass(frozen=True)
class _Plan:
    """An evaluation that is asked for.

    Attributes
    ----------
    target : Path
    work : Work
    pictures : Pictures
    chosen : int64 (images,)
        Numbers in the data set.
    info : RunInfo
    progress, note : callable
    """

    target: Path
    work: Work
    pictures: Pictures
    chosen: IntArray
    info: RunInfo
    progress: Callable[[int, int], None]
    note: Callable[[str], None]

    @cached_property
    def key(self) -> str:
        """The same for evaluations of the same network, images and settings."""
        parts = [VERSION, self.work.key, self.info.settings["selection"], *self.pictures.choices]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        """Where the parts of the unfinished evaluation are."""
        return self.target.with_name(self.target.name + ".parts")

    def finished(self) -> Evaluation | None:
        """The evaluation that is there already, if it is the one asked for.

        Raises
        ------
        RunError
            Something else is there.
        """
        target = self.target
        if not target.exists() or (target.is_file() and target.stat().st_size == 0):
            if not target.parent.is_dir():
                raise RunError(f"{target}: the folder {target.parent} does not exist")
            return None
        try:
            found = Evaluation(target)
        except RunError as error:
            # Of another version, damaged, or something else altogether.
            reason = str(error).removeprefix(f"{target}: ")
            raise RunError(
                f"{target}: exists and is no evaluation to be gone on with ({reason}); remove it or name another output"
            ) from None
        if found.key == self.key:
            return found
        found.close()
        raise RunError(f"{target}: holds another evaluation ({found}); remove it or name another output")

    def tidy(self) -> None:
        """Remove what a process that was killed at its very end left beside the whole evaluation."""
        remove_parts(self.folder, self.key, self.work.version)
        remove_stale(self.target)
        self.note(f"{self.target}: is whole; nothing to do")

    def run(self, simulator: Simulator, job: Job, workers: int | None, scheduler: str | None) -> Evaluation:
        """Run what is not done yet, and write the evaluation; ``job`` is that of an image."""
        parts = Parts(self.folder, self.key, self.work.version)
        data, total = self.pictures.data, len(self.chosen)
        neurons = sum(p.size for p in self.info.populations)
        size = max(1, min(MOST_IMAGES, _PIECE // (neurons * self.work.steps)))
        starts = [i for i in range(0, total, size) if not parts.has(i, min(size, total - i))]
        todo = sum(min(size, total - i) for i in starts)
        if todo < total:
            self.note(f"{self.target}: {total - todo:,} of {total:,} images were done before")
        self.progress(total - todo, total)
        try:
            if starts:
                processes = paying_processes(workers, len(starts), todo * neurons * self.work.steps)
                if processes > 1 and scheduler is None:
                    # Here, where it can be said, and once rather than in every worker.
                    simulator.warm_up(job)
                self._run_pieces(parts, starts, size, total - todo, executor(self.work, processes, scheduler))
            if data.selection(self.chosen) != self.info.settings["selection"]:
                raise RunError(f"{data.name}: its images changed while they were evaluated; remove {self.folder} and evaluate again")
            labels = None if data.labels is None else data.labels[self.chosen]
            write(self.target, self.info, self.key, self.chosen, labels, data.classes, map(parts.read, range(0, total, size)))
        except RunError:
            # The same evaluation may run twice at a time; the one that ends first removes the parts of both.
            done = None if self.folder.exists() else self.finished()
            if done is None:
                raise
            return done
        parts.remove()
        return Evaluation(self.target)

    def _run_pieces(
        self, parts: Parts, starts: Sequence[int], size: int, done: int, place: AbstractContextManager[tuple[Executor, int]]
    ) -> None:
        pieces = ((i, [self.pictures[int(k)] for k in self.chosen[i : i + size]]) for i in starts)
        with place as (pool, window), closing(results(pool, window, self.work, pieces)) as arriving:
            for first, number, arrays in arriving:
                parts.add(first, arrays)
                done += number
                self.progress(done, len(self.chosen))

    @property
    def traces(self) -> Path:
        """The folder of traces."""
        return self.target.with_name(self.target.name + ".traces")

    def check_traces(self, numbers: Sequence[int]) -> None:
        """Refuse images that the data set does not have, and a file in the place of the folder, before anything is run."""
        data, folder = self.pictures.data, self.traces
        for number in numbers:
            if not 0 <= number < len(data):
                raise RunError(f"there is no image {number} to trace; {data.name} has 0..{len(data) - 1}")
        if len(numbers) and folder.exists() and not folder.is_dir():
            raise RunError(f"{folder}: is a file, where a folder of traces would be; remove it or name another output")

    def trace(self, numbers: Sequence[int]) -> None:
        """Write the traces of some images of the data set."""
        if not len(numbers):
            return
        data, folder = self.pictures.data, self.traces
        folder.mkdir(exist_ok=True)
        worker = Worker(self.work)
        for number in numbers:
            about: dict[str, Any] = {"dataset": data.name, "split": data.split, "image": number}
            if data.labels is not None:
                about["truth"] = int(data.labels[number])
            worker.simulator.run(self.pictures[number], trace=folder / f"{number}.h5", about=about, **worker.settings())
        self.note(f"traces of {len(numbers)} images are in {folder}")


def _chosen(images: int | Sequence[int] | None, total: int) -> npt.NDArray[np.int64]:
    if images is None:
        return np.arange(total)
    if isinstance(images, (int, np.integer)):
        return spread(int(images), total)
    given = np.asarray(images)
    # (As numbers, a mask would be images 0 and 1, over and over.)
    chosen = given.astype(np.int64) if given.dtype.kind in "iu" else np.zeros(0, np.int64)
    if chosen.ndim != 1 or not len(chosen) or chosen.min() < 0 or chosen.max() >= total:
        raise RunError(f"images must be numbers 0..{total - 1} of the data set")
    return chosen


def paying_processes(workers: int | None, pieces: int, neuron_steps: int) -> int:
    """How many processes are worth their start."""
    paying = available_processors() if workers is None else workers
    if workers is None:
        paying = min(paying, neuron_steps // PAYS)
    return max(1, min(paying, pieces))
