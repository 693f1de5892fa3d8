"""Spikes in the SONATA layout, as other simulators and our own traces write them."""

from __future__ import annotations

from typing import IO

import h5py
import numpy as np
import numpy.typing as npt

from eventsim.data.recordings.events import MAX_BYTES
from eventsim.data.recordings.hdf5 import Paths
from eventsim.errors import InputError
from eventsim.files.hdf5_heaps import heaps_end

# Milliseconds of what a file may call the unit of its times; a step is one.
_UNITS = {"": 1.0, "ms": 1.0, "milliseconds": 1.0, "s": 1000.0, "seconds": 1000.0}


def read_sonata(stream: IO[bytes], name: str, population: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Times in milliseconds and neurons of a population: the one of this name, or the only one. Its spikes have no signs, or are positive.

    Raises
    ------
    InputError
    """
    if stream.seek(0, 2) > MAX_BYTES:
        raise InputError(f"{name}: more than {MAX_BYTES:,} bytes; cut it")
    stream.seek(0)
    # Units may be texts, which the library reads from a heap.
    if not heaps_end(stream.read()):
        raise InputError(f"{name}: not a readable HDF5 file (texts without an end)")
    try:
        with h5py.File(stream, "r") as file:
            spikes = file.get("spikes")
            names = [str(key) for key in spikes] if isinstance(spikes, h5py.Group) else []
            chosen = population if population in names else names[0] if len(names) == 1 else None
            if chosen is None:
                raise InputError(f"{name}: spikes of {', '.join(names)[:200] or 'no population'} (SONATA); expected those of {population}")
            there = Paths(file, name, stream.seek(0, 2))
            columns = {key: f"spikes/{chosen}/{key}" for key in ("timestamps", "node_ids")}
            if not all(path in there for path in columns.values()):
                raise InputError(f"{name}: spikes/{chosen}: no timestamps and node_ids; a damaged file, or none of SONATA")
            times, neurons = (there.read(path) for path in columns.values())
            signs = there.read(path) if (path := f"spikes/{chosen}/signs") in there else np.zeros(0, np.int8)
            unit = str(np.bytes_(file[columns["timestamps"]].attrs.get("units", b"")).decode(errors="replace"))
    except InputError:
        raise
    except Exception as error:  # whatever h5py finds wrong with a damaged file
        raise InputError(f"{name}: not a readable HDF5 file ({' '.join(str(error).split())[:200]})") from None
    if unit not in _UNITS or times.dtype.kind not in "fiu" or neurons.dtype.kind not in "iu" or times.shape != neurons.shape:
        raise InputError(f"{name}: times {times.dtype} in {unit[:20]!a}, neurons {neurons.dtype}; expected as many numbers, in ms")
    if signs.dtype.kind in "if" and (taken_back := int(np.count_nonzero(signs < 0))):
        raise InputError(
            f"{name}: {taken_back:,} of {len(neurons):,} spikes of {chosen} take one back (a sign of -1), which those of a source cannot; "
            "give spikes of neurons that are not signed"
        )
    if len(neurons) and int(neurons.max()) >= 2**62:
        raise InputError(f"{name}: neurons up to {neurons.max()}; a damaged file")
    return times.astype(np.float64) * _UNITS[unit], neurons.astype(np.int64)
