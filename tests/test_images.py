"""Inputs of every kind become the integers that the network declares."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import eventsim as es
from eventsim.images import read_input


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


def test_transparent_pixels_are_black(tmp_path):
    Image.new("RGBA", (4, 4), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    pixels, _ = read_input(network((4, 4, 3)), str(tmp_path / "clear.png"))
    assert not pixels.any()


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
