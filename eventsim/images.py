"""Read what a network is to see: images of any kind that Pillow opens, NumPy arrays, standard input, folders of them."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from eventsim.errors import InputError
from eventsim.network import Driven, Network, Source

# Pillow warns from 89 Mpixel on; nothing that a network sees is near that size.
MAX_PIXELS = 64_000_000
MAX_STDIN_BYTES = 256 * 2**20


def find_inputs(path: str) -> list[str]:
    """The inputs that a path names: itself, or all files of a folder (hidden ones left out), sorted.

    Raises
    ------
    InputError
        Nothing is there, or the folder is empty.
    """
    if path == "-":
        return [path]
    place = Path(path)
    if not place.exists():
        raise InputError(f"{path}: no such file or folder")
    if not place.is_dir():
        return [path]
    files = sorted(str(f) for f in place.iterdir() if f.is_file() and not f.name.startswith("."))
    if not files:
        raise InputError(f"{path}: a folder without files; expected images or .npy arrays")
    return files


def read_input(network: Network, path: str) -> tuple[npt.NDArray[Any] | Mapping[str, Any], list[str]]:
    """Read one input as :meth:`eventsim.Simulator.run` takes it.

    A ``.npy`` array is an image (whole numbers 0..255 in the network's shape); for a network without image input it holds the
    currents of its only driven population, or the events of its only source of events, one (time in steps, neuron) a row.
    Anything else is an image for Pillow, resized and converted to what the network declares.

    Parameters
    ----------
    network : Network
    path : str
        A file, or ``"-"`` for standard input.

    Returns
    -------
    inputs : array or mapping
    remarks : list of str
        What had to be changed (resized, converted, ...).

    Raises
    ------
    InputError
        Unreadable, huge or of the wrong shape.
    """
    stream: IO[bytes]
    name = "standard input" if path == "-" else path
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
            if len(data) > MAX_STDIN_BYTES:
                raise InputError(f"standard input: more than {MAX_STDIN_BYTES} bytes")
            if not data:
                raise InputError("standard input: empty; pipe an image or a .npy array into it")
            stream = io.BytesIO(data)
        else:
            stream = open(path, "rb")  # noqa: SIM115
        with stream:
            head = stream.read(6)
            stream.seek(0)
            if head == b"\x93NUMPY":
                return _array_input(network, _read_npy(stream, name), name), []
            return _read_image(network, stream, name)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error})") from error


def _read_npy(stream: IO[bytes], name: str) -> npt.NDArray[Any]:
    try:
        major, _ = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(stream)
        start = stream.tell()
        available = stream.seek(0, os.SEEK_END) - start
        declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if dtype.hasobject or declared > available:
            raise InputError(f"{name}: a damaged array (declares {dtype} {shape}, holds {available} bytes)")
        stream.seek(0)
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    except (ValueError, TypeError, SyntaxError, EOFError, OverflowError, MemoryError) as error:
        raise InputError(f"{name}: not a readable .npy array ({error})") from None


def _array_input(network: Network, array: npt.NDArray[Any], name: str) -> npt.NDArray[Any] | Mapping[str, Any]:
    if network.input is not None:
        return array
    driven = [p for p, q in network.populations.items() if isinstance(q, Driven)]
    events = [p for p, q in network.populations.items() if isinstance(q, Source) and q.emits == "events"]
    if len(driven) == 1 and not events:
        return {driven[0]: array}
    if len(events) == 1 and not driven:
        if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iuf":
            raise InputError(f"{name}: events must be an array (events, 2) of (time in steps, neuron), found {array.dtype} {array.shape}")
        neurons = array[:, 1]
        if np.any(neurons != np.floor(neurons)):
            raise InputError(f"{name}: the second column must be whole neuron numbers")
        return {events[0]: (array[:, 0], neurons.astype(np.int64))}
    raise InputError(f"{name}: this network has several inputs or none; run it from Python, with its inputs by population")


def _read_image(network: Network, stream: IO[bytes], name: str) -> tuple[npt.NDArray[np.uint8], list[str]]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    spec = network.input
    if spec is None:
        raise InputError(f"{name}: this network takes no image; give a .npy array")
    height, width, channels = spec.shape
    if channels not in (1, 3):
        raise InputError(f"{name}: the network's input has {channels} channels, which no image file has; give a .npy array")
    mode = "L" if channels == 1 else "RGB"
    remarks = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(stream)
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if getattr(image, "n_frames", 1) > 1:
                remarks.append(f"{name}: took the first of {image.n_frames} frames")  # type: ignore[attr-defined]
            image.load()
            image = ImageOps.exif_transpose(image)
    except Image.DecompressionBombError:
        raise InputError(f"{name}: more than {MAX_PIXELS // 10**6} million pixels; resize it first") from None
    except UnidentifiedImageError:
        raise InputError(f"{name}: not an image that can be read; expected PNG, JPEG or another kind that Pillow opens, or .npy") from None
    except InputError:
        raise
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise InputError(f"{name}: a damaged image ({error})") from None
    if image.mode != mode:
        remarks.append(f"{name}: converted from {image.mode} to {mode}")
        if image.mode.startswith("I;16"):
            # Pillow would clip 16-bit greys at 255.
            image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            # Transparent pixels have arbitrary colours; show them on black, the background of most data sets.
            rgba = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
        image = image.convert(mode)
    if image.size != (width, height):
        remarks.append(f"{name}: resized from {image.width}x{image.height} to {width}x{height}")
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8).reshape(spec.shape), remarks


def fit_image(pixels: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """An image in a network's input shape, and what had to be changed.

    Parameters
    ----------
    pixels : uint8 (height, width, channels), 1 or 3 channels
    shape : (height, width, channels)

    Raises
    ------
    InputError
        The network's input has a number of channels that no image has.
    """
    from PIL import Image

    if pixels.shape == shape:
        return pixels, []
    height, width, channels = shape
    if channels not in (1, 3):
        raise InputError(f"the network's input has {channels} channels, the images have {pixels.shape[2]}")
    changes = []
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if pixels.shape[2] != channels:
        changes.append("converted to grey" if channels == 1 else "converted to RGB")
        image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        changes.append(f"resized to {width}x{height}")
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8).reshape(shape), changes
