"""tools/house.py counts what it says, and the rows of its table that are met stay met."""

from __future__ import annotations

import subprocess
from pathlib import Path

import house
import pytest
from click.testing import CliRunner

ROWS = {row.name: row for row in house.House().rows()}


@pytest.mark.parametrize("name", ROWS)
def test_all_rows_are_met(name):
    row = ROWS[name]
    assert row.met, f"{name}: {row.today}, expected {row.wanted}: " + "; ".join(row.places)


def build(root: Path, **files: str) -> dict[str, house.Row]:
    """The rows of a small package; ``a__b`` is the module a.b."""
    for name, text in files.items():
        path = root / "eventsim" / Path(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {row.name: row for row in house.House(root).rows()}


def test_imports(tmp_path):
    rows = build(
        tmp_path,
        errors="import os\n",
        files__reading="from eventsim.errors import E\n",
        model__network="from eventsim.files import reading\nfrom eventsim.model import order\n",
        model__order="def f():\n    from eventsim.model.network import Network\n",
        simulate="import eventsim.model.network\n",
        job__job="from eventsim.simulate import run\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from eventsim.cli import x\n",
        other="import eventsim.job.job",
    )
    assert rows["rooms on the top floor"].today == "3 folders, 3 files"
    assert not rows["rooms on the top floor"].met
    # Each on the next: errors, files, model, simulate, job, other; the last is no room.
    assert rows["import floors of the rooms"].today == "6"
    assert rows["arrows between rooms"].today == "5"
    assert rows["imports against the direction"].places == [
        "job.job:1 imports eventsim.simulate.run",
        f"other: no room of {house.ORDER}",
    ]
    assert rows["circles of imports"].today == "1"


FUNCTIONS = '''from numba import njit
from eventsim.kernels.compiled import compiled

@compiled
def kernel(a, b, c, d, e, f, g, h, i, j, k, l, m):
    """Of
    several lines."""
    # a comment

    return a

@njit(nogil=True)
def small():
    def inner(*lines, **more):
        pass

class A:
    def method(self, a, b, c, d, e, f, g, h, i, j):
        return (
            a
        )

    def wide(self, a, b, c, d, e, f, g, h, i, *, j, **k):
        pass
'''


def test_functions(tmp_path):
    long = "\n\ndef long():\n" + "    x = 1\n" * 60
    rows = build(tmp_path, kernels__a=FUNCTIONS, job__b="def nearly():\n" + "    x = 1\n\n" * 59 + long)
    module = house.House(tmp_path).modules["kernels.a"]
    found = {f.place.split()[1]: (f.lines, f.parameters, f.kernel) for f in module.functions}
    assert found == {
        "kernel": (2, 13, True),
        "small": (3, 0, True),
        "inner": (2, 2, True),
        "method": (4, 10, False),
        "wide": (2, 11, False),
    }
    assert {f.called for f in module.functions} == {f"kernels.a.{name}" for name in found}
    assert rows["longest function, elsewhere"].today == "61"
    assert rows["functions over 60 lines, elsewhere"].places == ["job.b:122 long: 61 lines"]
    assert rows["longest function, kernels"].met
    assert rows["functions with more than 12 parameters, kernels"].places == ["kernels.a:5 kernel: 13 parameters"]
    assert rows["functions with more than 10 parameters, elsewhere"].places == ["kernels.a:23 wide: 11 parameters"]


def test_numbered_places(tmp_path):
    rows = build(
        tmp_path,
        kernels__a="A, B = range(2)\n(C,\n D) = 0, 1\nE, F = 3, 4\n",
        kernels__b="from eventsim.kernels.a import A, E\nfrom eventsim.kernels import a\nx = a.C + a.C + a.F\nG, H = range(2)\n",
        kernels__c="from eventsim.kernels import a as k\ny = k.A\n",
    )
    row = rows["numbered places shared between files"]
    assert row.today == "2 of 6"
    assert row.places == ["kernels.a.A in kernels.b", "kernels.a.A in kernels.c", "kernels.a.C in kernels.b"]


def test_questions_for_kinds(tmp_path):
    rows = build(
        tmp_path,
        model__populations__pooling="class MaxPool:\n    pass\n",
        model__network="class Driven:\n    pass\n\nx = isinstance(y, (Driven, int))\n",
        model__registry="from eventsim.model.network import Driven\nx = isinstance(y, Driven)\n",
        engines__a="from torch import nn\nfrom eventsim.model import x\na = isinstance(y, nn.Conv2d)\nb = isinstance(y, x.MaxPool)\n",
        cli__d="import eventsim as es\nfrom eventsim.kernels.c import Dense\nx = isinstance(y, es.Dense)\nx = isinstance(y, Dense)\n",
        kernels__c="class Dense:\n    pass\n\nx = isinstance(y, Dense)\n",
        engines__b="x = p.kind == 'driven' or p.kind in ('sparse', 'dense') or p.kind == 'O' or kind == 'driven'\n",
    )
    row = rows["questions for the kind of a population or table"]
    assert [place.partition(" ")[0] for place in row.places] == ["cli.d:3", "engines.a:4", "engines.b:1", "engines.b:1", "model.network:4"]
    assert row.today == "5 in 4 files"


def test_compilers(tmp_path):
    builder = "from llvmlite import ir\nfrom numba.core import cgutils\nwith cgutils.for_range(builder, n) as loop:\n    pass\n"
    rows = build(
        tmp_path,
        kernels__vector=builder,
        kernels__compiled="from numba.core.event import install_timer\nx = njit(_nrt=False)\n",
        job__a="import numba\nf.compile(())\nx = njit(_nrt=False)\n",
        job__b="import re\nre.compile('')\n",
    )
    assert rows["files with hand-written LLVM"].met
    assert rows["control flow in them"].places == ["kernels.vector:3 for_range"]
    row = rows["files with private parts of numba"]
    assert (row.today, row.places) == ("2", ["job.a:2 .compile", "job.a:3 _nrt="])
    rows = build(tmp_path, kernels__other=builder)
    assert not rows["files with hand-written LLVM"].met


TESTS = """import re
import eventsim.kernels.simd as s
from eventsim.batch import evaluate, parts
from eventsim.model.network import _check, Network

def test_one(monkeypatch):
    s._twin(re._parser, s.lanes, Network().__class__)
    monkeypatch.setattr(evaluate, "_PAYS", 1)
    monkeypatch.setattr(parts.Parts, "_read", 1)
    monkeypatch.setattr("eventsim.batch.executors.dask._TIMEOUT", "1s")
    monkeypatch.setattr(re, "_cache", {})
    monkeypatch.setattr(evaluate, "PAYS", "_some")
"""


def test_tests(tmp_path):
    for name, text in {"tests/a/test_a.py": TESTS, "benchmarks/b.py": "from eventsim import _x\n", "tests/b.py": "\n" * 401}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    rows = build(tmp_path, errors="")
    assert rows["longest file of tests"].today == "401"
    assert rows["longest file of tests"].places == ["tests/b.py: 401 lines"]
    assert rows["private names used by tests and benchmarks"].places == [
        "tests/a/test_a.py:4 eventsim.model.network._check",
        "tests/a/test_a.py:8 _PAYS",
        "tests/a/test_a.py:9 _read",
        "tests/a/test_a.py:10 eventsim.batch.executors.dask._TIMEOUT",
        "tests/a/test_a.py:7 s._twin",
        "benchmarks/b.py:1 eventsim._x",
    ]


def test_the_table(tmp_path):
    build(tmp_path, errors="def f(a, b, c, d, e, f, g, h, i, j, k):\n    pass\n")
    done = CliRunner().invoke(house.main, [str(tmp_path), "--places", "parameters, elsewhere"])
    assert done.exit_code == 1
    assert "functions with more than 10 parameters, elsewhere  1                   0                       NOT MET" in done.output
    assert done.output.endswith("parameters, elsewhere:\n    errors:1 f: 11 parameters\n")
    build(tmp_path, errors="")
    assert CliRunner().invoke(house.main, [str(tmp_path)]).exit_code == 0


def test_times_are_those_of_the_start_benchmark(monkeypatch):
    ran = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: ran.append(command) or subprocess.CompletedProcess(command, 0))
    rows = list(house.timed_rows(house.ROOT))
    assert ran
    assert all(row.met for row in rows)  # nothing took no time
    assert {"first run", "warm run"} <= {row.name for row in rows}
