"""Architecture files: what they mean, and what is wrong with those that mean nothing."""

from __future__ import annotations

import json

import pytest
from judges.architectures import architecture

import eventsim as es
from eventsim.errors import HardwareError
from eventsim.hardware.architecture import Cost, CrossbarCore, EventCore
from eventsim.hardware.reading import read_architecture

GOOD = """
name = "small"
[chip]
columns = 2
rows = 3
cores_per_tile = 2
step_us = 0.25
static_power_uw = 1.5
clock_mhz = 2.5
clock_power_uw_per_mhz = 0.2
[links]
east_west_ns = 4.1
east_west_pj = 3.0
north_south_ns = 6
hold_ns = 1
buffer = 4
when_full = "drop"
[core]
kind = "event"
neurons = 10
axons = 20
synapse_pj = 0.00496
"""


def test_units():
    found = architecture(GOOD, a=[3, 1])
    assert (found.chip.cores, found.chip.step, found.chip.static_power) == (12, 250_000, 2000)
    assert found.links.east_west == Cost(4100, 3_000_000)
    assert (found.links.hold, found.links.buffer, found.links.when_full) == (1000, 4, "drop")
    assert found.core == EventCore(10, axons=20, synapse=Cost(0, 4960))
    assert found.placed == {"a": (3, 1)}
    assert [found.place_of(core) for core in (0, 3, 5, 11)] == [(0, 0), (1, 0), (0, 1), (1, 2)]
    json.dumps(found.facts(), allow_nan=False)


@pytest.mark.parametrize(("tiles", "nanoseconds"), [(1, 5), (2, 5), (4, 5), (5, 9), (100, 9)])
def test_a_barrier_takes_as_long_as_the_table_says_for_so_many_tiles(tiles, nanoseconds):
    text = GOOD.replace("step_us = 0.25", 'step_us = 0\nsynchronisation = "barrier"\nbarrier_ns = { 3 = 5, 5 = 9 }')
    assert architecture(text).chip.barrier_time(tiles) == nanoseconds * 1000


def test_those_that_come_with_the_package():
    assert es.Hardware.presets() == ["loihi", "loihi-fitted", "odin", "truenorth", "xnor-sram"]
    for name in es.Hardware.presets():
        found = es.Hardware(name).architecture
        assert min(len(found.name), len(found.description)) > 0
        json.dumps(found.facts(), allow_nan=False)
    crossbar = es.Hardware("xnor-sram").architecture.core
    assert isinstance(crossbar, CrossbarCore)
    assert (crossbar.rows, crossbar.cell_energy, crossbar.reading) == (256, 4960, 650_000)


def test_a_file_of_that_name_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loihi").write_text(GOOD)
    assert read_architecture("loihi").name == "small"
    assert read_architecture("odin.toml").name == "ODIN"


WRONG = [
    ("columns = 2", "columns = 0", r"\[chip\] columns must be a whole number in 1..1,024, found 0"),
    ("columns = 2", "columns = true", "columns must be a whole number"),
    ("columns = 2", "columns = 1024\nsurprise = 1", r"\[chip\] unknown key 'surprise'; there are: columns, rows"),
    ("columns = 2", "", r"\[chip\] columns is missing"),
    ("columns = 2", "columns = 1000", None),
    ("rows = 3\ncores_per_tile = 2", "rows = 1000\ncores_per_tile = 4096", "8,192,000 cores, the limit is 262,144"),
    ("step_us = 0.25", "step_us = 0", "step_us must be more than 0 where no barrier"),
    ("step_us = 0.25", "step_us = 0.0000001", "microseconds with at most 6 decimals, found 1E-7"),
    ("step_us = 0.25", "step_us = nan", "step_us must be a number of microseconds, 0 to 1,000,000,000, found NaN"),
    ("step_us = 0.25", "step_us = inf", "step_us must be a number"),
    ("step_us = 0.25", "step_us = -1", "step_us must be a number"),
    ("step_us = 0.25", 'step_us = "1"', "step_us must be a number of microseconds"),
    ("step_us = 0.25", "step_us = 1\nbarrier_ns = 4", "barrier_ns has no effect without"),
    ("step_us = 0.25", 'step_us = 1\nsynchronisation = "barrier"\nbarrier_ns = { a = 4 }', "by a number of tiles"),
    ("step_us = 0.25", 'step_us = 1\nsynchronisation = "sometimes"', 'must be "none" or "barrier", found \'sometimes\''),
    ("[core]", '[core]\nupdate_when = "potential"', "update_when has no effect without"),
    ("hold_ns = 1", "hold_ns = 5", "hold_ns must not be more than"),
    ("hold_ns = 1", "", "buffer has no effect on links that hold no message"),
    ('kind = "event"', 'kind = "crossbar"', r"\[core\] unknown key 'neurons'"),
    ('kind = "event"', "kind = 1", 'kind must be "event" or "crossbar"'),
    ('kind = "event"', "", "kind is missing"),
    ("[core]", "[cores]", "unknown key 'cores'"),
    ("[core]", "[links.core]", "has no section"),
    ('name = "small"', 'name = "sm\\u001ball"', "name must be a text"),
    ('name = "small"', "name = ", "no architecture file"),
    ("axons = 20", "axons = 20\naxons = 21", "no architecture file"),
    ("columns = 2", f"columns = 0x{'F' * 5000}", "found a whole number of 20000 bits"),
    ("step_us = 0.25", f"step_us = 0x{'F' * 5000}", "found a whole number of 20000 bits"),
    ("step_us = 0.25", "step_us = 1.00000000000000000000000000000000001", "with at most 6 decimals"),
    ("step_us = 0.25", "step_us = 1e-2000000", "with at most 6 decimals"),
    ("step_us = 0.25", "step_us = 1.0000000000000000000000000000000000000", None),
    ("step_us = 0.25", 'step_us = 1\nsynchronisation = "barrier"\nbarrier_ns = { 1 = 3, 01 = 5 }', "a number of tiles, each once"),
    ("step_us = 0.25", f'step_us = 1\nsynchronisation = "barrier"\nbarrier_ns = {{ {"9" * 5000} = 3 }}', "by a number of tiles"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG)
def test_one_line_says_what_is_wrong(tmp_path, old, new, message):
    assert GOOD.count(old) == 1
    path = tmp_path / "chip.toml"
    path.write_text(GOOD.replace(old, new))
    if message is None:
        es.Hardware(path)
        return
    with pytest.raises(HardwareError, match=message) as caught:
        es.Hardware(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("placement", "message"),
    [
        ("[[placement]]\ncores = [1]", "population is missing"),
        ('[[placement]]\npopulation = "a"\ncores = [12]', "numbers in 0..11"),
        ('[[placement]]\npopulation = "a"\ncores = []', "numbers in 0..11"),
        ('[[placement]]\npopulation = "a"\ncores = [1, 1]', "names a core twice"),
        ('[[placement]]\npopulation = "a"\ncores = [1]\n[[placement]]\npopulation = "a"\ncores = [2]', "names 'a' twice"),
        ('[[placement]]\npopulation = "a"\ncores = [1]\nneurons = 3', "neurons must be a list"),
        ('[[placement]]\npopulation = "a"\ncores = [1]\nneurons = [3, 4]', "at most one a core"),
        ("placement = 1", "unknown key 'placement'"),
    ],
)
def test_placement_is_checked(tmp_path, placement, message):
    (tmp_path / "chip.toml").write_text(GOOD + placement)
    with pytest.raises(HardwareError, match=message):
        es.Hardware(tmp_path / "chip.toml")


def test_what_is_no_file(tmp_path):
    with pytest.raises(HardwareError, match=r"No such file or directory\); architectures that need no file: loihi, loihi-fitted, odin"):
        es.Hardware(tmp_path / "missing.toml")
    with pytest.raises(HardwareError, match="is no file"):
        es.Hardware(tmp_path)
    (tmp_path / "long.toml").write_text("#" * 2**18 + "\n")
    with pytest.raises(HardwareError, match="more than 262,144 bytes"):
        es.Hardware(tmp_path / "long.toml")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5000)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for name in ("deep.toml", "bytes.toml"):
        with pytest.raises(HardwareError, match="no architecture file"):
            es.Hardware(tmp_path / name)
