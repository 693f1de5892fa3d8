"""tools/same_results.py notices what differs, and runs the code of the checkout that it is given."""

from __future__ import annotations

import click
import numpy as np
import pytest
import same_results
from judges.evaluations import small_data, small_network

import eventsim as es

# As much of the public interface as it uses: every run gives one spike, at this tick.
CODE = """
from types import SimpleNamespace as Space
import numpy as np

class Simulator:
    network = Space(input=Space(shape=(28, 28, 1)))

    def __init__(self, network):
        pass

    def run(self, image, *, resolution, engine, record, potentials):
        tick = resolution + int(image.max())
        return Space(
            decision=1, label="one", decision_latency=0.5, duration=1, recorded=["a"], potentials_recorded=[],
            spikes=lambda name: (np.array([tick + {late}]), np.array([3]), np.array([1], np.int8)),
            counts=Space(engine="{engine}", spikes=np.array([[1]]), readout={{"out": np.array([2])}}),
        )

def load(path):
    return None
"""


@pytest.fixture
def checkout(tmp_path):
    """Makes a checkout of the code above."""

    def make(name, late=0):
        package = tmp_path / name / "eventsim"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(CODE.format(engine=name, late=late))
        return tmp_path / name

    return make


def test_checkouts_are_run_and_compared(checkout):
    old, new, late = (same_results.results_in(path, 2, "queue") for path in (checkout("old"), checkout("new"), checkout("late", 1)))
    assert len(old) == 3 * len(list((same_results.ROOT / "networks").glob("*.h5")))
    assert {len(runs) for runs in old.values()} == {2}
    assert old == new
    assert old["mlp-mnist 1"][0] != old["mlp-mnist 1000"][0]
    for case, runs in old.items():
        assert [same_results.differences(a, b) for a, b in zip(runs, late[case], strict=True)] == [["spikes of a: ticks"]] * 2


def test_a_checkout_without_the_package_is_an_error(tmp_path, capfd):
    with pytest.raises(click.ClickException, match="the runs failed"):
        same_results.results_in(tmp_path, 1, "auto")
    assert "eventsim" in capfd.readouterr().err


def test_results_tell_runs_apart():
    net, data = small_network(), small_data(2)

    def results(image=data[0], **settings):
        return same_results.results_of(es.run(net, image, potentials="all", resolution=7, **settings))

    one, again, other, longer = results(), results(engine="queue"), results(data[1]), results(steps=7)
    assert same_results.differences(one, again) == []
    assert {"spikes of b: neurons", "counts: readout of out", "potentials of a"} <= set(same_results.differences(one, other))
    assert "duration" in same_results.differences(one, longer)
    del one["label"]
    assert same_results.differences(one, again) == same_results.differences(again, one) == ["label"]


def test_images_are_the_same_for_both():
    digits = list(same_results.images_for((28, 28, 1), 10))
    assert [d.shape for d in digits] == [(28, 28, 1)] * 10
    assert len({d.tobytes() for d in digits}) == 10
    one, two = (list(same_results.images_for((4, 5, 3), 3)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert len({image.tobytes() for image in one}) == 3
