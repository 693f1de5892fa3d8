"""Inputs of every kind become the integers that the network declares."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

import eventsim as es
from eventsim.batch.inputs import Item, find_inputs
from eventsim.batch.inputs import read_input as read_item
from eventsim.data.images import decode_image, fit_image


def read_input(network, path, **options):
    return read_item(network, Item(path), **options)


def network(shape, **options):
    net = es.Network()
    net.image_input(shape, **options)
    net.driven("in", 3, 10, encoder=es.Dense(np.ones((int(np.prod(shape)), 3), int)))
    return net


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA", "I;16", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_modes(tmp_path, mode, channels):
    grey = np.random.default_rng(0).integers(0, 2, (6, 5)).astype(np.uint8) * 255
    image = Image.fromarray(grey)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode != "L":
        image = image.convert(mode)
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image.save(path)
    pixels, remarks = read_input(network((6, 5, channels)), str(path))
    assert pixels.shape == (6, 5, channels)
    assert pixels.dtype == np.uint8
    for channel in range(channels):
        assert np.array_equal(pixels[..., channel], grey)
    assert bool(remarks) == (mode != ("L" if channels == 1 else "RGB"))
    assert all(remark.split(" to ")[-1] in ("grey", "RGB") for remark in remarks if "converted" in remark)


def test_transparent_pixels_are_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    pixels, remarks = read_input(network((4, 4, 3)), str(tmp_path / "clear.png"))
    assert np.all(pixels == 255)
    assert "transparent parts shown on white" in remarks[0]


def test_orientation_of_photographs(tmp_path):
    image = Image.new("RGB", (4, 2))
    image.putpixel((0, 0), (255, 255, 255))
    exif = image.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    pixels, remarks = read_input(network((4, 2, 3)), str(tmp_path / "turned.png"))
    assert pixels[0, 1].tolist() == [255, 255, 255]
    assert remarks == []


def test_animations_give_their_first_frame(tmp_path):
    frames = [Image.new("L", (3, 3), value) for value in (10, 200)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    pixels, remarks = read_input(network((3, 3, 1)), str(tmp_path / "moving.gif"))
    assert np.all(pixels == 10)
    assert "first of 2 frames" in remarks[0]


def test_scale_and_offset_are_folded():
    net = network((2, 2, 3), scale=[2, 3, 4], offset=[10, 20, 30])
    image = np.arange(10, 22, dtype=np.uint8).reshape(2, 2, 3)
    result = es.run(net, image, steps=1, resolution=10_000)
    expected = int((image.astype(int) * [2, 3, 4] - [10, 20, 30]).sum())
    # The threshold is 10, v0 is 0: in one step of 10 * n ticks a neuron fires floor(current / 10) times.
    assert expected == (10 + 13 + 16 + 19) * 2 + (11 + 14 + 17 + 20) * 3 + (12 + 15 + 18 + 21) * 4 - 4 * 60
    assert result.spike_counts("in").tolist() == [expected // 10] * 3


def test_other_channel_numbers_need_arrays(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "x.png")
    with pytest.raises(es.InputError, match="5 channels"):
        read_input(network((2, 2, 5)), str(tmp_path / "x.png"))
    np.save(tmp_path / "x.npy", np.zeros((2, 2, 5), np.uint8))
    assert read_input(network((2, 2, 5)), str(tmp_path / "x.npy"))[0].shape == (2, 2, 5)


def test_arrays_for_networks_without_image(tmp_path):
    net = es.Network()
    net.source("camera", (2, 2, 2))
    np.save(tmp_path / "events.npy", np.array([[0.5, 7], [1.25, 0]]))
    given, _ = read_input(net, str(tmp_path / "events.npy"))
    result = es.run(net, given, steps=2, resolution=4)
    assert result.spikes("camera").ticks.tolist() == [2, 5]
    assert result.spikes("camera").neurons.tolist() == [7, 0]
    np.save(tmp_path / "events.npy", np.array([[0.5, 7.5]]))
    with pytest.raises(es.InputError, match="whole neuron"):
        read_input(net, str(tmp_path / "events.npy"))
    currents = es.Network()
    currents.driven("in", 3, 5)
    np.save(tmp_path / "currents.npy", np.array([5, 0, 10]))
    given, _ = read_input(currents, str(tmp_path / "currents.npy"))
    assert es.run(currents, given, steps=4, resolution=1).spike_counts("in").tolist() == [4, 0, 4]


def save(path, values):
    Image.fromarray(values).save(path)
    return str(path)


def ramp(low, high, dtype):
    return np.linspace(low, high, 16).reshape(4, 4).astype(dtype)


@pytest.mark.parametrize(
    ("values", "expected", "words"),
    [
        (ramp(0, 1, np.float32), np.rint(ramp(0, 1, np.float32) * 255), "greys 0..1 multiplied by 255"),
        (ramp(0, 255, np.float32), np.rint(ramp(0, 255, np.float32)), "greys 0..255 rounded"),
        (ramp(0, 255, np.int32), ramp(0, 255, np.int32), "none above 255, taken as they are"),
        (ramp(0, 65535, np.int32), ramp(0, 65535, np.int32) // 257, "divided by 257"),
        (ramp(0, 65535, np.uint16), ramp(0, 65535, np.int32) // 257, "divided by 257"),
        (ramp(0, 255, np.uint16), ramp(0, 255, np.int32), "none above 255, taken as they are"),
    ],
)
def test_greys_of_other_widths_keep_the_picture(tmp_path, values, expected, words):
    """Pillow alone clips them: a picture in 0..1 would turn black."""
    from eventsim.data.datasets import open_dataset

    folder = tmp_path / "images"
    folder.mkdir()
    path = save(folder / "x.tif", values)
    pixels, remarks = read_input(network((4, 4, 1)), path)
    assert np.array_equal(pixels[..., 0], expected)
    assert words in remarks[0]
    assert np.array_equal(open_dataset(folder)[0], pixels)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (ramp(-1, 1, np.float32), "greys -1..1"),
        (ramp(0, 256, np.float32), "greys 0..256"),
        (ramp(0, 1, np.float32) * np.float32("nan"), "not finite"),
        (ramp(0, 1, np.float32) + np.float32("inf"), "not finite"),
        (ramp(-1, 100, np.int32), "greys -1..100"),
        (ramp(0, 65536, np.int32), "greys 0..65536"),
    ],
)
def test_greys_that_no_rule_covers_are_refused(tmp_path, values, words):
    with pytest.raises(es.InputError, match=words):
        read_input(network((4, 4, 1)), save(tmp_path / "x.tif", values))


@pytest.mark.parametrize("channels", [1, 3])
def test_black_on_transparent_stays_visible(tmp_path, channels):
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[1:3, 1:3, 3] = 255
    path = save(tmp_path / "x.png", rgba)
    dark = np.full((4, 4, channels), 255)
    dark[1:3, 1:3] = 0
    pixels, remarks = read_input(network((4, 4, channels)), path)
    assert np.array_equal(pixels, dark)
    assert "transparent parts shown on white" in remarks[0]
    pixels, remarks = read_input(network((4, 4, channels)), path, invert=True)
    assert np.array_equal(pixels, 255 - dark)
    assert any("inverted" in remark for remark in remarks)


def test_a_picture_that_would_vanish_is_an_error(tmp_path):
    rgba = np.full((4, 4, 4), 255, np.uint8)
    rgba[0, 0, 3] = 0
    with pytest.raises(es.InputError, match="one grey or colour all over"):
        read_input(network((4, 4, 1)), save(tmp_path / "white.png", rgba))
    Image.new("L", (4, 4), 7).save(tmp_path / "plain.png")
    assert np.all(read_input(network((4, 4, 1)), str(tmp_path / "plain.png"))[0] == 7)


def test_cropping_keeps_proportions(tmp_path):
    values = np.zeros((4, 10), np.uint8)
    values[:, 3:7] = ramp(0, 255, np.uint8)
    path = save(tmp_path / "wide.png", values)
    pixels, remarks = read_input(network((4, 4, 1)), path, crop=True)
    assert np.array_equal(pixels[..., 0], values[:, 3:7])
    assert any("cropped from 10x4 to 4x4" in remark for remark in remarks)
    assert "changes its proportions" in read_input(network((4, 4, 1)), path)[1][0]
    pixels, remarks = read_input(network((4, 8, 1)), save(tmp_path / "tall.png", values.T.copy()), crop=True)
    assert any("cropped from 4x10 to 4x2" in remark for remark in remarks)
    assert not any("proportions" in remark for remark in remarks)


def test_only_listed_formats_are_opened(tmp_path):
    for suffix in ("eps", "pcx", "tga", "ico"):
        Image.new("RGB", (16, 16), (1, 2, 3)).save(tmp_path / f"x.{suffix}")
        with pytest.raises(es.InputError, match="not an image that can be read"):
            read_input(network((16, 16, 3)), str(tmp_path / f"x.{suffix}"))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_greys_in_which_0_is_white(tmp_path, kind):
    """TIFF's photometric interpretation 0 is read right or refused."""
    greys = np.arange(0, 250, 25).reshape(2, 5).astype(kind)
    stream = io.BytesIO()
    Image.fromarray(greys).save(stream, "TIFF")
    data = stream.getvalue()
    black_is_0 = struct.pack("<HHIH", 262, 3, 1, 1)
    assert data.count(black_is_0) == 1
    (tmp_path / "x.tif").write_bytes(data.replace(black_is_0, struct.pack("<HHIH", 262, 3, 1, 0)))
    if kind is np.uint8:
        assert np.array_equal(read_input(network((2, 5, 1)), str(tmp_path / "x.tif"))[0][..., 0], 255 - greys)
    else:
        with pytest.raises(es.InputError, match="0 is white"):
            read_input(network((2, 5, 1)), str(tmp_path / "x.tif"))


def test_a_picture_that_cropping_loses_is_refused():
    pixels = np.zeros((10, 40, 1), np.uint8)
    pixels[:, :5] = 255
    assert fit_image(pixels, (5, 20, 1), crop=True)[0].any()
    with pytest.raises(es.InputError, match=r"nothing of the picture is left.*cropped from 40x10 to 10x10"):
        fit_image(pixels, (5, 5, 1), crop=True)
    pixels = np.zeros((1000, 1000, 3), np.uint8)
    pixels[7, 7] = 9
    with pytest.raises(es.InputError, match=r"nothing of the picture is left.*resized"):
        fit_image(pixels, (5, 5, 3))
    assert not fit_image(np.zeros((10, 40, 1), np.uint8), (5, 5, 1), crop=True)[0].any()


def test_huge_images_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("eventsim.data.images.MAX_PIXELS", 10_000)
    Image.new("1", (101, 100)).save(tmp_path / "huge.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    with pytest.raises(es.InputError, match="million pixels"):
        read_input(network((4, 4, 1)), str(tmp_path / "huge.png"))


def test_large_photographs_are_decoded_smaller(tmp_path, monkeypatch):
    monkeypatch.setattr("eventsim.data.images.MAX_PIXELS", 10_000)
    Image.linear_gradient("L").resize((400, 200)).save(tmp_path / "photo.jpg")
    pixels, remarks = read_input(network((8, 16, 1)), str(tmp_path / "photo.jpg"))
    assert "instead of 400x200" in remarks[0]
    assert np.all(np.diff(pixels[:, 8, 0].astype(int)) > 0)


def test_batches_run_like_a_folder(tmp_path):
    net = network((4, 5, 1))
    batch = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 1), dtype=np.uint8)
    for order in "CF":
        for array in (batch, batch[..., 0]):
            np.save(tmp_path / "batch.npy", np.asarray(array, order=order))
            items = find_inputs(net, str(tmp_path / "batch.npy"))
            assert [str(item) for item in items] == [f"{tmp_path}/batch.npy[{i}]" for i in range(3)]
            assert [item.file_name for item in items] == ["batch.npy-0", "batch.npy-1", "batch.npy-2"]
            for item, image in zip(items, batch, strict=True):
                assert np.array_equal(read_item(net, item)[0].reshape(image.shape), image)
    np.save(tmp_path / "batch.npy", batch[0])
    assert find_inputs(net, str(tmp_path / "batch.npy")) == [Item(str(tmp_path / "batch.npy"))]
    currents = es.Network()
    currents.driven("in", (1, 2, 3), 5)
    np.save(tmp_path / "currents.npy", np.arange(12).reshape(2, 6))
    found = [read_item(currents, item)[0]["in"].tolist() for item in find_inputs(currents, str(tmp_path / "currents.npy"))]
    assert found == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


def test_batches_of_any_size_are_not_listed(tmp_path):
    net = network((4, 5, 1))
    with open(tmp_path / "a.npy", "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (10**8, 4, 5)})
        stream.truncate(stream.tell() + 20 * 10**8)
    for path in (tmp_path / "a.npy", tmp_path):
        with pytest.raises(es.InputError, match="100,000,000 inputs; at most 131,072"):
            find_inputs(net, str(path))


def test_arrays_of_nothing_are_refused(tmp_path):
    currents = es.Network()
    currents.driven("in", 6, 5)
    np.save(tmp_path / "x.npy", np.zeros(6, "V0"))
    with pytest.raises(es.InputError, match="damaged array"):
        read_input(currents, str(tmp_path / "x.npy"))


def test_objects_and_channels_in_front_are_named(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.array([{}], object))
    with pytest.raises(es.InputError, match=r"x\.npy: an array of objects, expected numbers"):
        read_input(network((4, 5, 3)), str(path))
    for shape in ((3, 4, 5), (2, 3, 4, 5)):
        np.save(path, np.zeros(shape, np.uint8))
        with pytest.raises(es.InputError, match=r"expected an array of shape \(4, 5, 3\).*channels come last"):
            read_input(network((4, 5, 3)), str(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_by_name_is_read_like_standard_input(tmp_path):
    """A shell gives such a name for ``<(command)``; what is read of it is gone."""
    path, pixels = tmp_path / "pipe", np.arange(20, dtype=np.uint8).reshape(4, 5)
    os.mkfifo(path)
    stored = io.BytesIO()
    np.save(stored, pixels)
    for content in (stored.getvalue(), b""):
        writer = threading.Thread(target=path.write_bytes, args=(content,))
        writer.start()
        (item,) = find_inputs(network((4, 5, 1)), str(path))
        if content:
            assert np.array_equal(read_item(network((4, 5, 1)), item)[0], pixels)
        else:
            with pytest.raises(es.InputError, match="pipe: empty"):
                read_item(network((4, 5, 1)), item)
        writer.join()


@pytest.mark.parametrize("shape", [(4, 4), (5, 4), (2, 2, 4, 5), (0, 4, 5), (10**6, 10**6)])
def test_arrays_of_other_shapes_are_refused_unread(tmp_path, monkeypatch, shape):
    with open(tmp_path / "x.npy", "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
        stream.truncate(stream.tell() + int(np.prod(shape)))
    monkeypatch.setattr("eventsim.batch.inputs.read_elements", lambda *_: pytest.fail("read"))
    with pytest.raises(es.InputError, match="expected an array of shape"):
        read_input(network((4, 5, 1)), str(tmp_path / "x.npy"))


def test_lists_of_events_as_text(tmp_path, monkeypatch):
    net = es.Network()
    net.source("camera", (2, 2, 2))
    for text in (
        "time,neuron\n0.5,7\n\n1.25,0\n",
        "0.5,7\n1.25,0",
        "\ufeff0.5;7\r\n1.25; 0\r\n",
        "\ufefftime neuron\n 0.5\t7 \n1.25  0\n",
    ):
        for name in ("events.csv", "events.txt"):
            (tmp_path / name).write_bytes(text.encode())
            times, neurons = read_input(net, str(tmp_path / name))[0]["camera"]
            assert times.tolist() == [0.5, 1.25]
            assert neurons.tolist() == [7, 0]
    (tmp_path / "events.csv").write_text("")
    assert read_input(net, str(tmp_path / "events.csv"))[0]["camera"][0].shape == (0,)
    for text, words in (
        (b"time,neuron\n1,2,3\n", "line 2"),
        (b"a,b\nc,d\n", "line 2"),
        (b"0.5,x\n1,2\n", "line 1"),
        (b"time,7\n", "line 1"),
        (b"0,5;7\n", "line 1"),
        (b"1,2\n" + b"1" * 2000 + b",2\n", "line 2"),
        (b"1," + b" " * 2000 + b"2\n", "line 1"),
        (b"1,2.5\n", "whole neuron"),
        (b"1,nan\n", "whole neuron"),
        (b"1,1e300\n", "whole neuron"),
        (b"\xff\xfe1,2", "not a text"),
    ):
        (tmp_path / "events.csv").write_bytes(text)
        with pytest.raises(es.InputError, match=words):
            read_input(net, str(tmp_path / "events.csv"))
    monkeypatch.setattr("eventsim.batch.inputs.MAX_EVENTS", 2)
    (tmp_path / "events.csv").write_text("1,2\n" * 3)
    with pytest.raises(es.InputError, match="more than 2 events"):
        read_input(net, str(tmp_path / "events.csv"))


@pytest.mark.parametrize(("form", "mode"), [("png", "rgb"), ("png", "grey and alpha"), ("ppm", "rgb")])
def test_colours_of_16_bits_are_not_cut_to_8_without_a_word(form, mode):
    """A dark picture would be a black one."""
    values = np.arange(4 * 4 * (3 if mode == "rgb" else 2), dtype=">u2").reshape(4, 4, -1)
    if form == "ppm":
        data = b"P6 4 4 65535\n" + (values * 256).tobytes()
        assert "values 0..65535 scaled to 0..255" in decode_image(io.BytesIO(data), "x")[1]
        return

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">2I5B", 4, 4, 16, 2 if mode == "rgb" else 4, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    with pytest.raises(es.InputError, match="of 16 bits, which are read at 8 bits only; convert it first"):
        decode_image(io.BytesIO(data), "x")
