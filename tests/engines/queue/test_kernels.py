"""The kernels of the queue engine against plain Python, and the engine with the compiler switched off."""

from __future__ import annotations

import heapq
import os
import re
import subprocess
import sys

import numba
import numpy as np
import pytest
from repository import ROOT

from eventsim.engines.queue.kernels import delivery, due
from eventsim.kernels import heap as heaps
from eventsim.kernels.sort import sort_candidates
from eventsim.model.limits import POTENTIAL_MIN


@pytest.mark.kernels
@pytest.mark.parametrize("most", [3, 1000, 2**62])
def test_heap_against_heapq(most):
    """Pushes, pops and replacements in random order; equal keys are common for small ``most``."""
    rng = np.random.default_rng(most % 1000)
    for _ in range(20):
        heap, size, expected = np.zeros(100, np.int64), 0, []
        for _ in range(150):
            action = rng.integers(4)
            key = int(rng.integers(0, most))
            if size == 0 or (action < 2 and size < len(heap)):
                heaps.sift_up(heap, size, key)
                size += 1
                heapq.heappush(expected, key)
            elif action == 2:  # pop: the last key goes to the root
                assert heap[0] == heapq.heappop(expected)
                size -= 1
                if size:
                    heaps.sift_down(heap, size, heap[size])
            else:  # replace the root
                assert heap[0] == heapq.heapreplace(expected, key)
                heaps.sift_down(heap, size, key)
            assert heaps.is_heap(heap, size)
            assert np.array_equal(np.sort(heap[:size]), np.sort(expected))


@pytest.mark.kernels
def test_is_heap_finds_a_broken_heap():
    # Node i has the children 4 i + 1 .. 4 i + 4.
    heap = np.array([1, 2, 2, 3, 1, 2, 9, 4, 5, 2], np.int64)
    assert heaps.is_heap(heap, 10)
    for place in range(1, 10):
        broken = heap.copy()
        broken[place] = broken[(place - 1) // 4] - 1
        assert not heaps.is_heap(broken, 10)
        assert heaps.is_heap(broken, place)


@pytest.mark.kernels
@pytest.mark.parametrize("state", [np.int32, np.int64])
@pytest.mark.parametrize("weight", [np.int8, np.int32])
def test_add_run(state, weight):
    rng = np.random.default_rng(1)
    for _ in range(100):
        n = int(rng.integers(1, 200))
        low, high = (-128, 128) if weight == np.int8 else (-(2**29), 2**29)
        d, weights = rng.integers(-(2**30), 2**30, n).astype(state), rng.integers(low, high, n).astype(weight)
        length = int(rng.integers(0, n + 1))
        start, at = int(rng.integers(0, n - length + 1)), int(rng.integers(0, n - length + 1))
        sign = int(rng.choice([-1, 1]))
        expected = d.astype(object)
        for j in range(length):
            expected[start + j] += sign * int(weights[at + j])
        delivery.add_run(d, start, weights, at, length, sign)
        assert d.tolist() == expected.tolist()


def runs(rng, state):
    """Random distances, mostly negative (so that whole blocks have nothing due), with a run inside."""
    n = int(rng.integers(1, 300))
    d = rng.integers(-100, 40 if rng.random() < 0.5 else 1, n).astype(state)
    d[rng.random(n) < 0.9] = -50
    length = int(rng.integers(0, n + 1))
    return d, int(rng.integers(0, n - length + 1)), length


@pytest.mark.kernels
@pytest.mark.parametrize("state", [np.int32, np.int64])
def test_scan_run(state):
    rng = np.random.default_rng(2)
    found_any = 0
    for _ in range(200):
        d, start, length = runs(rng, state)
        before = int(rng.integers(0, 4))  # candidates of an earlier run stay
        candidates = np.full(len(d) + 4, -7, np.int32)
        n = due.scan_run(d, start, length, candidates, before)
        expected = [i for i in range(start, start + length) if d[i] >= 0]
        assert candidates[:n].tolist() == [-7] * before + expected
        found_any += bool(expected)
    assert 50 < found_any < 200


@pytest.mark.kernels
@pytest.mark.parametrize("state", [np.int32, np.int64])
def test_scan_run_signed(state):
    rng = np.random.default_rng(3)
    below = 0
    for _ in range(200):
        d, start, length = runs(rng, state)
        low = np.where(rng.random(len(d)) < 0.3, rng.integers(-90, -1, len(d)), POTENTIAL_MIN).astype(np.int32)
        before = int(rng.integers(0, 4))
        candidates = np.full(len(d) + 4, -7, np.int32)
        n = due.scan_run_signed(d, low, start, length, candidates, before)
        expected = [i for i in range(start, start + length) if d[i] >= 0 or d[i] < low[i]]
        assert candidates[:n].tolist() == [-7] * before + expected
        below += sum(int(d[i] < low[i]) for i in expected)
    assert below > 100


@pytest.mark.kernels
def test_out_of_range():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(300):
        n = int(rng.integers(1, 50))
        threshold = rng.integers(0, 2**31, n).astype(np.int32)
        v = rng.integers(-(2**31), 2**31, n)
        if rng.random() < 0.7:  # one at the edge or just beyond it
            v[rng.integers(n)] = rng.choice([2**31 - 1, 2**31, -(2**31), -(2**31) - 1])
        d = v - threshold
        length = int(rng.integers(0, n + 1))
        start = int(rng.integers(0, n - length + 1))
        expected = any(not -(2**31) <= int(x) <= 2**31 - 1 for x in v[start : start + length])
        assert bool(due.out_of_range(d, threshold, start, length)) == expected
        found.append(expected)
    assert 20 < sum(found) < 280


@pytest.mark.kernels
def test_sort_candidates():
    rng = np.random.default_rng(5)
    for n in [*range(12), 64, 100, 257]:
        for most in (3, 10**6):
            candidates = rng.integers(0, most, n + 5).astype(np.int32)
            expected = sorted(candidates[:n].tolist()) + candidates[n:].tolist()
            sort_candidates(candidates, n)
            assert candidates.tolist() == expected


def run_again(*tests: str, **environment: str) -> str:
    """What pytest says of tests, named from the folder of all, in a process of its own."""
    here = ROOT / "tests"
    done = subprocess.run(
        [*(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"), *(str(here / name) for name in tests)],
        env=os.environ | {"PYTEST_ADDOPTS": ""} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout
    assert int(passed[1]) > 0
    return done.stdout


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="this is the run without the compiler")
def test_the_same_without_the_compiler():
    """All of the above and some runs of the engines, the kernels being plain Python: no undefined behaviour hides in compiled code."""
    said = run_again(
        "engines/queue/test_kernels.py",
        "engines/layered/test_driven.py",
        "job/test_encoding.py::test_compiled_encoder_is_the_table",
        "job/test_encoding.py::test_multiplying_pairs",
        "engines/test_random_networks.py::test_a_few_networks",
        "engines/test_range.py::test_large_weights_may_cancel_within_a_tick",
        "engines/test_recording.py::test_ring_grows_after_its_head_moved",
        "engines/layered/test_gathering.py::test_many_spikes_of_a_location_when_all_neurons_wait_to_fire_again",
        "kernels/test_order.py",
        "kernels/test_vector.py",
        "engines/layered/test_layer_kernels.py",
        "engines/layered/test_raster.py::test_a_network_equals_the_reference",
        "engines/layered/test_raster_kernels.py",
        "engines/test_readouts.py::test_rows_are_added_as_long_as_one_leads",
        "engines/test_readouts.py::test_who_is_as_large",
        "engines/test_readouts.py::test_decisions[zeros-10]",
        "engines/layered/test_sites.py::test_little_room_for_entries",
        "engines/layered/test_sites.py::test_potentials_that_need_more_bits",
        NUMBA_DISABLE_JIT="1",
    )
    assert " skipped" in said  # this test, among others: the switch arrived
