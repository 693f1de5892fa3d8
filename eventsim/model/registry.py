"""The kinds of populations and tables that there are, by the names that files and descriptions of runs have for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventsim.errors import NetworkError
from eventsim.model.populations import (
    CurrentLeaky,
    CurrentLeakyReadout,
    Driven,
    EventInput,
    Leaky,
    LeakyReadout,
    Maximum,
    Population,
    Readout,
    Source,
    Spiking,
)
from eventsim.model.tables import Conv2d, Dense, GroupedConv2d, Sparse, Table, Windows

POPULATIONS: dict[str, type[Population]] = {
    kind.kind: kind
    for kind in (Driven, Spiking, Leaky, CurrentLeaky, Maximum, Readout, LeakyReadout, CurrentLeakyReadout, Source, EventInput)
}
TABLES: dict[str, type[Table]] = {kind.kind: kind for kind in (Conv2d, Dense, Sparse, GroupedConv2d, Windows)}


def check_population(name: str, population: Any) -> None:
    """Raise NetworkError if something that stands in a network as a population is of no kind that there is."""
    if POPULATIONS.get(getattr(population, "kind", "")) is not type(population):
        raise NetworkError(
            f"{name}: {type(population).__name__} is no kind of population; there are: {', '.join(POPULATIONS)}; "
            "add populations by the methods of Network, and new kinds to eventsim.model.registry"
        )


def check_table(name: str, table: Any) -> None:
    """Raise NetworkError if something that stands in a network as a table is of no kind that there is."""
    if TABLES.get(getattr(table, "kind", "")) is not type(table):
        raise NetworkError(
            f"{name}: {type(table).__name__} is no kind of table; there are: {', '.join(TABLES)}; "
            "join populations by Network.connect, and add new kinds to eventsim.model.registry"
        )


def as_table(values: Any) -> Table:
    """A table as it is; a matrix (source neurons, target neurons) as a dense one, of SciPy's sparse arrays as a sparse one."""
    if isinstance(values, Table):
        return values
    return Sparse.from_matrix(values) if hasattr(values, "tocsr") else Dense(np.asarray(values))
