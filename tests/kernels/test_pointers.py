"""Named tuples handed over by a pointer."""

from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from numba import TypingError

from eventsim.kernels.compiled import kernel, typed_inner, typed_part
from eventsim.kernels.records import record
from eventsim.kernels.vector import Pointer, pointer_to

PROGRESS = record("time made")


class Pair(NamedTuple):
    low: Any
    high: Any


class State(NamedTuple):
    progress: Any  # PROGRESS ()
    margin: Any
    pair: Any  # of arrays of one type
    table: Any  # int8 (rows, columns)
    wide: Any


@typed_inner
def add_pair(pair, k):
    return pair.low[k] - pair.high[k]


@typed_part
def add(state, k):
    progress = state.progress[()]
    progress["made"] += 1
    state.pair.low[k] += state.table[k, 1]
    return progress["time"] * state.margin + add_pair(state.pair, k) + len(state.wide)


@kernel(kept=False)
def advance(state, steps):
    state = pointer_to(state)
    total = 0
    for k in range(steps):
        total += add(pointer_to(state), k)
    return total + add(state, 1)


def test_fields_are_read_and_what_they_refer_to_is_written():
    low, high = np.array([1, 2, 3]), np.array([10, 20, 30])
    progress, table = np.zeros((), PROGRESS), np.array([[1, 2], [3, 4], [5, -6]], np.int8)[:, ::-1]
    progress["time"] = 7
    state = State(progress, 100, Pair(low, high), table, np.zeros(9, np.float32))
    expected = 4 * (700 + 9)
    for k in (0, 1, 2, 1):
        expected += [1, 2, 3][k] + int(table[k, 1]) - [10, 20, 30][k]
    # The second time at 1, what was added before is there.
    expected += int(table[1, 1])
    assert advance(state, 3) == expected
    assert low.tolist() == [2, 2 + 2 * 3, 3 + 5]
    assert progress["made"] == 4


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="needs the compiler")
def test_what_is_no_named_tuple_and_what_is_no_field():
    with pytest.raises(TypingError, match="a named tuple is needed, not int64"):
        kernel(kept=False)(lambda n: pointer_to(n))(3)
    with pytest.raises(TypingError, match="middle"):
        kernel(kept=False)(lambda pair: pointer_to(pair).middle)(Pair(1, 2))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="needs the compiler")
def test_types_of_pointers_have_short_names_of_their_own():
    """Numba makes names of functions of the types of their arguments, and compares types by their names."""
    arrays = np.zeros(3), np.zeros(3, np.int8)
    names = {Pointer(numba.typeof(Pair(x, y))).name for x in arrays for y in arrays}
    assert len(names) == 4
    assert max(map(len, names)) < 40
