"""A small valid file of each kind."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from judges.evaluations import small_data, small_network
from judges.fuzzing import FORMATS, RECORDINGS
from judges.recordings import HEIGHT, WIDTH, random_events
from PIL import Image

import eventsim as es


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """A small valid file of each kind, and what the commands on it need."""
    place = tmp_path_factory.mktemp("seeds")
    net, data = small_network(), small_data(6)
    es.save(net, place / "net.h5")
    es.run(net, data[0], trace=place / "run.h5")
    es.evaluate(net, data, place / "eval.h5", workers=1).close()
    np.save(place / "image.npy", data[0])
    np.save(place / "batch.npy", np.stack([data[0], data[1]]))
    events = es.Network()
    events.source("camera", 8)
    events.readout("out", 2)
    events.connect("camera", "out", np.arange(16).reshape(8, 2))
    es.save(events, place / "events-net.h5")
    np.save(place / "events.npy", np.array([[0.5, 7], [1.25, 0]]))
    (place / "events.csv").write_text("time,neuron\n0.5,7\n1.25,0\n")
    (place / "costs.json").write_text('{"name": "mine", "int8_add": 0.007, "float32_add": 0.38, "float32_mac": 1.7}')
    camera = es.Network()
    camera.event_input("camera", (HEIGHT, WIDTH, 2))
    camera.readout("out", 2)
    camera.connect("camera", "out", np.ones((HEIGHT * WIDTH * 2, 2), int))
    es.save(camera, place / "camera-net.h5")
    for name, write in RECORDINGS.items():
        (place / name).write_bytes(write(random_events(np.random.default_rng(1), 60, 3000)))
    rng = np.random.default_rng(0)
    for suffix, mode in FORMATS.items():
        Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)).convert(mode).save(place / f"image.{suffix}")
    return place


@pytest.fixture
def here(seeds, monkeypatch, tmp_path):
    shutil.copytree(seeds, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
