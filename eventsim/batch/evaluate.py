"""Run a network on a whole data set; what is done is kept, and the same call goes on from there."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.analysis.evaluation import VERSION, Evaluation, write
from eventsim.analysis.provenance import spread
from eventsim.analysis.trajectory import Trajectories
from eventsim.batch import self_test
from eventsim.batch.executors.pieces import available_processors, executor, results
from eventsim.batch.parts import Parts, remove_parts
from eventsim.batch.work import Work, Worker
from eventsim.data.datasets import open_dataset
from eventsim.data.image_sets import Dataset
from eventsim.data.images import fit_image
from eventsim.errors import InputError, RunError
from eventsim.files.atomic import remove_stale
from eventsim.job.job import DEFAULT_RESOLUTION
from eventsim.job.preparation import default_steps
from eventsim.model.exits import ExitRule
from eventsim.model.netfile import load, save
from eventsim.model.network import Network
from eventsim.model.populations import Readout
from eventsim.simulate import Simulator

# Neuron-steps of a piece of work: some seconds at most, so that an interruption loses little.
_PIECE = 2**26
_MOST_IMAGES = 64
# Neuron-steps that take a process longer than its start.
_PAYS = 2**27


def evaluate(
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
    trade_off: bool = True,
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
        Must have an output readout and take an image.
    dataset : Dataset, str or path-like
        See :func:`eventsim.data.datasets.open_dataset`. Images of another size or colour than the network's input are converted.
    output : path-like
        The evaluation, HDF5 (docs/evaluation-format.md).
    split : str
    images : int or sequence of int, optional
        So many images, spread evenly over the set, or these. Default: all.
    steps : int, optional
        T. Default: what the network recommends, else 100.
    resolution : int
        R, ticks per step.
    exit_margin, exit_potential : int, optional
        Stop each run early; see :meth:`eventsim.Simulator.run`.
    invert, crop : bool
        Take 255 - pixel of the images; cut them to the input's proportions, in the middle, instead of squeezing them (docs/inputs.md).
    trade_off : bool
        Keep what exit rules of any threshold would have given. Holds all spikes of one image in memory.
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
    InputError, RunError, DatasetError, NetworkFileError, PotentialOverflow
    """
    net = network if isinstance(network, Network) else load(network)
    data = dataset if isinstance(dataset, Dataset) else open_dataset(dataset, split)
    simulator = Simulator(net)
    if net.input is None or net.output is None:
        raise InputError("an evaluation needs a network that takes an image and has an output readout")
    rule = ExitRule.from_settings(exit_margin, exit_potential)
    if workers is not None and workers < 1:
        raise RunError(f"the number of workers must be at least 1, found {workers}")
    _check_labels(net, data)
    chosen = _chosen(images, len(data))
    if steps is None:
        steps = default_steps(net)
    work = Work(_bytes(net), simulator.digest(), steps, resolution, 0, rule, trade_off, version("eventsim"), self_test.digest("reference"))
    target = Path(output)
    labels = None if data.labels is None else data.labels[chosen]
    about: dict[str, Any] = {
        "network": None if isinstance(network, Network) else os.fspath(network),
        "network_sha256": work.digest,
        "provenance": net.provenance,
        "dataset": data.name,
        "split": data.split,
        "images": len(chosen),
        "dataset_images": len(data),
        "selection": data.selection(chosen),
        "trade_off": trade_off and rule is None,
        "start_levels": Trajectories(net).start_levels(),
        "eventsim": work.version,
        "self_test": work.self_test,
    }
    fitting = {name: True for name, wanted in (("invert", invert), ("crop", crop)) if wanted}
    about |= fitting
    # One image is prepared first: what is wrong with the settings shows before anything is started or written.
    image = _fit(net, data, int(chosen[0]), fitting, note)
    job = simulator.prepare(image, steps=steps, resolution=resolution, exit_rule=rule)
    info = simulator.describe(job, about)
    key = hashlib.sha256(json.dumps([VERSION, work.key, about["selection"], *fitting]).encode()).hexdigest()
    folder = target.with_name(target.name + ".parts")
    done = _whole(target, key)
    if done is None:
        parts = Parts(folder, key, work.version)
        neurons = sum(p.size for p in info.populations)
        size = max(1, min(_MOST_IMAGES, _PIECE // (neurons * steps)))
        starts = [i for i in range(0, len(chosen), size) if not parts.has(i, min(size, len(chosen) - i))]
        todo = sum(min(size, len(chosen) - i) for i in starts)
        count = len(chosen) - todo
        if note is not None and count:
            note(f"{target}: {count:,} of {len(chosen):,} images were done before")
        if progress is not None:
            progress(count, len(chosen))

        def pieces() -> Iterator[tuple[int, list[npt.NDArray[np.uint8]]]]:
            for i in starts:
                yield i, [_fit(net, data, int(k), fitting) for k in chosen[i : i + size]]

        try:
            if starts:
                if scheduler is None:
                    # Here, where it can be said, and once rather than in every worker.
                    simulator.warm_up()
                with (
                    executor(work, _processes(workers, len(starts), todo * neurons * steps), scheduler) as (pool, window),
                    closing(results(pool, window, work, pieces())) as found,
                ):
                    for first, number, arrays in found:
                        parts.add(first, arrays)
                        count += number
                        if progress is not None:
                            progress(count, len(chosen))
            if data.selection(chosen) != about["selection"]:
                raise RunError(f"{data.name}: its images changed while they were evaluated; remove {folder} and evaluate again")
            write(target, info, key, chosen, labels, data.classes, (parts.read(i) for i in range(0, len(chosen), size)))
        except RunError:
            # The same evaluation may run twice at a time; the one that ends first removes the parts of both.
            done = None if folder.exists() else _whole(target, key)
            if done is None:
                raise
        else:
            parts.remove()
            done = Evaluation(target)
    else:
        # Of a process that was killed at its very end.
        remove_parts(folder, key, work.version)
        remove_stale(target)
        if note is not None:
            note(f"{target}: is whole; nothing to do")
    _trace(target, work, net, data, fitting, traces, note)
    return done


def _bytes(network: Network) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.h5"
        save(network, path)
        return path.read_bytes()


def _check_labels(network: Network, data: Dataset) -> None:
    assert network.output is not None
    output = network.populations[network.output]
    assert isinstance(output, Readout)
    classes = int(np.prod(output.shape))
    if not len(data):
        raise InputError(f"{data.name}: has no images")
    if data.labels is not None and int(data.labels.max()) >= classes:
        raise InputError(
            f"{data.name} has {int(data.labels.max()) + 1} classes, the network tells {classes} apart; evaluate it on its own data"
        )


def _chosen(images: int | Sequence[int] | None, total: int) -> npt.NDArray[np.int64]:
    if images is None:
        return np.arange(total)
    if isinstance(images, (int, np.integer)):
        if images < 1:
            raise RunError(f"the number of images must be at least 1, found {images}")
        return spread(int(images), total)
    chosen = np.asarray(images, np.int64)
    if chosen.ndim != 1 or not len(chosen) or chosen.min() < 0 or chosen.max() >= total:
        raise RunError(f"images must be numbers 0..{total - 1} of the data set")
    return chosen


def _fit(
    network: Network, data: Dataset, index: int, fitting: Mapping[str, bool], note: Callable[[str], None] | None = None
) -> npt.NDArray[np.uint8]:
    assert network.input is not None
    try:
        pixels, changes = fit_image(data[index], network.input.shape, **fitting)
    except InputError as error:
        raise InputError(f"{data.name}: image {index}: {error}") from None
    if note is not None and (changes := [*data.remarks(index), *changes]):
        note(f"{data.name}: images {', '.join(changes)}")
    return pixels


def _whole(target: Path, key: str) -> Evaluation | None:
    """The evaluation that is there already, if it is the one asked for."""
    if not target.exists() or (target.is_file() and target.stat().st_size == 0):
        if not target.parent.is_dir():
            raise RunError(f"{target}: the folder {target.parent} does not exist")
        return None
    try:
        found = Evaluation(target)
    except RunError:
        raise RunError(f"{target}: exists and is no evaluation; remove it or name another output") from None
    if found.key == key:
        return found
    found.close()
    raise RunError(f"{target}: holds another evaluation ({found}); remove it or name another output")


def _processes(workers: int | None, pieces: int, neuron_steps: int) -> int:
    """How many processes are worth their start."""
    paying = available_processors() if workers is None else workers
    if workers is None:
        paying = min(paying, neuron_steps // _PAYS)
    return max(1, min(paying, pieces))


def _trace(
    target: Path,
    work: Work,
    network: Network,
    data: Dataset,
    fitting: Mapping[str, bool],
    numbers: Sequence[int],
    note: Callable[[str], None] | None,
) -> None:
    if not numbers:
        return
    folder = target.with_name(target.name + ".traces")
    for number in numbers:
        if not 0 <= number < len(data):
            raise RunError(f"there is no image {number} to trace; {data.name} has 0..{len(data) - 1}")
    folder.mkdir(exist_ok=True)
    worker = Worker(work)
    for number in numbers:
        about: dict[str, Any] = {"dataset": data.name, "split": data.split, "image": number}
        if data.labels is not None:
            about["truth"] = int(data.labels[number])
        worker.simulator.run(_fit(network, data, number, fitting), trace=folder / f"{number}.h5", about=about, **worker.settings())
    if note is not None:
        note(f"traces of {len(numbers)} images are in {folder}")
