"""Unfinished evaluations: what is damaged is made again, what is half there is taken over, what is whole is on the disk first."""

from __future__ import annotations

import os
import shutil
import threading

import numpy as np
import pytest
from judges.evaluations import same, small_data, small_network

import eventsim as es
from eventsim.batch import evaluate as evaluating
from eventsim.batch import parts as evaluation_parts
from eventsim.batch.parts import Parts
from eventsim.files import atomic


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """An evaluation of 37 images with two of four parts done, and one made alone; gives a function that ends it and compares."""
    monkeypatch.setattr(evaluating, "MOST_IMAGES", 10)
    net, data = small_network(), small_data()
    alone = es.evaluate(net, data, tmp_path / "alone.h5", workers=1)

    def stop(done, total):
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        es.evaluate(net, data, tmp_path / "e.h5", progress=stop, workers=1)

    def finish():
        found = []
        with es.evaluate(net, data, tmp_path / "e.h5", workers=1, progress=lambda done, total: found.append(done)) as e:
            same(alone, e)
        assert sorted(os.listdir(tmp_path)) == ["alone.h5", "e.h5"]
        (tmp_path / "e.h5").unlink()
        return found[0] if found else None

    return finish


def test_a_damaged_part_is_made_again(tmp_path, interrupted):
    parts = tmp_path / "e.h5.parts"
    part, saved = parts / "000000000.npz", tmp_path / "saved"
    shutil.copytree(parts, saved)
    whole = part.read_bytes()
    middle = len(whole) // 2
    damages = [
        whole[:middle],
        b"",
        whole[:100] + b"x" * 50 + whole[150:],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
    ]
    # Whole, but of fewer images.
    with np.load(part) as file:
        np.savez(tmp_path / "fewer.npz", **{name: values if values.ndim == 0 else values[:5] for name, values in file.items()})
    damages.append((tmp_path / "fewer.npz").read_bytes())
    (tmp_path / "fewer.npz").unlink()
    shutil.rmtree(parts)
    for damage in damages:
        shutil.copytree(saved, parts)
        part.write_bytes(damage)
        shutil.move(saved, tmp_path.parent / f"{tmp_path.name}-saved")
        assert interrupted() == 10
        shutil.move(tmp_path.parent / f"{tmp_path.name}-saved", saved)


@pytest.mark.parametrize(("key", "before"), [(None, 20), ("", 20), ("123", 20)])
def test_parts_are_known_without_their_folder_s_key(tmp_path, interrupted, key, before):
    note = tmp_path / "e.h5.parts" / "key"
    if key is None:
        note.unlink()
    else:
        note.write_text(key)
    assert interrupted() == before


def test_an_empty_folder_and_a_half_removed_one_are_taken_over(tmp_path, interrupted):
    parts = tmp_path / "e.h5.parts"
    (parts / "000000010.npz").unlink()
    assert interrupted() == 10
    parts.mkdir()
    assert interrupted() == 0


def test_parts_beside_a_whole_evaluation_are_removed(tmp_path, interrupted):
    parts, saved = tmp_path / "e.h5.parts", tmp_path.parent / f"{tmp_path.name}-saved"
    shutil.copytree(parts, saved)
    net, data = small_network(), small_data()
    es.evaluate(net, data, tmp_path / "e.h5", workers=1).close()
    shutil.copytree(saved, parts)
    assert interrupted() is None
    # But not those of another evaluation, or of nobody known.
    es.evaluate(net, data, tmp_path / "e.h5", workers=1, steps=5).close()
    shutil.copytree(saved, parts)
    es.evaluate(net, data, tmp_path / "e.h5", workers=1, steps=5).close()
    assert len(os.listdir(parts)) == 3
    shutil.rmtree(parts)
    parts.mkdir()
    (parts / "letter.txt").write_text("mine")
    es.evaluate(net, data, tmp_path / "e.h5", workers=1, steps=5).close()
    assert (parts / "letter.txt").read_text() == "mine"


def test_a_part_of_another_evaluation_is_not_taken(tmp_path):
    parts = Parts(tmp_path / "parts", "a" * 64, "1")
    parts.add(0, {"end_tick": np.zeros(3)})
    assert parts.has(0, 3)
    (tmp_path / "parts" / "key").unlink()
    with pytest.raises(es.RunError, match="parts of another evaluation"):
        Parts(tmp_path / "parts", "b" * 64, "1").has(0, 3)
    (tmp_path / "parts" / "000000000.npz").unlink()
    with pytest.raises(es.RunError, match=r"made by eventsim 1 \(this is 2\); remove the folder"):
        Parts(tmp_path / "parts", "a" * 64, "2")
        Parts(tmp_path / "parts", "c" * 64, "1")


def test_temporaries_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path, interrupted):
    parts = tmp_path / "e.h5.parts"
    replacement = atomic.Replacement(parts / "000000020.npz")
    dead = tmp_path / replacement.path.name
    dead.write_bytes(b"half")
    shutil.move(dead, parts / dead.name.replace(".part", "dead.part"))
    Parts(parts, *(parts / "key").read_text().split())
    assert [name for name in os.listdir(parts) if name.startswith(".")] == [replacement.path.name]
    replacement.discard()
    assert interrupted() == 20


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="names of open files")
def test_what_is_done_is_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    """Each part is synced before it has its name; all is removed only after the whole evaluation is."""
    net, data = small_network(), small_data()
    monkeypatch.setattr(evaluating, "MOST_IMAGES", 20)
    events, fsync, replace, remove = [], os.fsync, os.replace, Parts.remove

    def synced(handle):
        events.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))))
        fsync(handle)

    def renamed(source, target):
        events.append(("name", os.path.basename(source), os.path.basename(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(Parts, "remove", lambda self: events.append(("remove",)) or remove(self))
    es.evaluate(net, data, tmp_path / "e.h5", workers=1).close()
    named = {event[2]: (i, event[1]) for i, event in enumerate(events) if event[0] == "name"}
    assert {"key", "000000000.npz", "000000020.npz", "e.h5"} <= named.keys()
    for target, (i, temporary) in named.items():
        assert ("sync", temporary) in events[:i], target
    i = named["e.h5"][0]
    assert events.index(("remove",)) > events.index(("sync", tmp_path.name), i)


def test_the_same_evaluation_twice_at_a_time(tmp_path, monkeypatch):
    """The slower one finds its parts gone, and the evaluation whole."""
    net, data = small_network(), small_data()
    alone = es.evaluate(net, data, tmp_path / "alone.h5", workers=1)
    others = []

    def overtake(done, total):
        if not others:
            other = threading.Thread(target=lambda: others.append(es.evaluate(net, data, tmp_path / "e.h5", workers=1)))
            others.append(other)
            other.start()
            other.join()

    e = es.evaluate(net, data, tmp_path / "e.h5", workers=1, progress=overtake)
    same(alone, e)
    same(alone, others[1])
    assert not (tmp_path / "e.h5.parts").exists()


def test_no_more_processes_than_pay(monkeypatch):
    monkeypatch.setattr(evaluating, "available_processors", lambda: 8)
    pays = evaluating.PAYS
    for workers, pieces, neuron_steps, expected in (
        (None, 100, 0, 1),
        (None, 100, 2 * pays - 1, 1),
        (None, 100, 3 * pays, 3),
        (None, 2, 3 * pays, 2),
        (None, 100, 100 * pays, 8),
        (4, 100, 0, 4),
        (4, 3, 0, 3),
        (20, 100, 100 * pays, 20),
    ):
        assert evaluating.paying_processes(workers, pieces, neuron_steps) == expected


def test_a_folder_that_cannot_be_used(tmp_path, monkeypatch):
    (tmp_path / "parts").write_text("a file")
    with pytest.raises(es.RunError, match="cannot be used"):
        Parts(tmp_path / "parts", "a" * 64, "1")
    parts = Parts(tmp_path / "others", "a" * 64, "1")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluation_parts, "write_bytes", full)
    with pytest.raises(es.RunError, match="cannot be written"):
        parts.add(0, {"end_tick": np.zeros(3)})


def test_parts_that_another_process_has_removed_are_gone(tmp_path, monkeypatch):
    """It wrote the same evaluation, and was first by a moment."""
    net, data = small_network(), small_data()
    write = evaluating.write

    def overtaken(*arguments):
        write(*arguments)
        shutil.rmtree(tmp_path / "e.h5.parts")

    monkeypatch.setattr(evaluating, "write", overtaken)
    with es.evaluate(net, data, tmp_path / "e.h5", workers=1) as e:
        assert len(e.image) == len(data)
