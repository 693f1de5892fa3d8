"""Groups of a network file that is being written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eventsim.errors import NetworkError
from eventsim.model.storage.format import MAX_TEXT
from eventsim.model.storage.messages import unprintable

if TYPE_CHECKING:
    import h5py


class NewGroup:
    """A group of a file that is being written; the bytes depend on the order of the calls.

    Parameters
    ----------
    group : h5py.Group
    """

    def __init__(self, group: h5py.Group):
        self._group = group

    def child(self, name: str) -> NewGroup:
        """A new group within this one."""
        return NewGroup(self._group.create_group(name))

    def attributes(self, **values: str | int | float | Sequence[int]) -> None:
        """Write attributes: texts, float64 numbers, and int64 whole numbers.

        Raises
        ------
        NetworkError
            A text that a file cannot hold.
        """
        for name, value in values.items():
            if isinstance(value, str):
                self._group.attrs[name] = np.bytes_(encoded(value, name, MAX_TEXT))
            elif isinstance(value, float):
                self._group.attrs[name] = np.array(value, "<f8")
            else:
                self._group.attrs[name] = np.array(value, "<i8")

    def dataset(self, name: str, values: npt.NDArray[Any], once: bool = False) -> None:
        """Write an array as it is; if ``once``, one value where all are equal."""
        if once and bool(np.all(values == values.flat[0])):
            values = values.ravel()[:1]
        self._group.create_dataset(name, data=values, track_times=False)

    def per_channel(self, name: str, values: npt.NDArray[Any]) -> None:
        """Write integers, one a channel.

        Raises
        ------
        NetworkError
            They do not fit 32 bits.
        """
        limits = np.iinfo(np.int32)
        if values.dtype.kind not in "iu" or values.min() < limits.min or values.max() > limits.max:
            raise NetworkError(f"{name}: must be integers of 32 bits; build networks by their methods")
        self.dataset(name, values.astype("<i4"), once=True)


def encoded(text: str, what: str, limit: int) -> bytes:
    """A text in UTF-8.

    Raises
    ------
    NetworkError
        No text, too long, or with control characters.
    """
    if not isinstance(text, str):
        raise NetworkError(f"{what}: must be text, found {text!r}")
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise NetworkError(f"{what}: {text!a} is not valid Unicode text") from None
    if len(encoded) > limit or unprintable(text):
        raise NetworkError(f"{what}: must be text of at most {limit} bytes without control characters, found {ascii(text)[:80]}")
    return encoded
