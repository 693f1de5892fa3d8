"""Evaluations on a real Dask cluster, which loses a worker and then its scheduler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from judges.evaluations import same, small_data, small_network

import eventsim as es
from eventsim.batch import evaluate as evaluating


def wait_for(condition, what):
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def real_cluster(tmp_path, monkeypatch):
    """A real scheduler and two workers on loopback: (address, processes), the scheduler first."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("eventsim.batch.executors.dask.TIMEOUT", "600s")
    monkeypatch.setattr(evaluating, "MOST_IMAGES", 2)
    environment = os.environ | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s"}
    address_file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    processes = [subprocess.Popen([*command, "--scheduler-file", address_file], env=environment, stderr=subprocess.DEVNULL)]
    try:
        wait_for(lambda: address_file.exists() and address_file.read_text().endswith("}"), "no scheduler")
        address = json.loads(address_file.read_text())["address"]
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path)]
        for _ in range(2):
            worker = [sys.executable, "-m", "dask", "worker", address, *options]
            processes.append(subprocess.Popen(worker, env=environment, stderr=subprocess.DEVNULL))
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=600)
        yield address, processes
    finally:
        for process in processes[::-1]:
            process.kill()
            process.wait()


def test_a_cluster_that_loses_a_worker_and_then_its_scheduler(tmp_path, real_cluster, monkeypatch, capfd):
    """What one worker has not done the other does; without a scheduler there is one line, and what is done is kept."""
    address, processes = real_cluster
    net, data = small_network(), small_data(200)
    here = es.evaluate(net, data, tmp_path / "here.h5", workers=1)
    killed = []

    def kill_one_halfway(done, total):
        if done >= total // 2 and not killed:
            processes[1].kill()
            killed.append(done)

    there = es.evaluate(net, data, tmp_path / "there.h5", scheduler=address, progress=kill_one_halfway)
    assert killed
    assert killed[0] < 200
    assert processes[1].wait() != 0
    same(here, there)

    import eventsim.batch.executors.dask

    clients = []

    class Impatient(eventsim.batch.executors.dask.Client):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._timeout = 1  # to connect again
            clients.append(self)

    monkeypatch.setattr(eventsim.batch.executors.dask, "Client", Impatient)

    def kill_the_scheduler(done, total):
        if done >= 20:
            processes[0].kill()
            processes[0].wait()
            # The client has given up, and says so to whoever asks for more.
            wait_for(lambda: clients[0].status == "closed", "the client waits for its scheduler")

    capfd.readouterr()
    with pytest.raises(es.RunError, match=r"the Dask scheduler is gone; once it is back, the same command goes on"):
        es.evaluate(net, data, tmp_path / "lost.h5", scheduler=address, progress=kill_the_scheduler)
    assert capfd.readouterr() == ("", "")
    notes = []
    same(here, es.evaluate(net, data, tmp_path / "lost.h5", workers=1, note=notes.append))
    assert "of 200 images were done before" in notes[0]
