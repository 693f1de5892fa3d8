"""Ctrl-C: noticed at the next check, never lost, at once the second time."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

import eventsim as es
from eventsim.kernels.interrupt import DeferredInterrupt, Terminated, terminable


@pytest.fixture(autouse=True)
def _usual_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_waits_for_a_check():
    reached = []
    with pytest.raises(KeyboardInterrupt), DeferredInterrupt() as interrupt:
        interrupt.check()
        ctrl_c()
        reached.append("after the signal")
        interrupt.check()
        reached.append("after the check")
    assert reached == ["after the signal"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_is_not_lost_without_a_check():
    with pytest.raises(KeyboardInterrupt), DeferredInterrupt():
        ctrl_c()


def test_strikes_at_once_the_second_time():
    reached = []
    with pytest.raises(KeyboardInterrupt), DeferredInterrupt():
        ctrl_c()
        reached.append("once")
        ctrl_c()
        reached.append("twice")
    assert reached == ["once"]


def test_leaves_a_handler_of_the_program_alone():
    seen = []
    signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    with DeferredInterrupt() as interrupt:
        ctrl_c()
        interrupt.check()
    assert seen == [1]


def test_sigterm_of_a_command_is_like_ctrl_c():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    reached = []
    try:
        with pytest.raises(Terminated), terminable(), DeferredInterrupt() as interrupt:
            signal.raise_signal(signal.SIGTERM)
            reached.append("after the signal")
            interrupt.check()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        with pytest.raises(Terminated), terminable():
            signal.raise_signal(signal.SIGTERM)
        # Of a program that handles it, and outside of a command, it is left alone.
        for handler in (lambda *_: reached.append("its own"), signal.SIG_IGN):
            signal.signal(signal.SIGTERM, handler)
            with terminable(), DeferredInterrupt():
                signal.raise_signal(signal.SIGTERM)
                assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert reached == ["after the signal", "its own"]


class Lock(threading.Condition):
    """Of a future; Ctrl-C comes when somebody has just taken it, before he is in the block that gives it back."""

    def __init__(self):
        super().__init__()
        take, pressed = self.acquire, []

        def acquire(*args):
            taken = take(*args)
            if not pressed:
                pressed.append(1)
                ctrl_c()
            return taken

        self.acquire = acquire


def is_free(lock: threading.Condition) -> bool:
    with ThreadPoolExecutor(1) as other:
        return other.submit(lambda: lock.acquire(False) and (lock.release() or True)).result()


def test_waiting_for_a_future_leaves_its_lock_free():
    """If it was never given back, the executor's thread would wait for it for ever at the shutdown."""
    future = Future()
    future.set_result(5)
    future._condition = Lock()
    with pytest.raises(KeyboardInterrupt):
        wait([future])
    assert not is_free(future._condition)
    future._condition = Lock()
    with pytest.raises(KeyboardInterrupt), DeferredInterrupt() as interrupt:
        interrupt.wait_for_one([future])
    assert is_free(future._condition)


def test_waits_until_one_is_done():
    first, second = Future(), Future()
    with ThreadPoolExecutor(1) as other, DeferredInterrupt() as interrupt:
        other.submit(lambda: time.sleep(0.5) or second.set_result(1))
        assert interrupt.wait_for_one([first, second]) == {second}


@pytest.mark.parametrize("engine", ["layered", "queue", "reference"])
def test_stops_a_run(engine, monkeypatch):
    """The first spikes that are recorded press Ctrl-C; the run stops there and its handler is gone."""
    recorded = []

    def record(self, population, ticks, neurons, signs):
        recorded.append(len(ticks))
        ctrl_c()

    monkeypatch.setattr("eventsim.record.result.MemoryRecorder.record", record)
    net = es.Network()
    net.driven("in", 1, 1)
    with pytest.raises(KeyboardInterrupt):
        es.run(net, {"in": [1]}, steps=10, engine=engine)
    assert len(recorded) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
