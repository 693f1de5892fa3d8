"""What SANA-FE's files say, run in plain Python from its description of them; its own simulator is compared with that where it is there."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import yaml


@dataclass
class Neuron:
    """A neuron of one of its models, and where it lies."""

    model: str
    attributes: dict
    core: tuple[int, int]
    edges: list = field(default_factory=list)  # (neuron, weight)
    potential: float = 0.0
    arriving: float | None = None

    def __post_init__(self):
        self.potential = float(self.attributes.get("potential", 0))

    def step(self, number):
        """Whether it fires in a step, and whether it is updated for that."""
        arrived, self.arriving = self.arriving, None
        if self.model == "input":
            spikes = self.attributes["spikes"]
            return number < len(spikes) and bool(spikes[number]), False
        bias, threshold = float(self.attributes["bias"]), float(self.attributes["threshold"])
        updated = self.potential != 0 or arrived is not None or bias != 0 or self.attributes.get("force_update", False)
        if self.model == "leaky_integrate_fire":
            self.potential = math.trunc(self.potential * 64) / 64
        self.potential += bias + (arrived or 0)
        fires = self.potential >= threshold if self.model == "truenorth" else self.potential > threshold
        if fires:
            self.potential = self.potential - threshold if self.attributes["reset_mode"] == "soft" else 0.0
        return fires, updated or fires


@dataclass
class Found:
    """What a run gives: spikes as (step, neuron) by group, counts, potentials at the end of every step, picojoules."""

    spikes: dict
    counts: Counter
    potentials: dict
    energy: float


def ends(text):
    """Both ends of ``3..5``, or of ``3``."""
    first, _, last = str(text).partition("..")
    return int(first), int(last or first)


def read(folder):
    """Groups of neurons by name, and the architecture."""
    text = (Path(folder) / "network.yaml").read_text()
    files = yaml.load(text, yaml.CSafeLoader), yaml.load((Path(folder) / "architecture.yaml").read_text(), yaml.CSafeLoader)
    network, chip = files[0]["network"], files[1]["architecture"]
    attributes: dict = {}
    for group in network["groups"]:
        for entry in group["neurons"]:
            ((key, own),) = entry.items()
            first, last = ends(key)
            for n in range(first, last + 1):
                attributes[group["name"], n] = group["attributes"] | own
    units = {soma["name"]: soma["attributes"] for soma in chip["tile"][0]["core"][0]["soma"]}
    neurons: dict = {}
    for entry in files[0]["mappings"]:
        ((key, to),) = entry.items()
        name, _, which = key.partition(".")
        tile, core = str(to["core"]).split(".")
        first, last = ends(which)
        for n in range(first, last + 1):
            unit = str(to.get("soma") or attributes[name, n]["soma_hw_name"])
            known = [each["model"] for given, each in units.items() if given.partition("[")[0] == unit.partition("[")[0]]
            neurons[name, n] = Neuron(known[0], attributes[name, n], (int(tile), int(core)))
    assert neurons.keys() == attributes.keys()
    for entry in network["edges"]:
        ((key, edge),) = entry.items()
        source, target = key.split(" -> ")
        pairs = edge.get("source_target_pairs")
        if edge["type"] == "dense":
            pairs = [(s, t) for s in range(size(neurons, source)) for t in range(size(neurons, target))]
        for (s, t), weight in zip(pairs, edge["weight"], strict=True):
            neurons[source, s].edges.append((neurons[target, t], float(weight)))
    return neurons, chip


def size(neurons, name):
    return sum(group == name for group, _ in neurons)


def run(folder, steps):
    """Run the files for so many steps."""
    neurons, chip = read(folder)
    found = Found({name: [] for name, _ in neurons}, Counter(), {name: [] for name, _ in neurons}, 0.0)
    rows, counts = int(chip["attributes"]["height"]), found.counts
    for number in range(steps):
        fired = []
        for (name, n), neuron in neurons.items():
            fires, updated = neuron.step(number)
            if neuron.model != "input":
                counts["access"] += 1
                counts["update"] += updated
                counts["spike"] += fires
            if fires:
                found.spikes[name].append((number + 1, n))
                fired.append(neuron)
        for name in found.potentials:
            found.potentials[name].append([neuron.potential for (group, _), neuron in neurons.items() if group == name])
        for neuron in fired:
            counts["synapse"] += len(neuron.edges)
            for core in {target.core for target, _ in neuron.edges}:
                (column, row), (last_column, last_row) = divmod(neuron.core[0], rows), divmod(core[0], rows)
                counts["message"] += 1
                counts["east" if last_column > column else "west"] += abs(last_column - column)
                counts["north" if last_row > row else "south"] += abs(last_row - row)
            for target, weight in neuron.edges:
                target.arriving = (target.arriving or 0) + weight
    tile = chip["tile"][0]
    core = tile["core"][0]
    soma = core["soma"][0]["attributes"]
    costs = {f"energy_{way}_hop": counts[way] for way in ("north", "south", "east", "west")}
    energies = [tile["attributes"][key] * n for key, n in costs.items()]
    energies += [soma["energy_access_neuron"] * counts["access"], soma["energy_update_neuron"] * counts["update"]]
    energies += [soma["energy_spike_out"] * counts["spike"], core["synapse"][0]["attributes"]["energy_process_spike"] * counts["synapse"]]
    energies += [core["axon_in"][0]["attributes"]["energy_message_in"] * counts["message"]]
    energies += [core["axon_out"][0]["attributes"]["energy_message_out"] * counts["message"]]
    found.energy = sum(energies) * 1e12
    return found
