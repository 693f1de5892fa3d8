"""What every kind of population and table answers, and how little a new one needs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import pytest

import eventsim as es
from eventsim.analysis.facts import network_facts
from eventsim.engines.reference import kinds as reference_kinds
from eventsim.engines.reference import neurons
from eventsim.errors import NetworkError, RunError
from eventsim.model.populations import Population, Readout, Spiking
from eventsim.model.populations.population import STORED
from eventsim.model.registry import POPULATIONS, TABLES
from eventsim.model.tables import Dense, Table


def one_of_each() -> es.Network:
    net = es.Network()
    net.image_input((2, 2, 1))
    net.driven("image", 4, 5, encoder=Dense(np.eye(4, dtype=int)))
    net.driven("currents", 4, 5)
    net.spiking("spiking", 4, 3)
    net.leaky("leaky", 4, 3, decay=100)
    net.leaky("leaky current", 4, 3, leak=2, current_decay=[1, 2, 3, 4], reset="value", amount=-1)
    net.readout("readout", 2)
    net.leaky_readout("leaky readout", 2, decay=[0, 4096])
    net.leaky_readout("leaky readout current", 2, leak=7, current_decay=9)
    net.source("events", 4)
    net.source("rates", 4, "poisson", rate=0.5)
    net.source("given rates", 4, "poisson")
    net.source("clock", 1, "clock")
    net.event_input("camera", (2, 2, 1), polarity="sign")
    net.maximum("maximum", 4)
    net.connect("spiking", "maximum", es.Windows(1))
    net.connect("events", "spiking", np.eye(4, dtype=int))
    net.connect("rates", "spiking", es.Sparse(np.arange(5), np.arange(4), np.ones(4, int), 4))
    net.connect("spiking", "readout", es.Conv2d(np.ones((1, 1, 4, 2), int)))
    net.connect("spiking", "readout", es.GroupedConv2d(np.ones((1, 1, 2, 2), int), 2))
    return net


def test_every_kind_answers_everything():
    net = one_of_each()
    assert {p.kind for p in net.populations.values()} == set(POPULATIONS)
    assert {q.table.kind for q in net.projections} | {"dense"} == set(TABLES)
    for protocol, things in ((Population, net.populations.values()), (Table, [q.table for q in net.projections])):
        for thing in things:
            for name in protocol.__annotations__:
                assert hasattr(thing, name), (thing, name)


def test_the_answers_agree_with_one_another():
    for name, p in one_of_each().populations.items():
        assert p.fires + p.reads_out + bool(p.emits) == 1, name  # it makes spikes, takes them only, or repeats them
        assert p.sends_spikes == (p.fires or bool(p.emits))
        assert not (p.needs_input and p.input_kind is None)
        assert (p.bias is not None) == (p.input_kind == "currents")
        assert not (p.takes_spikes and p.input_kind is not None)
        assert (p.v0 is None) == (len(p.initial_potentials()) == 0) == (bool(p.emits) or name == "maximum")
        assert p.is_clock == (name == "clock")
    kinds = {name: (p.input_kind, p.needs_input) for name, p in one_of_each().populations.items()}
    assert kinds == {
        "image": ("currents", False), "currents": ("currents", True), "spiking": (None, False), "readout": (None, False),
        "maximum": (None, False), "leaky": (None, False), "leaky current": (None, False),
        "leaky readout": (None, False), "leaky readout current": (None, False),
        "events": ("events", True), "rates": ("rates", False), "given rates": ("rates", True), "clock": (None, False),
        "camera": ("recording", True),
    }  # fmt: skip


def test_a_table_is_of_one_form():
    shapes = (4,), (4,)
    for q in one_of_each().projections[1:3]:
        forms = {"stencil": q.table.to_stencil(*shapes), "rows": q.table.to_rows(*shapes)}
        assert [name for name, form in forms.items() if form is not None] == [q.table.form]
        assert np.array_equal(q.table.matrix(*shapes), np.eye(4))


@pytest.mark.parametrize("seed", range(5))
def test_a_matrix_has_the_synapses_of_the_table(seed):
    rng = np.random.default_rng(seed)
    source, target = (4, 3, 2), (2, 2, 3)
    tables = (
        es.Conv2d(rng.integers(-5, 6, (3, 3, 2, 3)), padding=1, pool_after=(2, 1)),
        Dense(rng.integers(-5, 6, (4, 12)), pool_before=2),
        Dense(rng.integers(-5, 6, (24, 12))),
        es.Sparse.from_matrix(rng.integers(-1, 2, (24, 12))),
    )
    for table in tables:
        shape = table.output_shape(source) if table.kind == "conv2d" else target
        table.check(source, shape)
        image = rng.integers(-9, 10, source)
        assert np.array_equal(image.ravel() @ table.matrix(source, shape), table.apply(image, shape))
        gain = rng.integers(-3, 4, 2)
        assert np.array_equal(table.scaled(gain).matrix(source, shape), np.tile(gain, 12)[:, None] * table.matrix(source, shape))


class Later(Readout):
    """A kind that came to the house and did not register."""

    kind = "later"


class Imitation(Readout):
    """A kind that took another one's name, and would be read back as that."""


def test_what_is_of_no_kind_is_refused():
    net = one_of_each()
    net.populations["readout"] = Later((2,), np.zeros(2, np.int64))
    with pytest.raises(
        NetworkError, match=r"readout: Later is no kind of population; there are: driven, spiking, leaky, .*, source, event_input; add pop"
    ):
        es.Simulator(net)
    net.populations["readout"] = Imitation((2,), np.zeros(2, np.int64))
    with pytest.raises(NetworkError, match="readout: Imitation is no kind of population"):
        net.check()
    net = one_of_each()
    net.populations["spiking"] = "spiking"
    with pytest.raises(NetworkError, match="spiking: str is no kind of population"):
        net.check()
    net = one_of_each()
    object.__setattr__(net.projections[1], "table", np.eye(4, dtype=int))
    kinds = "conv2d, dense, sparse, grouped_conv2d, windows"
    with pytest.raises(NetworkError, match=f"events->spiking: ndarray is no kind of table; there are: {kinds}; join"):
        net.check()


@dataclass(frozen=True, eq=False, repr=False)
class Slow(Spiking):
    """Neurons with a parameter of their own: a population kind as short as one can be."""

    patience: int = 0
    kind = "slow"

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"patience": self.patience}

    def details(self) -> list[str]:
        return [*super().details(), f"patience {self.patience}"]

    def write(self, group):
        group.attributes(patience=self.patience)
        group.per_channel("threshold", self.threshold)

    @classmethod
    def read(cls, group, around):
        group.holds((*STORED, "patience"), ("threshold",))
        threshold = group.per_channel("threshold", around.shape[-1]).astype(np.int64)
        return cls(
            around.shape,
            np.broadcast_to(threshold, 1),
            np.zeros(1, np.int64),
            "subtract",
            False,
            0.0,
            patience=group.integer("patience", 0, 9),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Chain(Table):
    """Synapses from each neuron to the one of the same number: a table kind that no compiled code knows."""

    weights: np.ndarray
    kind: ClassVar[str] = "chain"
    form = None
    all_to_all = False

    def output_shape(self, source_shape):
        return source_shape

    def check(self, source_shape, target_shape):
        if not np.prod(source_shape) == np.prod(target_shape) == len(self.weights):
            raise NetworkError("chain: another number of neurons")

    def synapses_from(self, neuron, source_shape, target_shape):
        yield neuron, int(self.weights[neuron])

    def fan_out(self, source_shape, target_shape):
        return np.ones(len(self.weights), np.int64)

    additions = toolbox_fan_out = fan_out

    def effective_fan_out(self, source_shape, target_shape):
        return (self.weights != 0).astype(np.int64)

    def macs(self, source_shape, target_shape):
        return len(self.weights)

    def apply(self, values, target_shape):
        return values.ravel() * self.weights.astype(np.int64)

    def scaled(self, gain):
        return Chain(self.weights * gain)

    def write(self, group):
        group.attributes(neurons=len(self.weights))

    @classmethod
    def read(cls, group, source_shape):
        from eventsim.model.tables.storage import check_members, read_weights

        check_members(group, ("neurons",))
        return cls(read_weights(group, group.integers("neurons", (None,), 1)))


def new_kinds(monkeypatch) -> es.Network:
    monkeypatch.setitem(POPULATIONS, "slow", Slow)
    monkeypatch.setitem(TABLES, "chain", Chain)
    monkeypatch.setitem(reference_kinds.KINDS, "slow", neurons.Spiking)
    net = es.Network()
    net.source("in", 3)
    net.add("slow", Slow((3,), np.full(1, 2, np.int64), np.zeros(1, np.int64), "subtract", False, 0.0, patience=7))
    net.readout("out", 3)
    net.connect("in", "slow", np.eye(3, dtype=int))
    net.connect("slow", "out", Chain(np.array([5, -300, 7], np.int16)))
    return net


def test_a_new_kind_is_saved_described_and_told_from_others(monkeypatch, tmp_path):
    net = new_kinds(monkeypatch)
    es.save(net, tmp_path / "net.h5")
    again = es.load(tmp_path / "net.h5")
    assert again == net
    assert again.populations["slow"] != Spiking(*(getattr(again.populations["slow"], f.name) for f in fields(Spiking)))
    assert "  slow: slow 3, threshold 2, reset subtract, patience 7" in str(again).splitlines()
    facts = network_facts(again)
    assert facts["populations"][1]["patience"] == 7
    assert (facts["projections"][1]["table"], facts["projections"][1]["synapses"], facts["projections"][1]["bits"]) == ("chain", 3, 16)
    monkeypatch.delitem(POPULATIONS, "slow")
    with pytest.raises(es.NetworkFileError, match=r"is 'slow', expected one of driven, spiking, leaky, .*, source, event_input; see docs"):
        es.load(tmp_path / "net.h5")


def test_a_new_kind_runs_where_it_can(monkeypatch, tmp_path):
    net = new_kinds(monkeypatch)
    events = {"in": ([0.1, 0.2, 0.3, 0.4, 0.5], [0, 0, 1, 1, 2])}
    result = es.run(net, events, steps=1, resolution=16, trace=tmp_path / "run.h5", potentials="all")
    assert result.info.settings["engine"] == "reference"
    assert result.potentials("slow").tolist() == [[0, 0, 1]]
    assert result.readout.tolist() == [[5, -300, 0]]
    with es.Trace(tmp_path / "run.h5") as trace:
        assert [p.kind for p in trace.info.populations] == ["source", "slow", "readout"]
        assert trace.recorded == ["in", "slow"]
    net.populations["slow"] = Spiking((3,), np.full(1, 2, np.int64), np.zeros(1, np.int64), "subtract", False, 0.0)
    for name in ("queue", "layered"):
        with pytest.raises(RunError, match=f"the {name} engine does not run chain tables, and slow->out has one; use engine 'auto'"):
            es.run(net, events, steps=1, engine=name)
    net.populations["slow"] = Readout((3,), np.zeros(3, np.int64))
    with pytest.raises(NetworkError, match="slow is a readout and never fires"):
        net.connect("slow", "out", np.eye(3, dtype=int))


def test_potentials_follow_from_tables_that_no_compiled_code_knows(monkeypatch):
    net = new_kinds(monkeypatch)
    net.spiking("last", 3, 4, reset="zero")
    net.connect("slow", "last", Chain(np.array([3, -2, 1])))
    events = {"in": ([0.1, 0.2, 0.3, 0.4, 0.5, 1.1], [0, 0, 1, 1, 2, 2])}
    result = es.run(net, events, steps=2, resolution=16, potentials="all")
    assert result.potentials("last").tolist() == [[3, -2, 0], [3, -2, 1]]
