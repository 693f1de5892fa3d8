"""How a network is laid out in its file (docs/network-format.md). What a population or a table keeps there is in the file of its kind."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np

from eventsim.errors import NetworkError
from eventsim.model.limits import MAX_NEURONS, MAX_POPULATIONS, MAX_PROJECTIONS
from eventsim.model.network import Network
from eventsim.model.populations.population import Surroundings
from eventsim.model.registry import POPULATIONS, TABLES
from eventsim.model.storage.format import FORMAT, MAX_LABEL, MAX_LABELS, VERSION
from eventsim.model.storage.provenance import provenance_text, read_provenance
from eventsim.model.storage.reading import StoredGroup
from eventsim.model.storage.writing import NewGroup, encoded
from eventsim.model.tables import Table
from eventsim.model.tables.storage import write_weights
from eventsim.model.values import Shape

# --- writing ----------------------------------------------------------------------------------------------------------


def write_network(root: NewGroup, network: Network) -> None:
    """Write a network into the root group of a new file; two calls for one network make the same bytes.

    Raises
    ------
    NetworkError
        It holds what a file cannot.
    """
    root.attributes(format=FORMAT, version=VERSION)
    if network.output is not None:
        root.attributes(output=network.output)
    if network.input is not None:
        image = root.child("input")
        image.attributes(shape=network.input.shape)
        image.per_channel("scale", network.input.scale)
        image.per_channel("offset", network.input.offset)
    populations = root.child("populations")
    for index, (name, population) in enumerate(network.populations.items()):
        group = populations.child(str(index))
        group.attributes(name=name, kind=population.kind, shape=population.shape)
        population.write(group)
        if population.encoder is not None:
            _write_table(group.child("encoder"), population.encoder)
    projections = root.child("projections")
    for index, projection in enumerate(network.projections):
        group = projections.child(str(index))
        group.attributes(name=projection.name, source=projection.source, target=projection.target, delay=float(projection.delay))
        _write_table(group.child("table"), projection.table)
    if network.labels:
        labels = [encoded(label, "labels", MAX_LABEL) for label in network.labels]
        root.dataset("labels", np.array(labels, dtype=f"S{max(1, *map(len, labels))}"))
    text = provenance_text(network.provenance)
    root.dataset("provenance", np.array(text, dtype=f"S{len(text)}"))


def _write_table(group: NewGroup, table: Table) -> None:
    group.attributes(kind=table.kind)
    table.write(group)
    write_weights(group, table)


# --- reading ----------------------------------------------------------------------------------------------------------


def read_network(root: StoredGroup) -> Network:
    """The network in a file that may come from anywhere.

    Raises
    ------
    NetworkFileError
        The file holds anything else than a network, or not all of one.
    NetworkError
        What it holds makes no sense.
    """
    output = None
    attributes = ["format", "version"]
    if root.has_attribute("output"):
        attributes.append("output")
        output = root.text("output")
    root.holds(attributes, ("populations", "projections", "provenance"), ("input", "labels"))
    root.text("format", (FORMAT,))
    root.integer("version", VERSION, VERSION)

    # Shapes first, then the tables, which must fit them, and the populations last: a file of a few bytes can declare
    # millions of neurons, whose arrays are made only if its tables agree.
    image = root.child("input") if root.has("input") else None
    image_shape = None
    if image is not None:
        image.holds(("shape",), ("scale", "offset"))
        image_shape = image.integers("shape", (3,), 1)
    populations = root.child("populations")
    groups = [populations.child(str(index)) for index in range(populations.count(MAX_POPULATIONS))]
    names = [group.text("name") for group in groups]
    shapes = dict(zip(names, (group.integers("shape", (1, 3), 1) for group in groups), strict=True))
    total = sum(map(math.prod, shapes.values()))
    if total > MAX_NEURONS:
        raise populations.fail("", f"has {total} neurons, the limit is {MAX_NEURONS}")
    container = root.child("projections")
    projections = [_projection(container.child(str(index)), shapes) for index in range(container.count(MAX_PROJECTIONS))]
    encoders = [_encoder(group, image_shape, shapes[name]) for name, group in zip(names, groups, strict=True)]

    network = Network()
    if image is not None and image_shape is not None:
        channels = image_shape[-1]
        network.image_input(image_shape, image.per_channel("scale", channels), image.per_channel("offset", channels))
    for name, group, encoder in zip(names, groups, encoders, strict=True):
        kind = POPULATIONS[group.text("kind", tuple(POPULATIONS))]
        network.add(name, kind.read(group, Surroundings(name, shapes[name], encoder, image_shape)))
    for name, source, target, delay, table in projections:
        _connect(network, name, source, target, delay, table)

    network.output = output
    if root.has("labels"):
        # A network without output may not have labels; its check says so.
        expected = math.prod(shapes[output]) if output in shapes else 1
        if expected > MAX_LABELS:
            raise root.fail("labels", f"{expected} labels, the limit is {MAX_LABELS}")
        network.labels = root.texts("labels", (expected,), MAX_LABEL, "labels")
    network.provenance = read_provenance(root)
    network.check()
    return network


def _encoder(group: StoredGroup, image_shape: Shape | None, shape: Shape) -> Table | None:
    """The encoder of a population, if it has one; whether its kind may have one is checked with its other members."""
    if not group.has("encoder"):
        return None
    if image_shape is None:
        raise group.fail("encoder", "there is no /input for it to read")
    return _fitting(group.child("encoder"), image_shape, shape)


def _projection(group: StoredGroup, shapes: dict[str, Shape]) -> tuple[str, str, str, float, Table]:
    group.holds(("name", "source", "target", "delay"), ("table",))
    name, source, target, delay = group.text("name"), group.text("source"), group.text("target"), group.number("delay")
    for end, population in (("source", source), ("target", target)):
        if population not in shapes:
            raise group.fail(f"@{end}", f"there is no population {population!a}")
    return name, source, target, delay, _fitting(group.child("table"), shapes[source], shapes[target])


def _fitting(group: StoredGroup, source_shape: Shape, target_shape: Shape) -> Table:
    """The table in a group, if it makes sense and fits these shapes."""
    try:
        table = TABLES[group.text("kind", tuple(TABLES))].read(group, source_shape)
        table.check(source_shape, target_shape)
    except NetworkError as error:
        raise group.fail("", str(error)) from None
    return table


def _connect(network: Network, name: str, source: str, target: str, delay: float, table: Table) -> None:
    default = f"{source}->{target}"
    if len(name) <= 100 or not re.fullmatch(re.escape(default) + r"(\+[1-9][0-9]*)?", name):
        network.connect(source, target, table, delay=delay, name=name)
        return
    # Default names can be longer than the names that one may give.
    if any(projection.name == name for projection in network.projections):
        raise NetworkError(f"there is already a projection {name!r}")
    network.connect(source, target, table, delay=delay)
    network.projections[-1] = dataclasses.replace(network.projections[-1], name=name)
