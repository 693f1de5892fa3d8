"""What a chip is: tiles in a mesh, cores in tiles, and what everything on it takes.

Times are whole picoseconds and energies whole attojoules, so that a result is the same on every machine: a power of one microwatt for one
picosecond is one attojoule.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

Synchronisation = Literal["none", "barrier"]
WhenFull = Literal["block", "drop"]
UpdateWhen = Literal["input", "potential"]


class Cost(NamedTuple):
    """What one event takes: picoseconds and attojoules."""

    time: int = 0
    energy: int = 0


FREE = Cost()


@dataclass(frozen=True)
class Chip:
    """The chip as a whole.

    Attributes
    ----------
    columns, rows : int
        Tiles from west to east, and from north to south.
    cores_per_tile : int
        Core ``c`` lies in tile ``c // cores_per_tile``; tiles are numbered row by row.
    step : int
        Picoseconds of a step. Behind a barrier the least that a step takes; 0: as fast as it goes.
    static_power : int
        Nanowatts that are drawn whether anything happens or not, those of the clock included.
    synchronisation : {"none", "barrier"}
        Whether all cores wait for each other at the end of every step.
    barrier : dict of int to int
        Picoseconds that the barrier itself takes, by the number of tiles in use from which on that holds.
    """

    columns: int
    rows: int
    cores_per_tile: int
    step: int
    static_power: int
    synchronisation: Synchronisation
    barrier: Mapping[int, int]

    @property
    def tiles(self) -> int:
        """How many tiles there are."""
        return self.columns * self.rows

    @property
    def cores(self) -> int:
        """How many cores there are."""
        return self.tiles * self.cores_per_tile

    def barrier_time(self, tiles: int) -> int:
        """Picoseconds of a barrier among so many tiles: of the largest number in the table that is not more, else of the first."""
        known = [n for n in self.barrier if n <= tiles] or [min(self.barrier, default=0)]
        return self.barrier.get(max(known), 0)


@dataclass(frozen=True)
class Links:
    """The network on chip: a mesh with XY routing, east or west first.

    Attributes
    ----------
    east_west, north_south : Cost
        Of one hop.
    within_tile : Cost
        Of a message between two cores of a tile, or from a core to itself.
    hold : int
        Picoseconds for which a message holds a link; the next one waits. Not more than a hop takes.
    buffer : int
        Messages that a link has room for, with the one that it carries; 0: any number.
    when_full : {"block", "drop"}
        What happens to a message that finds no room, at links and at the queues of cores.
    """

    east_west: Cost = FREE
    north_south: Cost = FREE
    within_tile: Cost = FREE
    hold: int = 0
    buffer: int = 0
    when_full: WhenFull = "block"


@dataclass(frozen=True)
class Core(ABC):
    """What all kinds of cores have.

    Attributes
    ----------
    neurons : int
        That a core has room for.
    queue : int
        Messages that may wait at a core, with the one that is served; 0: any number.
    access : Cost
        Of looking at a neuron, once a step, behind a barrier.
    update : Cost
        Of computing a neuron's potential: of those that got input in a step behind a barrier, else of one that fires.
    update_when : {"input", "potential"}
        Which neurons are updated in a step behind a barrier: those that got input, or also those whose potential is not 0.
    spike : Cost
        Of a spike that a neuron makes.
    message_out : Cost
        Of sending a message.
    """

    kind: ClassVar[str]
    neurons: int
    queue: int = 0
    access: Cost = FREE
    update: Cost = FREE
    update_when: UpdateWhen = "input"
    spike: Cost = FREE
    message_out: Cost = FREE

    @property
    @abstractmethod
    def served_together(self) -> bool:
        """Whether all messages that wait are served at once."""

    @property
    def converts(self) -> bool:
        """Whether what is added to potentials is not exactly what the weights say."""
        return False

    @abstractmethod
    def energies(self) -> dict[str, int]:
        """Attojoules by unit, as :data:`eventsim.hardware.energy.UNITS` names them, of what a core does."""

    def _energies(self) -> dict[str, int]:
        return {
            "neuron access": self.access.energy,
            "neuron update": self.update.energy,
            "spike": self.spike.energy,
            "message out": self.message_out.energy,
        }


@dataclass(frozen=True)
class EventCore(Core):
    """Takes one message after the other, first come first served, and adds weight after weight.

    Attributes
    ----------
    axons, synapses : int
        Room for source neurons that reach the core (a projection each), and for weights; 0: any number.
    message_in : Cost
        Of taking a message.
    synapse : Cost
        Of adding one weight.
    """

    kind = "event"
    axons: int = 0
    synapses: int = 0
    message_in: Cost = FREE
    synapse: Cost = FREE
    served_together = False

    def energies(self) -> dict[str, int]:
        """Attojoules by unit."""
        return self._energies() | {"message in": self.message_in.energy, "synapse": self.synapse.energy}


@dataclass(frozen=True)
class CrossbarCore(Core):
    """Takes all messages that wait at once: one read of the rows that are on, then the conversions of its columns.

    A row is a source neuron (of a projection), a column a neuron; each pair has its cells, whether it has a synapse or not. What needs more
    rows than there are is spread over several crossbars whose sums are added.

    Attributes
    ----------
    rows, columns : int
    cells_per_weight : int
        Columns that a weight takes.
    columns_per_converter : int
        Columns that share a converter, one after the other.
    levels : int
        What a converter tells apart; 0: sums are exact.
    full_scale : int
        The largest sum that a converter tells from larger ones, in rows: so many weights of the largest size. 0: of all rows.
    offset, offset_seed : int
        Standard deviation of the offsets of converters, in thousandths of such a weight, and what they are drawn with.
    read, conversion : int
        Picoseconds.
    cell_energy, row_energy, conversion_energy : int
        Attojoules: of each cell of the rows that are on, of each such row, and of each conversion.
    """

    kind = "crossbar"
    rows: int = 1
    columns: int = 1
    cells_per_weight: int = 1
    columns_per_converter: int = 1
    levels: int = 0
    full_scale: int = 0
    offset: int = 0
    offset_seed: int = 0
    read: int = 0
    conversion: int = 0
    cell_energy: int = 0
    row_energy: int = 0
    conversion_energy: int = 0
    served_together = True

    def energies(self) -> dict[str, int]:
        """Attojoules by unit."""
        return self._energies() | {"row": self.row_energy, "cell": self.cell_energy, "conversion": self.conversion_energy}

    @property
    def converts(self) -> bool:
        """Whether sums are what converters make of them."""
        return self.levels > 0

    @property
    def reading(self) -> int:
        """Picoseconds of a read and its conversions: converters work side by side, each on its columns one after the other."""
        return self.read + self.columns_per_converter * self.conversion


@dataclass(frozen=True)
class Architecture:
    """A chip and everything on it.

    Attributes
    ----------
    name, description : str
    chip : Chip
    links : Links
    core : Core
        All cores are alike.
    placed : dict of str to tuple of int
        By population: the cores that the file gives it, in the order in which they are filled.
    source : str
        Where it was read from.
    shares : dict of str to tuple of int
        By population, where the file says so: how many of its neurons go to each of these cores.
    """

    name: str
    description: str
    chip: Chip
    links: Links
    core: Core
    placed: Mapping[str, tuple[int, ...]]
    source: str = ""
    shares: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def energies(self) -> dict[str, int]:
        """Attojoules of one event, by unit."""
        links = self.links
        return {
            "east-west hop": links.east_west.energy,
            "north-south hop": links.north_south.energy,
            "within a tile": links.within_tile.energy,
            **self.core.energies(),
        }

    @property
    def contended(self) -> bool:
        """Whether messages can wait anywhere but at cores, or find no room: links that hold, or room that ends."""
        return self.links.hold > 0 or self.links.buffer > 0 or self.core.queue > 0

    @property
    def settled(self) -> bool:
        """Whether nothing that the chip takes changes what is added in a step: behind barriers, messages wait at cores only and sums are
        exact."""
        return self.chip.synchronisation == "barrier" and not self.contended and not self.core.converts

    def place_of(self, core: int) -> tuple[int, int]:
        """(column, row) of a core's tile."""
        row, column = divmod(core // self.chip.cores_per_tile, self.chip.columns)
        return column, row

    def facts(self) -> dict[str, Any]:
        """All of it as JSON values: picoseconds, attojoules, nanowatts."""
        return {
            "kind": "hardware",
            "name": self.name,
            "description": self.description,
            "chip": asdict(self.chip) | {"barrier": {str(n): time for n, time in self.chip.barrier.items()}, "cores": self.chip.cores},
            "links": {key: value._asdict() if isinstance(value, Cost) else value for key, value in vars(self.links).items()},
            "core": {"kind": self.core.kind}
            | {key: value._asdict() if isinstance(value, Cost) else value for key, value in vars(self.core).items()},
            "placed": {name: list(cores) for name, cores in self.placed.items()},
            "shares": {name: list(neurons) for name, neurons in self.shares.items()},
        }
