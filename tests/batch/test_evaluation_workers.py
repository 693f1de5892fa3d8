"""What decides a result is never mixed up: evaluations side by side, workers of another eventsim, images that change."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from judges.evaluations import same, small_data, small_network
from PIL import Image

import eventsim as es
from eventsim.batch import evaluate as evaluating
from eventsim.batch import self_test
from eventsim.batch import work as evaluation_work
from eventsim.batch.executors import pieces
from eventsim.engines.layered import engine as layered
from eventsim.files import hashes as file_hashes
from eventsim.model.exits import ExitRule

SETTINGS = ({"resolution": 2**20}, {"resolution": 1}, {"resolution": 1, "exit_margin": 9}, {"steps": 5}, {"trade_off": False})


@pytest.fixture
def fresh_self_test():
    self_test.digest.cache_clear()
    yield
    self_test.digest.cache_clear()


def side_by_side(tmp_path, **where):
    """Evaluations of one network under all settings at once, each equal to one made alone."""
    net, data = small_network(), small_data()
    alone = [es.evaluate(net, data, tmp_path / f"alone{i}.h5", workers=1, **s) for i, s in enumerate(SETTINGS)]
    together = [None] * len(SETTINGS)
    barrier = threading.Barrier(len(SETTINGS))

    def one(i):
        barrier.wait()
        together[i] = es.evaluate(net, data, tmp_path / f"together{i}.h5", **where, **SETTINGS[i])

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(SETTINGS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(alone, together, strict=True):
        same(a, b)
    assert not evaluation_work.works_here


def test_evaluations_in_threads_of_one_process(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluating, "MOST_IMAGES", 1)
    side_by_side(tmp_path, workers=1)


def test_evaluations_on_one_cluster(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("eventsim.batch.executors.dask.TIMEOUT", "600s")
    monkeypatch.setattr(evaluating, "MOST_IMAGES", 4)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        side_by_side(tmp_path, scheduler=cluster.scheduler_address)


def test_work_differs_in_everything_that_decides_a_result():
    first = evaluation_work.Work(b"net", "digest", 8, 1, 0, None, True, "1", "t")
    others = [
        evaluation_work.Work(b"net", *values)
        for values in (
            ("other", 8, 1, 0, None, True, "1", "t"),
            ("digest", 9, 1, 0, None, True, "1", "t"),
            ("digest", 8, 2, 0, None, True, "1", "t"),
            ("digest", 8, 1, 1, None, True, "1", "t"),
            ("digest", 8, 1, 0, ExitRule("margin", 5), True, "1", "t"),
            ("digest", 8, 1, 0, ExitRule("potential", 5), True, "1", "t"),
            ("digest", 8, 1, 0, None, False, "1", "t"),
            ("digest", 8, 1, 0, None, True, "2", "t"),
            ("digest", 8, 1, 0, None, True, "1", "u"),
        )
    ]
    assert len({work.key for work in [first, *others]}) == len(others) + 1


def test_all_engines_pass_the_self_test():
    assert self_test.digest("reference") == self_test.digest("queue") == self_test.digest("layered") == self_test.digest()


def test_a_worker_that_computes_something_else_is_refused(tmp_path, monkeypatch, fresh_self_test):
    run = layered.run

    def one_more(*args):
        counts = run(*args)
        counts.spikes += 1
        return counts

    monkeypatch.setattr(layered, "run", one_more)
    with pytest.raises(es.RunError, match="another result for a small test run"):
        es.evaluate(small_network(), small_data(), tmp_path / "e.h5", workers=1)
    assert not (tmp_path / "e.h5").exists()
    assert [p.name for p in (tmp_path / "e.h5.parts").iterdir()] == ["key"]


def test_a_worker_of_another_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation_work, "version", lambda name: "9.9")
    with pytest.raises(es.RunError, match=r"process \d+ runs eventsim 9.9, this is"):
        es.evaluate(small_network(), small_data(), tmp_path / "e.h5", workers=1)


@pytest.mark.parametrize("wrong", [lambda done: done.arrays, lambda done: done._replace(key="0" * 64)])
def test_what_comes_back_must_be_what_was_asked_for(tmp_path, monkeypatch, wrong):
    def submit(self, function, *args):
        future = Future()
        future.set_result(wrong(function(*args)))
        return future

    monkeypatch.setattr(pieces.Here, "submit", submit)
    with pytest.raises(es.RunError, match=r"older eventsim|another evaluation"):
        es.evaluate(small_network(), small_data(), tmp_path / "e.h5", workers=1)


def test_parts_and_files_say_which_version_made_them(tmp_path, monkeypatch):
    net, data = small_network(), small_data()

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        es.evaluate(net, data, tmp_path / "e.h5", workers=1, progress=stop)
    for module in (evaluating, evaluation_work):
        monkeypatch.setattr(module, "version", lambda name: "9.9")
    with pytest.raises(es.RunError, match="parts of another evaluation"):
        es.evaluate(net, data, tmp_path / "e.h5", workers=1)
    e = es.evaluate(net, data, tmp_path / "other.h5", workers=1)
    assert e.info.settings["eventsim"] == "9.9"
    assert e.info.settings["self_test"] == self_test.digest()


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of six images, old enough for their hashes to be kept; hashes are kept below tmp_path."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_hashes.platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).save(folder / f"{i}.png")
        os.utime(folder / f"{i}.png", ns=(10**18, 10**18))
    return folder


@pytest.mark.parametrize("number", [0, 5])
def test_an_evaluation_is_not_whole_after_an_image_changed(tmp_path, photos, number):
    net = small_network()
    es.evaluate(net, photos, tmp_path / "e.h5", workers=1)
    notes = []
    es.evaluate(net, photos, tmp_path / "e.h5", workers=1, note=notes.append)
    assert "nothing to do" in notes[-1]
    Image.fromarray(np.full((6, 6), 9, np.uint8)).save(photos / f"{number}.png")
    with pytest.raises(es.RunError, match="another evaluation"):
        es.evaluate(net, photos, tmp_path / "e.h5", workers=1)
    es.evaluate(net, photos, tmp_path / "new.h5", workers=1)


def test_an_image_that_changes_meanwhile_ends_the_evaluation(tmp_path, photos):
    def change(done, total):
        if done == 6:
            Image.fromarray(np.full((6, 6), 9, np.uint8)).save(photos / "3.png")

    with pytest.raises(es.RunError, match="changed while they were evaluated"):
        es.evaluate(small_network(), photos, tmp_path / "e.h5", workers=1, progress=change)
    assert not (tmp_path / "e.h5").exists()


def test_files_are_read_again_only_where_they_changed(photos, monkeypatch):
    files = sorted(photos.iterdir())
    first = file_hashes.hash_files(files)
    read = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda stream, name: read.append(Path(stream.name)) or digest(stream, name))
    assert file_hashes.hash_files(files) == first
    assert read == []
    # The same bytes, touched; then other bytes of the same length.
    os.utime(files[2], ns=(10**18 + 1, 10**18 + 1))
    assert file_hashes.hash_files(files) == first
    files[2].write_bytes(b"x" * files[2].stat().st_size)
    assert file_hashes.hash_files(files) != first
    assert read == [files[2], files[2]]
    # Just changed: it may change again without another time, and is read each time.
    file_hashes.hash_files(files)
    assert read == [files[2]] * 3
    assert file_hashes.hash_files(files[::-1]) != first


@pytest.mark.parametrize("damage", [b"", b"[1]", b'{"0.png": 5}', b"[" * 10**5, b"\xff\xfe"])
def test_a_damaged_cache_of_hashes_costs_time_only(photos, damage):
    files = sorted(photos.iterdir())
    first = file_hashes.hash_files(files)
    file_hashes.file_of(photos).write_bytes(damage)
    assert file_hashes.hash_files(files) == first


def test_arrays_are_told_apart_by_every_image():
    data, other = small_data(), small_data()
    images, _ = other.arrays()
    images[-1, 0, 0] ^= 1
    everything = np.arange(len(data))
    assert data.digest(everything) == small_data().digest(everything)
    assert data.digest(everything) != other.digest(everything)
    assert data.digest(everything[:-1]) == other.digest(everything[:-1])
