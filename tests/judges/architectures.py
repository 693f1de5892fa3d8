"""Architectures for tests: small texts, and random ones."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from importlib.resources import files

import eventsim as es
from eventsim.hardware.reading import architecture_from
from judges.random_networks import pick


def architecture(text, **placed):
    """An architecture from its text; ``placed`` are the cores of populations."""
    tables = tomllib.loads(text, parse_float=Decimal)
    if placed:
        tables["placement"] = [{"population": name, "cores": cores} for name, cores in placed.items()]
    return architecture_from(tables, "chip.toml")


def preset(name, *changes, **placed):
    """One that comes with the package, texts in it changed."""
    text = files("eventsim.hardware.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return es.Hardware(architecture(text, **placed))


def random_architecture(rng, kind=None, **links):
    """Small cores in a small mesh; times that often are 0 or equal, so that ties are common."""
    kind = kind or pick(rng, "event", "crossbar")
    barrier = bool(rng.integers(2))

    def time():
        return pick(rng, "0", "0", "1", "2", "0.001", "3.5")

    lines = ['name = "random"', "[chip]", f"columns = {rng.integers(8, 12)}", f"rows = {rng.integers(8, 12)}"]
    lines += [
        f"cores_per_tile = {rng.integers(2, 4)}",
        f"step_us = {pick(rng, '0', '0.01', '0.05') if barrier else pick(rng, '0.01', '0.3')}",
    ]
    if barrier:
        lines += ['synchronisation = "barrier"', f"barrier_ns = {pick(rng, '0', '5', '{ 1 = 1, 2 = 3, 9 = 7 }')}"]
    lines += ["[links]", *(f"{name}_ns = {time()}" for name in ("east_west", "north_south", "within_tile"))]
    lines += [f"{name} = {value}" for name, value in links.items()]
    lines += ["[core]", f'kind = "{kind}"', *(f"{name}_ns = {time()}" for name in ("access", "update", "spike", "message_out"))]
    if kind == "event":
        lines += [f"neurons = {rng.integers(3, 40)}", f"message_in_ns = {time()}", f"synapse_ns = {time()}"]
    else:
        lines += [f"rows = {rng.integers(3, 30)}", f"columns = {rng.integers(4, 40)}", f"cells_per_weight = {rng.integers(1, 3)}"]
        lines += [f"read_ns = {time()}", f"conversion_ns = {time()}", f"columns_per_converter = {rng.integers(1, 4)}"]
    return architecture("\n".join(lines))
