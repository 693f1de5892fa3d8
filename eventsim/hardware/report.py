"""What a run takes on a chip: time, energy by unit, where it is busy and where messages wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from eventsim.hardware.architecture import Architecture
from eventsim.hardware.energy import energy_of
from eventsim.model.tables import IntArray

# In which a message leaves a tile, in the order of the columns of :attr:`Report.links`.
DIRECTIONS = ("east", "west", "south", "north")
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, eq=False)
class Report:
    """What a run takes on a chip. Times are picoseconds.

    Attributes
    ----------
    architecture : Architecture
    mode : {"replay", "closed"}
    utilisation : dict
        See :meth:`eventsim.hardware.placement.Placement.utilisation`.
    duration : int
        From the start to the end of the run, and until all of its messages are served.
    decision : int or None
        When the decision is there that never changes again; None without one.
    counts : dict of str to int
        By unit (:data:`eventsim.hardware.energy.UNITS`), and ``"message"``, ``"read"`` (of crossbars), ``"dropped"``.
    cores : list of int
        Those in use: the rows of ``busy``.
    busy : int64 array (cores, 2)
        For how long each served messages, and for how long it updated neurons and sent.
    served : int64 array (cores,)
        Messages that each served.
    links : int64 array (tiles, 4)
        Messages that left each tile to the east, west, south and north.
    waits : int64 array (messages,)
        How long each message waited at its core.
    steps : int64 array (steps,)
        How long each step took; of a chip without barriers all take the same.
    """

    architecture: Architecture
    mode: str
    utilisation: Mapping[str, Any]
    duration: int
    decision: int | None
    counts: Mapping[str, int]
    cores: list[int]
    busy: IntArray
    served: IntArray
    links: IntArray
    waits: IntArray
    steps: IntArray

    @cached_property
    def energy(self) -> dict[str, float]:
        """Picojoules by unit; ``"static"`` is what time costs."""
        return {unit: float(energy) for unit, energy in self._energy.items()}

    @cached_property
    def _energy(self) -> Mapping[str, Any]:
        return energy_of(self.architecture, self.counts, self.duration)

    @property
    def total_energy(self) -> float:
        """Picojoules."""
        return float(sum(self._energy.values()))

    @property
    def power(self) -> float:
        """Milliwatts on average: a picojoule in a picosecond is a watt."""
        return 1000 * self.total_energy / self.duration if self.duration else 0.0

    def waiting(self) -> dict[str, int]:
        """Picoseconds that messages waited at cores.

        ``"mean"`` (rounded down), percentiles (``"p50"``: half waited no longer) and ``"max"``.
        """
        if not len(self.waits):
            return {"mean": 0, **{f"p{p}": 0 for p in PERCENTILES}, "max": 0}
        ordered = np.sort(self.waits)
        places = {f"p{p}": int(ordered[-(-p * len(ordered) // 100) - 1]) for p in PERCENTILES}
        return {"mean": int(ordered.sum()) // len(ordered), **places, "max": int(ordered[-1])}

    def busiest_cores(self, n: int = 5) -> list[dict[str, Any]]:
        """The cores that served for longest, their share of the whole run: JSON values."""
        order = np.argsort(-self.busy[:, 0], kind="stable")[:n]
        return [
            {
                "core": self.cores[i],
                "tile": self.cores[i] // self.architecture.chip.cores_per_tile,
                "messages": int(self.served[i]),
                "busy_share": int(self.busy[i, 0]) / self.duration if self.duration else 0.0,
                "sending_share": int(self.busy[i, 1]) / self.duration if self.duration else 0.0,
            }
            for i in order.tolist()
            if self.served[i]
        ]

    def busiest_links(self, n: int = 5) -> list[dict[str, Any]]:
        """The links that most messages took: JSON values. A link's share is the part of the run for which it was held."""
        flat = self.links.ravel()
        order = np.argsort(-flat, kind="stable")[:n]
        hold = self.architecture.links.hold
        return [
            {
                "tile": i // 4,
                "direction": DIRECTIONS[i % 4],
                "messages": int(flat[i]),
                "busy_share": int(flat[i]) * hold / self.duration if self.duration else 0.0,
            }
            for i in order.tolist()
            if flat[i]
        ]

    def summary(self) -> dict[str, Any]:
        """All of it as JSON values: seconds, picojoules, milliwatts."""
        waiting = {key: value / 10**12 for key, value in self.waiting().items()}
        return {
            "name": self.architecture.name,
            "file": self.architecture.source,
            "mode": self.mode,
            "duration_seconds": self.duration / 10**12,
            "decision_seconds": None if self.decision is None else self.decision / 10**12,
            "energy_pj": self.total_energy,
            "energy_pj_by_unit": self.energy,
            "power_mw": self.power,
            "counts": {key: int(value) for key, value in self.counts.items()},
            "messages": int(self.counts["message"]),
            "dropped": int(self.counts["dropped"]),
            "waiting_seconds": waiting,
            "busiest_cores": self.busiest_cores(),
            "busiest_links": self.busiest_links(),
            "utilisation": dict(self.utilisation),
        }

    def __repr__(self) -> str:
        return f"<Report: {self.architecture.name}, {self.duration / 10**12:.6g} s, {self.total_energy / 1000:.6g} nJ>"
