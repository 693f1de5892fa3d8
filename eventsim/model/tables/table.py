"""What every table of synapses answers; a kind of table is a file beside this one and a line in :mod:`eventsim.model.registry`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np

from eventsim.model.tables.geometry import Rows, Stencil
from eventsim.model.tables.weights import magnitude_of
from eventsim.model.values import ByValue, IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup
    from eventsim.model.tables.conv2d import Conv2d


class Table(ByValue, ABC):
    """Which target neurons a spike of one source neuron reaches, and with which weights.

    A table knows nothing of the populations that it joins; the methods take their shapes. Counting (docs/definitions.md): a
    *synapse* is an entry of a dense or sparse table, or a tap of a convolution whose input and output positions both exist; an
    entry whose weight is zero is a synapse too.

    Attributes
    ----------
    kind : str
        Its name in network files and in descriptions of runs.
    form : {"stencil", "rows", "windows"} or None
        What compiled code runs it as: what :meth:`to_stencil` or :meth:`to_rows` gives, or windows that have no weights. Of None, only
        the reference engine runs it.
    weighted : bool
        Its synapses have weights that are added; without, they say what is compared (see :class:`eventsim.Windows`).
    all_to_all : bool
        Every source neuron that reaches anything reaches all of the target, and costs as much as any other.
    weights : int8, int16 or int32 array
        As stored.
    """

    kind: ClassVar[str]
    weighted: ClassVar[bool] = True
    all_to_all: ClassVar[bool]
    weights: IntArray

    @property
    @abstractmethod
    def form(self) -> Literal["stencil", "rows", "windows"] | None:
        """What compiled code runs it as."""

    @cached_property
    def magnitude(self) -> int | None:
        """The common magnitude of all weights if the table is binary, else None."""
        return magnitude_of(self.weights)

    @property
    def stored_bytes(self) -> int:
        """Bytes that the table takes: a bit a weight if it is binary."""
        return self.weights.nbytes if self.magnitude is None else -(-self.weights.size // 8)

    def size_in_words(self) -> str:
        """Its size in a description of the network in lines."""
        return "x".join(map(str, self.weights.shape))

    # --- What it joins ------------------------------------------------------------------------------------------------

    @abstractmethod
    def output_shape(self, source_shape: Shape) -> Shape:
        """Shape of the target population; raises NetworkError if the source does not fit."""

    @abstractmethod
    def check(self, source_shape: Shape, target_shape: Shape) -> None:
        """Raise NetworkError if the table cannot join populations of these shapes."""

    @abstractmethod
    def synapses_from(self, neuron: int, source_shape: Shape, target_shape: Shape) -> Iterator[tuple[int, int]]:
        """Every synapse (target neuron, weight) of one source neuron: what the table means, and what the reference engine runs."""

    def matrix(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Its weights as a matrix (source neurons, target neurons), synapses that share both ends summed."""
        weights = np.zeros((int(np.prod(source_shape)), int(np.prod(target_shape))), np.int64)
        for neuron, row in enumerate(weights):
            for target, weight in self.synapses_from(neuron, source_shape, target_shape):
                row[target] += weight
        return weights

    # --- What it costs, per source neuron: int64 (source neurons,) ----------------------------------------------------

    @abstractmethod
    def fan_out(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Synapses of each source neuron, borders exact, before pooling is fused."""

    @abstractmethod
    def additions(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Additions that a spike of each source neuron costs, pooling fused."""

    @abstractmethod
    def toolbox_fan_out(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Fan-out as the SNN Toolbox computes it."""

    @abstractmethod
    def effective_fan_out(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Synapses of each source neuron whose weight is not zero."""

    @abstractmethod
    def macs(self, source_shape: Shape, target_shape: Shape) -> int:
        """Multiply-accumulates of the dense source layer."""

    # --- How it is run ------------------------------------------------------------------------------------------------

    @abstractmethod
    def apply(self, values: IntArray, target_shape: Shape) -> IntArray:
        """The table's exact integer output for dense source values (height, width, channels): int64, flat, one a target neuron."""

    @abstractmethod
    def scaled(self, gain: IntArray) -> Table:
        """The table with the weights of each source channel times an integer: int64 (channels,)."""

    def as_conv(self, source_shape: Shape) -> Conv2d | None:
        """The same synapses, counted alike but for the toolbox, as a convolution; None if they are none.

        Its target is the (height, width, channels) of :meth:`Conv2d.output_shape`: all neurons at one location for a dense table.
        """
        return None

    def to_stencil(self, source_shape: Shape, target_shape: Shape) -> Stencil | None:
        """For compiled code, as a stencil with its pooling fused in; None if it is none."""
        return None

    def to_rows(self, source_shape: Shape, target_shape: Shape) -> Rows | None:
        """For compiled code, as compressed sparse rows; None if it is none.

        Entries are what is counted, as synapses, as additions, and by the toolbox.
        """
        return None

    # --- How it is kept -----------------------------------------------------------------------------------------------

    @abstractmethod
    def write(self, group: NewGroup) -> None:
        """Write everything but the kind and the weights into a group of a network file."""

    @classmethod
    @abstractmethod
    def read(cls, group: StoredGroup, source_shape: Shape) -> Self:
        """Read what :meth:`write` wrote, and the weights, from a group of a file that may come from anywhere.

        Raises
        ------
        NetworkFileError
            The group holds anything else, or not everything.
        NetworkError
            What it holds makes no sense.
        """
