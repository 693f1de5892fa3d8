"""The short check that a conversion ends with, against runs and evaluations one by one; and what it advises."""

from __future__ import annotations

import json
import logging
import re
from types import SimpleNamespace

import numpy as np
import pytest
from judges.graphs import RELU, Builder, deep_graph, random_graph

import eventsim as es
from eventsim.conversion import quick

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)


def test_it_is_what_runs_and_the_source_say():
    made = es.convert(random_graph(1), IMAGES, steps=12)
    check = made.check
    assert check is not None
    assert (check.images, check.steps) == (20, 12)
    chosen = IMAGES[np.linspace(0, 49, 20).astype(int)]
    truth = made.evaluate(chosen).argmax(1)
    results = [es.run(made.network, image, steps=12, resolution=1) for image in chosen]
    assert check.agreement == np.mean([r.decision == t for r, t in zip(results, truth, strict=True)])
    assert list(check.over_time) == [1, 2, 4, 8, 12]
    for steps, share in check.over_time.items():
        shorter = [es.run(made.network, image, steps=steps, resolution=1).decision for image in chosen]
        assert share == np.mean([d == t for d, t in zip(shorter, truth, strict=True)])
    squares = {layer.name: 0.0 for layer in made.source.layers[:-1]}
    for image, result in zip(chosen, results, strict=True):
        seen = {}
        values = image[None] * made.pixel_factor + made.pixel_shift
        made.source.evaluate(values, lambda layer, z, seen=seen: seen.setdefault(layer.name, (layer, z[0])))
        for name in squares:
            layer, z = seen[name]
            rate = result.spike_counts(name).reshape(layer.shape) / 12
            squares[name] += np.mean((rate - np.minimum(layer.activation(z) / made.ranges[name], 1)) ** 2) / 20
    assert check.errors == pytest.approx({name: np.sqrt(square) for name, square in squares.items()}, abs=2e-4)


def test_it_is_kept_with_the_network(tmp_path):
    made = es.convert(random_graph(1), IMAGES[:4], steps=12)
    es.save(made.network, tmp_path / "net.h5")
    kept = es.load(tmp_path / "net.h5").provenance["check"]
    assert kept == json.loads(json.dumps(made.check.to_dict()))
    assert kept["images"] == 4
    assert kept["agreement over time"]["12"] == kept["agreement"] == made.check.agreement
    assert "4 calibration images" in str(made.check)


def test_without_images_or_without_being_asked_there_is_none():
    for made in (es.convert(random_graph(1, 4)), es.convert(random_graph(1), IMAGES, check=False)):
        assert made.check is None
        assert "check" not in made.network.provenance


def deep(percentile: float, **settings) -> es.Conversion:
    return es.convert(deep_graph(5, 6, 5), IMAGES, percentile=percentile, **settings)


@pytest.mark.parametrize(
    ("percentile", "settings", "advice", "silent"),
    [
        (60, {"steps": 32}, "a higher percentile: .* activations are above one spike a step", "signed neurons"),
        (99.9, {"steps": 8, "signed": False}, r"signed neurons \(signed=True, --signed\)", "a higher percentile"),
        (99.9, {"steps": 1}, "more steps", "a higher percentile"),
        (99.9, {"steps": 32, "fraction_bits": 0, "weight_bits": 2}, r"more bits \(weight_bits, fraction_bits\): .*conv1", "signed neurons"),
    ],
)
def test_what_is_poor_is_said_with_what_helps(percentile, settings, advice, silent, caplog):
    with caplog.at_level(logging.WARNING, "eventsim"):
        made = deep(percentile, **settings)
    assert made.check.agreement < 0.8
    said = [record.getMessage() for record in caplog.records if "poor" in record.getMessage()]
    assert len(said) == 1
    assert re.search(advice, said[0])
    assert "rates leave the activations most at conv" in said[0]
    assert silent not in said[0]
    assert made.network.provenance["check"]["advice"] == made.check.advice != []


@pytest.mark.parametrize("steps", [20, 100])
def test_more_steps_are_advised_by_a_shorter_run_that_was_measured(monkeypatch, steps):
    """Whatever the run's length: only powers of two are measured beside it."""
    made = deep(99.9, steps=steps, check=False)
    lengths = {1: 0.2, 2: 0.2, 4: 0.3, 8: 0.4, 16: 0.5, 32: 0.5, 64: 0.5}
    over_time = {length: share for length, share in lengths.items() if length < steps} | {steps: 0.6}
    found = SimpleNamespace(layers={"clocked": []}, over_time={"clocked": over_time}, agreement={"clocked": 0.6})
    monkeypatch.setattr(quick, "faithfulness", lambda *_, **__: found)
    before = {20: 16, 100: 64}[steps]
    assert f"more steps (50% after {before}, 60% after {steps})" in quick.quick_check(made, IMAGES).advice


def test_what_is_good_says_nothing(caplog):
    with caplog.at_level(logging.WARNING, "eventsim"):
        made = deep(99.9, steps=64)
    assert made.check.agreement >= 0.8
    assert made.check.advice == []
    assert not any("poor" in record.getMessage() for record in caplog.records)


def test_progress_and_networks_that_do_not_run():
    seen = []
    es.convert(random_graph(1), IMAGES[:3], steps=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    # A potential that leaves 32 bits before the run ends.
    b = Builder(1, (3, 8, 8), 0)
    b.conv(2, binary=False, bias=False)
    b.at = b.graph.add(RELU, (b.at,))
    b.linear(3, binary=False, bias=False)
    b.at = b.graph.scale(b.at, 1.0, 5e5)
    made = es.convert(b.graph, IMAGES[:3])
    assert made.check is None
    assert any("not checked" in remark for remark in made.report.remarks)


def test_what_takes_longer_than_seconds_is_left_out():
    made = es.convert(random_graph(1), IMAGES[:2], steps=1_000_000)
    assert made.check is None
    assert any("so large" in remark for remark in made.report.remarks)
