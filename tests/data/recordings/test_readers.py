"""Recordings in their formats, written by loops here and read by the readers; what is damaged, cut short or out of order."""

from __future__ import annotations

import io
import zipfile

import h5py
import numpy as np
import pytest
from judges.recordings import WRITERS, random_events

from eventsim.data.recordings.events import EVENT
from eventsim.data.recordings.fields import Fields
from eventsim.data.recordings.reading import is_recording, read_recording
from eventsim.errors import InputError


def read(data, name, **fields):
    return read_recording(io.BytesIO(data), name, Fields(**fields))


@pytest.mark.parametrize("form", WRITERS)
def test_what_is_written_is_read(form):
    events = random_events(np.random.default_rng(1), 500)
    suffix, write = WRITERS[form]
    data = write(events)
    found = read(data, f"rec{suffix}")
    assert found.events.dtype == EVENT
    for field in ("x", "y", "p"):
        assert np.array_equal(found.events[field], events[field]), field
    assert np.array_equal(found.events["t"] - found.events["t"][0], events["t"] - events["t"][0])
    assert is_recording(io.BytesIO(data), f"rec{suffix}")


@pytest.mark.parametrize("form", WRITERS)
def test_what_goes_back_in_time_is_an_error(form):
    events = random_events(np.random.default_rng(2), 50)
    events["t"][20] = events["t"][40] + 100
    suffix, write = WRITERS[form]
    with pytest.raises(InputError, match=f"rec{suffix}: not in the order of time: event"):
        read(write(events), f"rec{suffix}")


@pytest.mark.parametrize("form", WRITERS)
def test_what_is_cut_short_is_an_error(form):
    suffix, write = WRITERS[form]
    data = write(random_events(np.random.default_rng(3), 200))
    for length in (len(data) - 1, len(data) - 3):
        with pytest.raises(InputError) as caught:
            read(data[:length], f"rec{suffix}")
        assert "\n" not in str(caught.value)


def test_the_counter_of_a_bin_file_overflows():
    # x, y, then polarity and time; a row 240 adds 2^13 us to all that follow.
    data = bytes([1, 2, 0x80, 0, 5, 0, 240, 0, 0, 6, 3, 4, 0, 0, 7])
    found = read(data, "a.bin").events
    assert found.tolist() == [(1, 2, 5, 1), (3, 4, 2**13 + 7, 0)]


@pytest.mark.parametrize(
    ("t", "unit", "expected"),
    [
        (np.array([0.0, 0.0015]), None, [0, 1500]),
        (np.array([1, 2]), None, [1, 2]),
        (np.array([1, 2]), "ms", [1000, 2000]),
        (np.array([1000, 2600], "u8"), "ns", [1, 3]),
        (np.array([0.5, 2.25]), "ms", [500, 2250]),
        # Ties to even, and more digits than floating-point numbers have.
        (np.array([1500, 2500, 3501]), "ns", [2, 2, 4]),
        (np.array([1600000000123456501, 1600000000123457499]), "ns", [1600000000123457, 1600000000123457]),
    ],
)
def test_units_of_time(t, unit, expected):
    file = io.BytesIO()
    np.savez(file, x=np.ones(len(t), int), y=np.ones(len(t), int), t=t, p=np.ones(len(t), int))
    assert read(file.getvalue(), "a.npz", unit=unit).events["t"].tolist() == expected


def test_columns_under_other_names():
    file = io.BytesIO()
    np.save(file, np.array([[7, 1, 3, 4], [9, 0, 5, 6]], float))
    with pytest.raises(InputError, match="4 columns without names"):
        read(file.getvalue(), "a.npy")
    named = {"t": "0", "p": "1", "x": "2", "y": "3"}
    assert read(file.getvalue(), "a.npy", names=named, unit="us").events.tolist() == [(3, 4, 7, 1), (5, 6, 9, 0)]
    file = io.BytesIO()
    with h5py.File(file, "w") as hdf5:
        for name, values in {"cam/col": [1, 2], "cam/row": [3, 4], "cam/when": [5, 6], "cam/on": [True, False]}.items():
            hdf5[name] = np.array(values)
    with pytest.raises(InputError, match="no columns x, y, t, p in it; it has cam; name them"):
        read(file.getvalue(), "a.h5")
    fields = Fields.parsed("x=cam/col,y=cam/row,t=cam/when,p=cam/on")
    assert read(file.getvalue(), "a.h5", names=fields.names).events.tolist() == [(1, 3, 5, 1), (2, 4, 6, 0)]


@pytest.mark.parametrize("text", ["x", "x=", "z=1", "x=1,x=2", "=,"])
def test_fields_that_are_none(text):
    with pytest.raises(InputError, match="expected x=NAME"):
        Fields.parsed(text)


def test_layouts_of_hdf5_files():
    events = random_events(np.random.default_rng(4), 20)
    for place in ("events", "CD/events", "data/0"):
        file = io.BytesIO()
        with h5py.File(file, "w") as hdf5:
            hdf5[place] = events
        assert np.array_equal(read(file.getvalue(), "a.h5").events["t"], events["t"])
    for group in ("", "events/"):
        for names in ("x y t p", "xs ys ts ps"):
            file = io.BytesIO()
            with h5py.File(file, "w") as hdf5:
                for name, field in zip(names.split(), "xytp", strict=True):
                    hdf5[group + name] = events[field]
            assert np.array_equal(read(file.getvalue(), "a.h5").events["y"], events["y"])


def test_what_lies_elsewhere_or_is_declared_only_is_refused():
    events = random_events(np.random.default_rng(5), 20)
    for kind in ("link", "huge"):
        file = io.BytesIO()
        with h5py.File(file, "w") as hdf5:
            for field in "xyt":
                hdf5[field] = events[field]
            if kind == "link":
                hdf5["p"] = h5py.ExternalLink("other.h5", "/p")
            else:
                hdf5.create_dataset("p", (2**26,), "i1", chunks=(2**16,))
        with pytest.raises(InputError, match=r"leads elsewhere|declares more than it holds"):
            read(file.getvalue(), "a.h5")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"x": [1, 70000]}, r"x = 1\.\.70000"),
        ({"p": [0, 2]}, r"polarities 0\.\.2"),
        ({"p": [0]}, "columns of several lengths"),
        ({"t": [float("nan"), 1]}, "no numbers"),
        ({"x": [0.5, 1]}, "x must be whole numbers"),
        ({"t": [1, 2**62]}, "thousands of years"),
    ],
)
def test_columns_that_make_no_sense(columns, words):
    file = io.BytesIO()
    np.savez(file, **{"x": [1, 2], "y": [1, 2], "t": [1, 2], "p": [0, 1]} | columns)
    with pytest.raises(InputError, match=words):
        read(file.getvalue(), "a.npz")


def test_what_is_no_recording():
    for data, name in ((b"", "a.dat"), (b"hello", "a.txt"), (b"", "a.bin")):
        with pytest.raises(InputError):
            read(data, name)
    file = io.BytesIO()
    np.save(file, np.zeros((3, 4)))
    assert not is_recording(file, "a.npy")
    assert not is_recording(io.BytesIO(b"\x89PNG"), "a.png")


@pytest.mark.parametrize("shape", [(0, 2**70), (0, 2**62), (0, 1001)])
def test_a_table_of_nothing_in_too_many_columns(shape):
    file = io.BytesIO()
    np.save(file, np.zeros((0, 4)))
    data = file.getvalue().replace(b"(0, 4)", str(shape).encode())
    # The header is as long as it was.
    data = data.replace(b" " * (len(str(shape)) - 6) + b"\n", b"\n", 1)
    with pytest.raises(InputError, match=f"a table of {shape[1]} columns"):
        read(data, "a.npy")


def test_a_damaged_archive_of_any_kind_is_an_error_in_a_line():
    events, stored = random_events(np.random.default_rng(1), 2000), io.BytesIO()
    np.save(stored, events)
    for kind in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", kind) as file:
            file.writestr("events.npy", stored.getvalue())
        data = bytearray(archive.getvalue())
        data[100] ^= 0xFF
        with pytest.raises(InputError, match=r"not a readable|a damaged|cut short"):
            read(bytes(data), "a.npz")
