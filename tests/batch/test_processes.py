"""Worker processes: none outlives its parent, none is lost without a word, and nobody needs a guarded script."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from judges.evaluations import same, small_data, small_network
from PIL import Image
from repository import ROOT

import eventsim as es
from eventsim.batch import evaluate as evaluating
from eventsim.batch.executors import local as processes
from eventsim.batch.folder import Settings, run_in_processes
from eventsim.batch.inputs import Item
from eventsim.cli.main import main
from eventsim.kernels.interrupt import DeferredInterrupt

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def nothing():
    pass


def fail():
    raise es.RunError("the start failed")


def double(number):
    return 2 * number


def strike(number):
    """As a worker: a signal, and then work until told to stop."""
    os.kill(os.getpid(), number)
    while True:
        processes.check()
        time.sleep(0.01)


def test_work_is_done():
    with processes.pool(2, "advice", nothing) as pool:
        assert list(pool.map(double, range(5))) == [0, 2, 4, 6, 8]


@posix
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_killed_is_one_error(number, capfd):
    words = r"worker process (died \(killed, or out of memory\?\); advice|was told to end)"
    with pytest.raises(es.RunError, match=words), processes.pool(2, "advice", nothing) as pool:
        pool.submit(strike, number).result()
    assert capfd.readouterr().err == ""


def deaf(started):
    """As a worker: work that never checks whether it is to stop."""
    started.touch()
    while True:
        time.sleep(0.01)


def test_a_second_ctrl_c_waits_for_nobody(tmp_path, monkeypatch):
    shutdown, pressed = processes.Pool.shutdown, []

    def press_again(self, *args, **kwargs):
        if not pressed:
            pressed.append(1)
            raise KeyboardInterrupt
        shutdown(self, *args, **kwargs)

    monkeypatch.setattr(processes.Pool, "shutdown", press_again)
    with pytest.raises(KeyboardInterrupt), processes.pool(1, "advice", nothing) as pool:
        pool.submit(deaf, tmp_path / "started")
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert pressed
    assert not multiprocessing.active_children()


def test_a_start_that_fails_says_why(capfd):
    with pytest.raises(es.RunError, match="the start failed"), processes.pool(1, "advice", fail) as pool:
        pool.submit(double, 1).result()
    assert capfd.readouterr().err == ""


def long_network():
    """For runs that nobody waits for: millions of spikes a second, for an hour."""
    net = es.Network()
    net.image_input((64, 64, 1))
    net.driven("a", (64, 64, 1), 255, encoder=es.Conv2d(np.ones((1, 1, 1, 1), int)))
    net.readout("out", 1)
    net.connect("a", "out", np.zeros((4096, 1), np.int8))
    return net


@pytest.fixture
def long_runs(tmp_path):
    es.save(long_network(), tmp_path / "net.h5")
    (tmp_path / "images").mkdir()
    for i in range(3):
        Image.fromarray(np.full((64, 64), 255, np.uint8)).save(tmp_path / "images" / f"{i}.png")
    (tmp_path / "runs").mkdir()
    return tmp_path


def test_ctrl_c_stops_a_folder_in_processes(long_runs, monkeypatch):
    """The runs under way would take long and leave a trace each; nothing half-written stays."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    wait_for_one = DeferredInterrupt.wait_for_one

    def press(self, futures):
        while not list((long_runs / "runs").iterdir()):
            assert not any(future.done() for future in futures)
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)
        return wait_for_one(self, futures)

    monkeypatch.setattr(DeferredInterrupt, "wait_for_one", press)
    settings = Settings(long_runs / "net.h5", "current", run={"steps": 10**6, "record": "none", "max_spikes": 2**40})
    inputs = [(Item(str(p)), long_runs / "runs" / f"{p.name}.h5") for p in (long_runs / "images").iterdir()]
    try:
        with pytest.raises(KeyboardInterrupt):
            list(run_in_processes(settings, inputs, 2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert not list((long_runs / "runs").iterdir())
    assert not multiprocessing.active_children()


@posix
def test_a_folder_whose_worker_is_killed_ends_in_one_line(long_runs, monkeypatch, capfd):
    wait_for_one = DeferredInterrupt.wait_for_one

    def kill(self, futures):
        multiprocessing.active_children()[0].kill()
        return wait_for_one(self, futures)

    monkeypatch.setattr(DeferredInterrupt, "wait_for_one", kill)
    arguments = ["run", long_runs / "net.h5", "-i", long_runs / "images", "--steps", 10**6, "--max-spikes", 2**40]
    arguments += ["--threads", 2, "--no-trace"]
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("eventsim: error: a worker process died")
    assert "Traceback" not in done.stderr + capfd.readouterr().err
    assert not multiprocessing.active_children()


# A command with two workers that strikes itself once the first part is written; arguments: signal, 1 if all of the group get it.
_STRUCK = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may have inherited that it is ignored
from eventsim.batch import evaluate as evaluating
from eventsim.cli.main import main
evaluating.MOST_IMAGES = 2
number, all_of_them, add = int(sys.argv[1]), sys.argv[2] == "1", evaluating.Parts.add

def struck(self, *args):
    add(self, *args)
    (os.killpg if all_of_them else os.kill)(os.getpid(), number)

evaluating.Parts.add = struck
main(sys.argv[3:])
"""


@posix
@pytest.mark.parametrize(
    ("number", "all_of_them", "code"),
    [(signal.SIGINT, 1, 130), (signal.SIGTERM, 1, 143), (signal.SIGTERM, 0, 143), (signal.SIGKILL, 0, -signal.SIGKILL)],
    ids=["ctrl-c", "terminated", "terminated-alone", "killed"],
)
def test_an_evaluation_that_is_struck_down_goes_on(tmp_path, monkeypatch, number, all_of_them, code):
    """A real signal, at a fixed place, in a real command with worker processes; none of them stays, and the rest alone is run."""
    monkeypatch.setattr(evaluating, "MOST_IMAGES", 2)
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for i in range(16):
        Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).save(tmp_path / "data" / f"{i:03}.png")
    es.save(small_network(), tmp_path / "net.h5")
    command = ["evaluate", tmp_path / "net.h5", "--dataset", tmp_path / "data", "-o", tmp_path / "e.h5"]
    child = subprocess.Popen(
        [sys.executable, "-c", _STRUCK, str(int(number)), str(all_of_them), *command, "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # Every process that it has started holds these pipes too: they are at their end once all of them have ended.
    out, err = child.communicate()
    assert child.returncode == code, err
    assert out == ""
    if number != signal.SIGKILL:
        *progress, last = err.splitlines()  # progress is said on a slow machine only
        assert last == "eventsim: interrupted; the same command goes on from what is done"
        assert all(line.startswith("evaluating: ") for line in progress)
    assert not (tmp_path / "e.h5").exists()
    kept = len(list((tmp_path / "e.h5.parts").glob("0*[0-9].npz")))
    assert kept == 1
    again = CliRunner().invoke(main, [str(a) for a in [*command, "--workers", 1]])
    assert again.exit_code == 0, again.output
    assert "2 of 16 images were done before" in again.stderr
    with es.Evaluation(tmp_path / "e.h5") as e, es.evaluate(small_network(), tmp_path / "data", tmp_path / "alone.h5", workers=1) as alone:
        for name in ("readout", "spikes", "end_tick"):
            assert np.array_equal(e.array(name), alone.array(name))


_UNGUARDED = """
import sys
sys.path[:0] = {tests!r}
from judges.evaluations import small_data, small_network
import eventsim as es
from eventsim.batch import evaluate as evaluating
evaluating.MOST_IMAGES = 20
es.evaluate(small_network(), small_data(), "e.h5", workers=2)
print("once")
"""


@pytest.mark.parametrize("way", ["file", "standard input"])
def test_a_script_needs_no_guard(tmp_path, way):
    (tmp_path / "script.py").write_text(_UNGUARDED.format(tests=[str(ROOT / "tests")]))
    with open(tmp_path / "script.py") as script:
        done = subprocess.run(
            [sys.executable, "script.py" if way == "file" else "-"], cwd=tmp_path, stdin=script, capture_output=True, text=True
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\n", "")
    with es.Evaluation(tmp_path / "e.h5") as e, es.evaluate(small_network(), small_data(), tmp_path / "here.h5", workers=1) as here:
        same(e, here)


def evaluate_here(folder):
    evaluating.MOST_IMAGES = 20
    es.evaluate(small_network(), small_data(), folder / "e.h5", workers=2).close()


def test_a_daemon_runs_everything_itself(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=evaluate_here, args=(tmp_path,), daemon=True)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert (tmp_path / "e.h5").exists()


@posix
@pytest.mark.exhaustive
def test_thirty_kills_at_random_moments(tmp_path):
    """Nothing wrong, nobody and nothing is left after the next command, however the one before ended."""
    rng = np.random.default_rng()
    (tmp_path / "data").mkdir()
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).save(tmp_path / "data" / f"{i:03}.png")
    es.save(small_network(), tmp_path / "net.h5")
    program = "from eventsim.batch import evaluate as evaluating; from eventsim.cli.main import main; evaluating.MOST_IMAGES = 1; main()"
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "e.h5"
    arguments = ["evaluate", tmp_path / "net.h5", "--dataset", tmp_path / "data", "-o", target, "--workers", "2"]
    command = [sys.executable, "-c", program, *arguments]
    begin = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.monotonic() - begin
    with es.evaluate(small_network(), tmp_path / "data", tmp_path / "alone.h5", workers=1) as alone:
        for _ in range(30):
            target.unlink(missing_ok=True)
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(rng.uniform(0.1, 1) * whole)
            child.kill()
            # At its end once no process holds it.
            child.communicate()
            subprocess.run(command, check=True, capture_output=True)
            assert os.listdir(tmp_path / "out") == ["e.h5"]
            with es.Evaluation(target) as e:
                for name in ("readout", "spikes", "end_tick", "image"):
                    assert np.array_equal(e.array(name), alone.array(name))
