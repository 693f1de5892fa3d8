"""Read from files what a network takes: images, arrays, lists of events; batches and folders of them (docs/inputs.md)."""

from __future__ import annotations

import io
import itertools
import re
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eventsim.data.images import decode_image, fit_image
from eventsim.data.npy import MAGIC, npy_header, read_elements
from eventsim.data.recordings import frames
from eventsim.data.recordings.fitting import Reading, fit_recording
from eventsim.data.recordings.reading import is_recording, read_recording
from eventsim.data.recordings.sonata import read_sonata
from eventsim.errors import InputError
from eventsim.files.hdf5_heaps import HDF5_SIGNATURE
from eventsim.model.network import Network
from eventsim.model.storage.format import FORMAT as NETWORK

MAX_STDIN_BYTES = 256 * 2**20
# Of a list of events, in a file of either kind.
MAX_EVENTS = 2**24
# Of the batches that one path names. A file with holes may declare any number, at no cost.
MAX_BATCH = 2**17
# Of a line of a list of events, in bytes: a file with holes may hold one of any length.
_MAX_LINE = 1000
_AS_IT_IS = Reading()
_EVENT_ROW = "two numbers, time in steps and neuron"


class Item(NamedTuple):
    """One input of a network.

    Attributes
    ----------
    path : str
        A file, or ``"-"`` for standard input.
    number : int or None
        In a batch: which of its inputs.
    """

    path: str
    number: int | None = None

    def __str__(self) -> str:
        name = "standard input" if self.path == "-" else self.path
        return name if self.number is None else f"{name}[{self.number}]"

    @property
    def is_piped(self) -> bool:
        """Whether it is standard input, or a pipe with a path: no name says what it holds, and it is read once."""
        return self.path == "-" or Path(self.path).is_fifo()

    @property
    def file_name(self) -> str:
        """For a file about it."""
        name = Path(self.path).name
        return name if self.number is None else f"{name}-{self.number}"


def find_inputs(network: Network, path: str) -> list[Item]:
    """The inputs that a path names: itself, the inputs of a batch, or all files of a folder (hidden ones left out), sorted.

    Raises
    ------
    InputError
        Nothing is there, the folder is empty, or batches hold too many inputs.
    """
    if path == "-":
        return [Item(path)]
    if not path:
        raise InputError("--input: empty; name a file, a folder, or - for standard input")
    place = Path(path)
    if not place.exists():
        raise InputError(f"{path}: no such file or folder")
    files = [path]
    if place.is_dir():
        files = sorted(str(f) for f in place.iterdir() if f.is_file() and not f.name.startswith("."))
        if not files:
            parts = any(f.is_dir() for f in place.iterdir())
            advice = "; a data set of folders is run by `eventsim evaluate --dataset`" if parts else ""
            raise InputError(f"{path}: a folder without files; expected images or .npy arrays{advice}")
    items: list[Item] = []
    batched = 0
    for file in files:
        size = _batch_size(network, file)
        batched += size or 0
        if batched > MAX_BATCH:
            raise InputError(f"{file}: a batch of {size:,} inputs; at most {MAX_BATCH:,} run at a time, so split it")
        items += [Item(file)] if size is None else [Item(file, number) for number in range(size)]
    return items


def _batch_size(network: Network, path: str) -> int | None:
    """How many inputs a file holds if it is a batch; what is wrong with a file shows when it is read."""
    single = _single_shapes(network)
    if single and Path(path).is_file():  # what is read of a pipe is gone
        try:
            with open(path, "rb") as stream:
                if stream.read(6) == MAGIC:
                    stream.seek(0)
                    shape = npy_header(stream, path)[0]
                    if shape not in single and shape[1:] in single and shape[0] > 0:
                        return shape[0]
        except (OSError, InputError):
            pass
    return None


def needed(network: Network) -> list[str]:
    """Populations that a run must be given input for."""
    return [name for name, p in network.populations.items() if p.needs_input]


def _single_shapes(network: Network, population: str | None = None) -> list[tuple[int, ...]]:
    """Shapes of an array that is one input; empty where an array is a list of events."""
    if population is None:
        if network.input is not None:
            shape = network.input.shape
            return [shape, shape[:2]] if shape[2] == 1 else [shape]
        names = needed(network)
        if len(names) != 1:
            return []
        population = names[0]
    target = network.populations[population]
    if target.input_kind in ("events", "recording"):
        return []
    return [target.shape] if len(target.shape) == 1 else [target.shape, (target.size,)]


def read_input(
    network: Network, item: Item, invert: bool = False, crop: bool = False, reading: Reading = _AS_IT_IS
) -> tuple[npt.NDArray[Any] | Mapping[str, Any], list[str]]:
    """Read one input as :meth:`eventsim.Simulator.run` takes it.

    A ``.npy`` array is an image (whole numbers 0..255 in the network's shape), or one of a batch of them; for a network without image
    input it is that of its only population that needs one: currents, Poisson rates, or events, one (time in steps, neuron) a row.
    A ``.csv`` or ``.txt`` file is such a list of events, and so is standard input. An event input takes a recording of any format, and so
    does a network that takes images of one or two channels: as counts of the events of each pixel. Anything else is an image, resized and
    converted to what the network declares.

    Parameters
    ----------
    network : Network
    item : Item
    invert, crop : bool
        See :func:`eventsim.data.images.fit_image`; of images in files.
    reading : Reading
        Of recordings.

    Returns
    -------
    inputs : array or mapping
    remarks : list of str
        What had to be changed (resized, converted, ...).

    Raises
    ------
    InputError
        Unreadable, huge or of the wrong shape; ``reading`` says something, and it is no recording.
    """
    with _open(item) as stream:
        kind = _kind(stream, item)
        if network.input is None:
            names = needed(network)
            if len(names) != 1:
                what = f"inputs for {', '.join(names)}" if names else "no input"
                raise InputError(f"{item}: this network needs {what}; what is for one population is given as POPULATION=FILE")
            if network.populations[names[0]].input_kind != "recording":
                _check_unread(reading, f"{item}: not a recording")
            values, remarks = _values(network, names[0], stream, item, reading)
            return {names[0]: values}, remarks
        if kind == "text":
            raise InputError(f"{item}: a text, but this network takes an image: {_image_files(network.input.shape)}")
        if network.input.shape[2] in frames.CHANNELS and item.number is None and is_recording(stream, item.path):
            if invert or crop:
                raise InputError(f"{item}: recordings are taken as they are; inverting and cropping is for image files")
            try:
                events, remarks = _recorded(network.input.shape, stream, item, reading)
            except InputError as error:
                # Who gives an archive or a trace to such a network rarely means a recording.
                raise InputError(f"{error}; this network takes an image, or a recording whose events are counted") from None
            return frames.accumulated(events, network.input.shape), [*remarks, f"{item}: events of each pixel, counted, are the image"]
        _check_unread(reading, f"{item}: an image")
        if kind == "npy":
            if invert or crop:
                raise InputError(f"{item}: arrays are taken as they are; inverting and cropping is for image files")
            return _array(stream, item, _single_shapes(network)), []
        shape = network.input.shape
        if shape[2] not in (1, 3):
            raise InputError(f"{item}: the network's input has {shape[2]} channels, which no image file has; give a .npy array")
        pixels, decoded = decode_image(stream, str(item))
        try:
            pixels, changes = fit_image(pixels, shape, invert, crop)
        except InputError as error:
            raise InputError(f"{item}: {error}") from None
        return pixels, [f"{item}: {remark}" for remark in (*decoded, *changes)]


def read_by_population(network: Network, files: Mapping[str, str], reading: Reading = _AS_IT_IS) -> tuple[dict[str, Any], list[str]]:
    """Read inputs by population, each from a file of its own: as :func:`read_input`, for networks with several inputs; and remarks.

    Raises
    ------
    InputError
        A population that takes none, or a file that is unreadable, huge or of the wrong shape.
    """
    given: dict[str, Any] = {}
    remarks: list[str] = []
    for name, path in files.items():
        population = network.populations.get(name)
        if population is None or population.input_kind is None:
            raise InputError(f"{name}={path}: {name!r} is no population that takes an input")
        item = Item(path)
        with _open(item) as stream:
            given[name], noted = _values(network, name, stream, item, reading)
        remarks += noted
    if not any(network.populations[name].input_kind == "recording" for name in files):
        _check_unread(reading, "no input is a recording")
    return given, remarks


def _image_files(shape: tuple[int, ...]) -> str:
    """What an image may come in, for a network that takes one of a shape."""
    return f"give an image file, or a .npy array of shape {shape}"


def _check_unread(reading: Reading, what: str) -> None:
    """Refuse to pass over how recordings are to be read, where there is none."""
    if reading != _AS_IT_IS:
        raise InputError(f"{what}; windows of time, hot pixels, columns and downsampling (--window and the like) are for recordings")


@contextmanager
def _open(item: Item) -> Iterator[IO[bytes]]:
    """The input, seekable."""
    try:
        if item.path != "-":
            with open(item.path, "rb") as stream:
                if stream.seekable():
                    yield stream
                    return
                data = stream.read(MAX_STDIN_BYTES + 1)
        else:
            data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    except OSError as error:
        raise InputError(f"{item}: cannot be read ({error.strerror or error})") from None
    if len(data) > MAX_STDIN_BYTES:
        raise InputError(f"{item}: more than {MAX_STDIN_BYTES} bytes")
    if not data:
        raise InputError(f"{item}: empty; pipe an image or a .npy array into it")
    yield io.BytesIO(data)


def _kind(stream: IO[bytes], item: Item) -> str:
    head = stream.read(len(NETWORK))
    stream.seek(0)
    if head == NETWORK.encode():
        raise InputError(f"{item}: a network file; expected what the network runs on")
    head = head[:6]
    if head == MAGIC:
        return "npy"
    if head == HDF5_SIGNATURE[: len(head)] and head:
        return "hdf5"
    return "text" if item.path.lower().endswith((".csv", ".txt")) else "image"


def _array(stream: IO[bytes], item: Item, single: Sequence[tuple[int, ...]]) -> npt.NDArray[Any]:
    """The item's array, which must have one of the shapes; nothing else is read of the file."""
    shape, dtype, fortran = npy_header(stream, str(item))
    batch = item.number is not None
    if (shape[1:] if batch else shape) not in single:
        if not batch and shape[1:] in single and shape[0]:
            raise InputError(f"{item}: a batch of {shape[0]:,} inputs, where one is expected")
        expected = " or ".join(str(s) for s in single)
        channels_first = any(len(s) == 3 and shape[-3:] == (s[2], s[0], s[1]) for s in single)
        advice = "; channels come last: numpy.moveaxis(array, -3, -1)" if channels_first else ""
        raise InputError(f"{item}: expected an array of shape {expected} (or a batch of them), found {dtype} {shape}{advice}")
    if batch and not 0 <= item.number < shape[0]:  # type: ignore[operator]
        raise InputError(f"{item}: the array has {shape[0]} inputs")
    start = stream.tell()
    if not batch:
        return read_elements(stream, start, dtype, int(np.prod(shape)), item).reshape(shape, order="F" if fortran else "C")
    rest = shape[1:]
    size = int(np.prod(rest))
    if not fortran:
        return read_elements(stream, start + item.number * size * dtype.itemsize, dtype, size, item).reshape(rest)  # type: ignore[operator]
    # The inputs lie between one another: mapped, only the pages needed are read.
    stream.seek(0)
    return np.array(np.load(item.path, mmap_mode="r", allow_pickle=False)[item.number])


def _recorded(shape: tuple[int, ...], stream: IO[bytes], item: Item, reading: Reading) -> tuple[npt.NDArray[Any], list[str]]:
    """Events of a recording for pixels of a shape, and what was done to them."""
    events, remarks = fit_recording(read_recording(stream, str(item), reading.fields), shape, reading)
    return events, [f"{item}: {remark}" for remark in remarks]


def _values(network: Network, name: str, stream: IO[bytes], item: Item, reading: Reading) -> tuple[Any, list[str]]:
    """What a population takes, from a file, and what was done to it."""
    population = network.populations[name]
    if population.input_kind == "recording":
        return _recorded(population.shape, stream, item, reading)
    return _numbers(network, name, stream, item), []


def _numbers(network: Network, name: str, stream: IO[bytes], item: Item) -> Any:
    """Currents, rates or events, from a file."""
    population = network.populations[name]
    single = _single_shapes(network, name)
    kind = _kind(stream, item)
    if single:
        if kind != "npy":
            raise InputError(f"{item}: {name} takes {population.input_kind}; give a .npy array of shape {population.shape}")
        return _array(stream, item, single)
    if kind == "npy":
        shape, dtype, fortran = npy_header(stream, str(item))
        if len(shape) != 2 or shape[1] != 2 or dtype.kind not in "iuf" or shape[0] > MAX_EVENTS:
            expected = f"an array (at most {MAX_EVENTS:,}, 2) of (time in steps, neuron)"
            raise InputError(f"{item}: events must be {expected}, found {dtype} {shape}")
        rows = read_elements(stream, stream.tell(), dtype, int(np.prod(shape)), item).reshape(shape, order="F" if fortran else "C")
    elif kind == "hdf5":
        return read_sonata(stream, str(item), name)
    elif kind == "text" or item.is_piped:
        rows = _text_events(stream, item)
    else:
        raise InputError(f"{item}: {name} takes events; give a .npy array (events, 2), or {_EVENT_ROW} a line, as .csv or .txt")
    neurons = rows[:, 1].astype(np.float64)
    if not np.isfinite(neurons).all() or np.any(neurons != np.floor(neurons)) or np.any(np.abs(neurons) >= 2**53):
        raise InputError(f"{item}: the second column must be whole neuron numbers")
    return rows[:, 0], neurons.astype(np.int64)


def _text_events(stream: IO[bytes], item: Item) -> npt.NDArray[np.float64]:
    """Rows of time in steps, neuron, parted by a comma, semicolon or space; a first row of two words is passed over."""
    values = array("d")
    for line in itertools.count(1):
        row = stream.readline(_MAX_LINE)
        if not row:
            break
        try:
            cells = re.split(r"\s*[,;\s]\s*", row.decode("utf-8-sig" if line == 1 else "utf-8").strip())
        except UnicodeDecodeError:
            raise InputError(f"{item}: line {line}: not a text in UTF-8; expected {_EVENT_ROW}") from None
        if cells == [""]:
            continue
        numbers = [_number(cell) for cell in cells]
        if line == 1 and numbers == [None, None]:
            continue
        if len(numbers) != 2 or None in numbers or len(row) == _MAX_LINE:
            raise InputError(f"{item}: line {line}: expected {_EVENT_ROW}, found {','.join(cells)[:80]!a}")
        values.extend(numbers)  # type: ignore[arg-type]
        if len(values) > 2 * MAX_EVENTS:
            raise InputError(f"{item}: more than {MAX_EVENTS:,} events")
    return np.frombuffer(values).reshape(-1, 2) if values else np.zeros((0, 2))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
