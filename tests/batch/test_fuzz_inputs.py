"""Damaged images, arrays and lists of events: every one is read, or refused in one line."""

from __future__ import annotations

import io
import warnings
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

import eventsim as es
from eventsim.batch.inputs import find_inputs, read_input
from eventsim.data.image_sets import read_image
from eventsim.files.printable import printable
from eventsim.job.preparation import prepare

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "EPS", "TGA")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "F")
ARRAYS = (
    np.zeros((6, 5, 1), np.uint8), np.zeros((2, 6, 5, 3), np.uint8), np.zeros((6, 5), np.float32), np.array([[0.5, 3], [1, 2]]),
    np.arange(6), np.asfortranarray(np.zeros((3, 6, 5), np.int16)), np.zeros((1, 2, 3)), np.zeros((0, 2)), np.zeros((6, 5), ">u2"),
    np.array(3), np.zeros((6, 5), "S3"), np.zeros((6, 5), "M8[s]"), np.zeros(6, "i4,f8"), np.zeros((6, 5), complex), np.zeros((6, 5), bool),
    np.zeros((6, 5), np.float16), np.zeros((6, 5), np.longdouble), np.zeros(6, "V0"), np.zeros((6, 5), "U2"),
)  # fmt: skip
LISTS = (b"time,neuron\n0.5,1\n1.5,2\n", b"\xef\xbb\xbf0.5;1\r\n\r\n2 3\n", b"1e3\t5\n", b"1,2\n" * 30)
PIECES = st.sampled_from([b"", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"99999", b"\n", b"-1", b"nan"])
# Where, how many bytes go, what comes: at the front more often, where headers are.
CHANGES = st.lists(
    st.tuples(st.integers(0, 200) | st.integers(0, 5000), st.integers(0, 8) | st.just(10**6), st.binary(max_size=4) | PIECES), max_size=5
)


@cache
def originals(kind):
    if kind == "text":
        return LISTS
    found = []
    for array in ARRAYS if kind == "array" else ():
        stream = io.BytesIO()
        np.save(stream, array)
        found.append(stream.getvalue())
    grey = np.random.default_rng(0).integers(0, 256, (7, 9), dtype=np.uint8)
    for form in FORMATS if kind == "image" else ():
        for mode in MODES:
            wide = mode in ("I", "I;16", "F")
            image = Image.fromarray(grey.astype(np.uint16) * 257 if mode == "I;16" else grey)
            image = image if mode == "I;16" else image.convert(mode) if wide else image.convert("RGB").convert(mode)
            for options in ({}, {"save_all": True, "append_images": [image]}, {"compression": "tiff_lzw"}, {"transparency": 3}):
                stream = io.BytesIO()
                try:
                    image.save(stream, form, **options)
                except (OSError, KeyError, TypeError, ValueError):
                    continue  # no such kind of file
                found.append(stream.getvalue())
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "b" * 1000, zip=True)
    if kind == "image":
        stream = io.BytesIO()
        Image.fromarray(grey).save(
            stream, "PNG", pnginfo=text, icc_profile=b"profile", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"
        )
        found.append(stream.getvalue())
    return tuple(dict.fromkeys(found))


@cache
def networks():
    found = []
    for channels in (1, 2, 3):
        net = es.Network()
        net.image_input((6, 5, channels))
        net.driven("in", 3, 10, encoder=es.Dense(np.ones((30 * channels, 3), int)))
        found.append(net)
    for fill in (lambda n: n.source("in", 6), lambda n: n.driven("in", 6, 5), lambda n: n.source("in", (1, 2, 3), "poisson")):
        net = es.Network()
        fill(net)
        found.append(net)
    return found


def changed(data, changes):
    for start, gone, come in changes:
        start = min(start, len(data))
        data = data[:start] + come + data[start + gone :]
    return data


def said(error):
    assert 0 < len(str(error)) < 500


def read_or_refuse(path):
    with warnings.catch_warnings():
        # A warning would be a second line.
        warnings.simplefilter("error")
        for net in networks():
            try:
                for item in find_inputs(net, str(path))[:2]:
                    values, remarks = read_input(net, item)
                    assert all(printable(remark) for remark in remarks)
                    prepare(net, values, steps=2, resolution=4)
            except es.EventsimError as error:
                said(error)
        try:
            pixels = read_image(path)
        except es.DatasetError as error:
            said(error)
        else:
            assert pixels.dtype == np.uint8
            assert pixels.shape[2] in (1, 3)


def fuzz(kind, path, examples):
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(originals(kind)), CHANGES)
    def each(original, changes):
        path.write_bytes(changed(original, changes))
        read_or_refuse(path)

    each()


KINDS = pytest.mark.parametrize(("kind", "name"), [("image", "x.png"), ("array", "x.npy"), ("text", "x.csv")])


@KINDS
def test_whatever_is_damaged_is_refused(tmp_path, kind, name):
    for original in originals(kind):
        (tmp_path / name).write_bytes(original)
        read_or_refuse(tmp_path / name)
    fuzz(kind, tmp_path / name, 100)


@pytest.mark.exhaustive
@KINDS
def test_whatever_is_damaged_is_refused_thousands_of_times(tmp_path, kind, name):
    fuzz(kind, tmp_path / name, 3000)
