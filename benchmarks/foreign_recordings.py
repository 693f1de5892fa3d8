"""Recordings of real cameras, read here and by other libraries: whether the events are the same.

    python benchmarks/foreign_recordings.py sample.aedat4 evt3_sample.raw sample_nmnist.bin ...

Libraries that are not installed, and those that do not read a file, are left out: dv_processing (AEDAT 4), faery (AEDAT 4, EVT, DAT),
expelliarmus (EVT, DAT), evlib (EVT), tonic (N-MNIST; AEDAT 2: events of a DAVIS, which it counts from a corner of a DAVIS346 and so are
moved to this camera's, and the addresses of a DVS128).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from endings import ends_in_a_line

from eventsim.data.recordings.reading import read_recording

Columns = tuple[Any, Any, Any, Any]


def by_dv_processing(path: str) -> Columns:
    reader, parts = import_module("dv_processing").io.MonoCameraRecording(path), []
    while (batch := reader.getNextEventBatch()) is not None:
        parts.append(batch.numpy())
    events = np.concatenate(parts)
    return events["x"], events["y"], events["timestamp"], events["polarity"]


def by_faery(path: str) -> Columns:
    events = np.concatenate(list(import_module("faery").events_stream_from_file(path)))
    return events["x"], events["y"], events["t"], events["on"]


def by_expelliarmus(path: str) -> Columns:
    encoding = "dat" if path.endswith(".dat") else "evt3" if b"evt 3" in Path(path).read_bytes()[:1000].lower() else "evt2"
    events = import_module("expelliarmus").Wizard(encoding=encoding).read(path)
    return events["x"], events["y"], events["t"], events["p"]


def by_evlib(path: str) -> Columns:
    table = import_module("evlib").load_events(path).collect()
    x, y, t, p = (table[name].to_numpy() for name in ("x", "y", "t", "polarity"))
    return x, y, t.astype("timedelta64[us]").astype(np.int64), p > 0


def by_tonic(path: str) -> Columns:
    if path.endswith(".aedat"):
        return by_tonic_aedat2(path)
    events = import_module("tonic.io").read_mnist_file(path, np.dtype([(name, int) for name in "xytp"]))
    return events["x"], events["y"], events["t"], events["p"]


def by_tonic_aedat2(path: str) -> Columns:
    io = import_module("tonic.io")
    version, start, _ = io.read_aedat_header_from_file(path)
    words = io.get_aer_events_from_file(path, version, start)
    address, t = words["address"].astype(np.int64), words["timeStamp"].astype(np.int64)
    if b"retina.DVS128" in Path(path).read_bytes()[:start]:
        events = address < 2**15
        address = address[events]
        return 127 - (address >> 1 & 127), 127 - (address >> 8 & 127), t[events], 1 - (address & 1)
    _, _, davis = io.read_davis_346(path)
    events = address & 0x80000400 == 0
    davis = davis[events]
    x, y = davis["x"].astype(np.int64), davis["y"].astype(np.int64)
    return x - x.min(), y - y.min(), davis["t"], davis["p"]


READERS: dict[str, tuple[Callable[[str], Columns], tuple[str, ...]]] = {
    "dv_processing": (by_dv_processing, (".aedat4",)),
    "faery": (by_faery, (".aedat4", ".raw", ".dat")),
    "expelliarmus": (by_expelliarmus, (".raw", ".dat")),
    "evlib": (by_evlib, (".raw",)),
    "tonic": (by_tonic, (".bin", ".aedat")),
}


@ends_in_a_line("interrupted")
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+")
    print("| recording | read by | events | x, y, t, p that differ |\n|---|---|--:|---|")
    for path in parser.parse_args().recordings:
        with open(path, "rb") as file:
            mine = read_recording(file, path).events
        print(f"| {Path(path).name} | eventsim | {len(mine):,} | |", flush=True)
        for name, (read, suffixes) in READERS.items():
            if Path(path).suffix not in suffixes:
                continue
            try:
                theirs = [np.asarray(column).astype(np.int64) for column in read(path)]
            except Exception as error:  # of any library, whatever it raises
                print(f"| {Path(path).name} | {name} | - | {type(error).__name__}: {' '.join(str(error).split())[:80]} |")
                continue
            same = len(theirs[0]) == len(mine)
            differ = ", ".join(f"{np.sum(a != mine[f]):,}" for a, f in zip(theirs, "xytp", strict=True)) if same else "their number"
            print(f"| {Path(path).name} | {name} | {len(theirs[0]):,} | {differ} |", flush=True)


if __name__ == "__main__":
    main()
