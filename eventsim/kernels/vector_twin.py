"""The operations of :mod:`eventsim.kernels.vector` in NumPy: what they mean, and what runs with the compiler off.

A vector is an array of its lanes, flags are an array of bool, rows a matrix. NumPy's operators on them are those of vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def load(array: Any, place: int, lanes: int) -> Any:
    return array[place : place + lanes].copy()


def store(array: Any, place: int, vector: Any) -> None:
    array[place : place + len(vector)] = vector


def store_chosen(array: Any, place: int, vector: Any, flags: Any) -> int:
    chosen = vector[flags]
    array[place : place + len(chosen)] = chosen
    return place + len(chosen)


def add_digits(array: Any, place: int, digits: Any, number: int, factor: int, missing: int) -> None:
    has = np.unpackbits(np.array(digits[:number]).reshape(number, -1).view(np.uint8), axis=1, bitorder="little")
    sums = (has.astype(np.int64) << np.arange(number)[:, None]).sum(0)
    array[place : place + len(sums)] += (factor * sums - missing).astype(array.dtype)


def peek(array: Any, place: int) -> Any:
    return array.ravel()[place]


def poke(array: Any, place: int, value: Any) -> None:
    array.ravel()[place] = value


def prefetch(array: Any, place: int) -> None:
    pass


def full(like: Any, number: int) -> Any:
    return np.full(len(like), np.asarray(number).astype(like.dtype))


def spread(like: Any, number: Any) -> Any:
    return np.resize(np.array([number]).view(like.dtype), len(like))


def lane_numbers(like: Any) -> Any:
    return np.arange(len(like), dtype=like.dtype)


def converted(vector: Any, like: Any) -> Any:
    return vector.astype(like if isinstance(like, type) else like.dtype)


def unsigned(vector: Any) -> Any:
    return vector.view(f"u{vector.itemsize}")


def some_lanes(vector: Any, first: int, lanes: int) -> Any:
    return vector[first : first + lanes]


def repeated(vector: Any, lanes: int) -> Any:
    return np.resize(vector, lanes)


def select(flags: Any, yes: Any, no: Any) -> Any:
    return np.where(flags, yes, no)


def ones(vector: Any) -> Any:
    return np.bitwise_count(vector.view(f"u{vector.itemsize}")).astype(vector.dtype)


def pair_sums(x: Any, y: Any) -> Any:
    return (x.astype(np.int32) * y).reshape(-1, 2).sum(1, dtype=np.int32)


def in_order(vector: Any) -> Any:
    return np.sort(vector)


def lane(vector: Any, number: int) -> Any:
    return vector[number]


def bits(flags: Any) -> Any:
    return np.packbits(flags, bitorder="little").view(f"<u{len(flags) // 8}")[0]


def flags(mask: Any) -> Any:
    return np.unpackbits(np.array([mask]).view(np.uint8), bitorder="little").astype(bool)


def largest(vector: Any) -> Any:
    return vector.max()


def any_reaches_zero(vector: Any) -> Any:
    return np.uint64((vector >= 0).any())


def opaque(number: Any) -> Any:
    return number


def registers_are_wide() -> bool:
    return True


def lowest(mask: Any) -> int:
    return (int(mask) & -int(mask)).bit_length() - 1 if mask else mask.itemsize * 8


def count(mask: Any) -> int:
    return int(mask).bit_count()


def without_lowest(mask: Any) -> Any:
    return type(mask)(int(mask) & (int(mask) - 1)) if mask else mask


def load_rows(array: Any, place: int, count: int, lanes: int) -> Any:
    return array[place : place + count * lanes].reshape(count, lanes).copy()


def add_rows(array: Any, places: Any, shift: int, rows: Any) -> None:
    for place, row in zip(places + shift, rows, strict=False):
        array[place : place + len(row)] += row


def no_rows(like: Any) -> Any:
    return np.zeros_like(like)


def pointer_to(named_tuple: Any) -> Any:
    return named_tuple
