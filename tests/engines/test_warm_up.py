"""Compiling before the first run: what such a run takes, and no more is left to it."""

from __future__ import annotations

import os
import subprocess
import sys

import numba
import pytest

SCRIPT = """
import numpy as np
import eventsim as es
from eventsim.kernels.compiled import compilation_time

net = es.Network()
net.driven("in", (2, 2, 3), threshold=5)
net.readout("out", 4)
net.output = "out"
net.connect("in", "out", np.arange(48).reshape(12, 4) - 24)
simulator, current = es.Simulator(net), {"in": np.full((2, 2, 3), 3)}
with compilation_time() as seconds:
    simulator.warm_up(simulator.prepare(current, steps=4, resolution=RESOLUTION))
    before = seconds()
    result = simulator.run(current, steps=4, resolution=RESOLUTION)
    print(before > 0, seconds() == before, result.counts.engine, result.total_spikes)
"""


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="needs the compiler")
@pytest.mark.parametrize("resolution", [1, 2**20])
def test_a_run_after_it_compiles_nothing(resolution, tmp_path):
    script = SCRIPT.replace("RESOLUTION", str(resolution))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=600)
    assert said.stdout.split() == ["True", "True", "layered", "24"], said.stderr
