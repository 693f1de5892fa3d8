"""One rule for the length of a run, wherever it is not given."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from judges.evaluations import small_data, small_network

import eventsim as es
from eventsim.cli.main import main
from eventsim.job.preparation import default_steps


def test_every_way_in_takes_what_the_network_recommends(tmp_path):
    net, data = small_network(), small_data(3)
    es.save(net, tmp_path / "net.h5")
    np.save(tmp_path / "image.npy", data[0])
    assert net.provenance == {"steps": 6}
    assert es.run(net, data[0]).info.steps == 6
    assert es.Simulator(net).run(data[0]).info.steps == 6
    assert es.run(es.load(tmp_path / "net.h5"), data[0]).info.steps == 6
    assert es.evaluate(net, data, tmp_path / "e.h5", workers=1).info.steps == 6
    command = ["run", str(tmp_path / "net.h5"), "--input", str(tmp_path / "image.npy"), "--no-trace", "--json"]
    found = json.loads(CliRunner().invoke(main, command, catch_exceptions=False).stdout)
    assert found["steps"] == 6
    assert found["spikes"] == es.run(net, data[0]).total_spikes
    assert es.run(net, data[0], steps=4).info.steps == 4


@pytest.mark.parametrize("recommended", [None, 0, -5, True, "8", 8.0, 10**7, [8]])
def test_what_is_no_length_is_not_taken(recommended):
    net = small_network()
    net.provenance = {} if recommended is None else {"steps": recommended}
    assert default_steps(net) == 100
