"""The lists of mutants fit the sources and the tests (tools/mutants.py, which takes long, runs them)."""

from __future__ import annotations

import re

import mutants
import pytest


def test_the_lists_fit_the_sources():
    listed = mutants.read_lists()
    assert listed
    assert [fault for mutant in listed for fault in mutant.faults()] == []


def test_an_entry_that_fits_nothing_is_named(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    (tmp_path / "t.py").write_text("def test_a():\n    pass\n")
    good = {"file": "a.py", "old": "x = 1\nx", "new": "x = 2\nx", "tests": ["t.py::test_a[case-1]"]}
    assert mutants.Mutant(**good).faults(tmp_path) == []
    for change, words in [
        ({"old": "x = 1"}, "2 times"),
        ({"file": "b.py"}, "0 times"),
        ({"new": good["old"]}, "changes nothing"),
        ({"tests": []}, "names no tests"),
        ({"tests": ["t.py::test_b"]}, "no test t.py::test_b"),
        ({"tests": ["u.py"]}, "no test u.py"),
    ]:
        (fault,) = mutants.Mutant(**good | change).faults(tmp_path)
        assert words in fault


def test_an_entry_is_in_the_list_of_its_room(tmp_path):
    text = '[[mutant]]\nfile = "eventsim/%s"\nold = "x"\nnew = "y"\ntests = ["t.py"]\n'
    (tmp_path / "model.toml").write_text(text % "model/network.py")
    (tmp_path / "simulate.toml").write_text(text % "simulate.py")
    assert [mutant.file for mutant in mutants.read_lists(tmp_path)] == ["eventsim/model/network.py", "eventsim/simulate.py"]
    for wrong, words in [
        (text % "job/job.py", "eventsim/job/job.py is of another room"),
        (text % "record/trace.py" + "reason = 1\n", "unknown keys ['reason']"),
    ]:
        (tmp_path / "record.toml").write_text(wrong)
        with pytest.raises(ValueError, match=re.escape(words)):
            mutants.read_lists(tmp_path)


def test_a_survivor_and_a_killed_one(tmp_path, monkeypatch):
    """A mutant of a small repository: one that its test notices, one that it does not; the source comes back as it was."""
    for name in ("eventsim", "tests", "tools"):
        (tmp_path / "root" / name).mkdir(parents=True)
    source = "def add(a, b):\n    return a + b\n"
    (tmp_path / "root" / "eventsim" / "sums.py").write_text(source)
    (tmp_path / "root" / "eventsim" / "__init__.py").write_text("")
    (tmp_path / "root" / "tests" / "test_sums.py").write_text(
        "from eventsim.sums import add\n\n\ndef test_add():\n    assert add(2, 2) == 4\n"
    )
    monkeypatch.setattr(mutants, "ROOT", tmp_path / "root")
    (tmp_path / "scratch").mkdir()
    scratch = mutants.Scratch(tmp_path / "scratch")
    entry = {"file": "eventsim/sums.py", "old": "a + b", "tests": ["tests/test_sums.py"]}
    assert scratch.passes(entry["tests"], {})[0]
    assert not scratch.survives(mutants.Mutant(**entry, new="a - b"))
    assert scratch.survives(mutants.Mutant(**entry, new="a * b"))
    assert (scratch.root / "eventsim" / "sums.py").read_text() == source
    # One that never ends is noticed, too.
    monkeypatch.setattr(mutants, "_LIMIT", 5)
    assert not scratch.survives(mutants.Mutant(**entry | {"old": "    return", "new": "    while True: pass\n    return"}))
