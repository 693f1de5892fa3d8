"""Runs that are killed at any moment leave the old trace or a new one, and nothing that the next run does not remove."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eventsim as es

KILLS = int(os.environ.get("EVENTSIM_KILLS", "100"))
WRITE_FOR_EVER = """
import sys
import numpy as np
import eventsim as es
net = es.load(sys.argv[1])
print("ready", flush=True)
for run in range(10**6):
    es.run(net, {"in": np.ones(200, int)}, steps=100, resolution=1, engine="reference", trace=sys.argv[2], about={"image": run})
    print(run, flush=True)
"""


@pytest.mark.exhaustive
def test_kills(tmp_path: Path) -> None:
    net = es.Network()
    net.driven("in", 200, 1)
    net.readout("out", 1)
    net.connect("in", "out", np.ones((200, 1), np.int8))
    es.save(net, tmp_path / "net.h5")
    (tmp_path / "runs").mkdir()
    path = tmp_path / "runs" / "run.h5"
    rng = np.random.default_rng(0)
    left = 0
    for _ in range(KILLS):
        child = subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path / "net.h5"), str(path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.stdout.readline()
        # What a killed predecessor left is gone after the first run.
        before = set(os.listdir(tmp_path / "runs"))
        assert sum(name.endswith(".part") for name in before) <= 1
        try:
            child.wait(float(rng.uniform(0, 0.2)))
        except subprocess.TimeoutExpired:
            child.kill()
        child.wait()
        with es.Trace(path) as trace:
            trace.verify()
            assert len(trace.spikes("in").ticks) == 20_000
        left += len(os.listdir(tmp_path / "runs")) > 1
    es.run(net, {"in": np.ones(200, int)}, steps=1, trace=path)
    assert os.listdir(tmp_path / "runs") == ["run.h5"]
    assert left, "no kill came while a trace was written"
