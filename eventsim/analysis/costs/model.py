"""What a cost model is."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

from eventsim.errors import RunError

if TYPE_CHECKING:
    from eventsim.analysis.counting import OperationCount, OperationReport

# A table of costs is a few lines, and no operation takes a thousand joules.
_MAX_BYTES, _MAX_COST = 2**16, 1e15
_MAX_NAME = 100
# By kind: by part.
Parts = dict[str, dict[str, float]]


@dataclass(frozen=True)
class CostModel(ABC):
    """Energies of operations in picojoules, and what they add up to. A subclass is a frozen dataclass of such numbers.

    Attributes
    ----------
    name : str
    kinds : tuple of str
        Of hardware: a network's energy is told for each. The first one stands for the others in tables of studies.
    """

    name: str
    kinds: ClassVar[tuple[str, ...]]

    @abstractmethod
    def of_layer(self, count: OperationCount) -> Parts:
        """Energy of one projection or encoder, or of several together: by kind, by part."""

    @abstractmethod
    def of_neurons(self, report: OperationReport) -> dict[str, float]:
        """Energy of the neurons themselves: by kind."""

    @abstractmethod
    def phrases(self) -> dict[str, tuple[str, str]]:
        """By kind: what stands before its energy in a sentence (nothing, or a noun), and after it."""

    @abstractmethod
    def apart(self) -> str | None:
        """What of it is told apart from arithmetic, in words; None if there is nothing else."""

    def energy_parts(self, counts: OperationCount | OperationReport) -> Parts:
        """Energy in picojoules: by kind, by part. Of a report with the part ``"neurons"``."""
        return counts.energy_parts(self)

    def energy(self, counts: OperationCount | OperationReport) -> dict[str, float]:
        """The sums of :meth:`energy_parts`: by kind."""
        return {kind: sum(parts.values()) for kind, parts in self.energy_parts(counts).items()}

    def sentence(self, energy: Mapping[str, str], article: str = "") -> str:
        """Energies, as texts by kind, in a sentence that says what they are of."""
        text = ""
        for kind, (before, after) in self.phrases().items():
            text += f"; {article}{before} " if before else ", " if text else ""
            text += f"{energy[kind]} {after}"
        return text

    def facts(self) -> dict[str, Any]:
        """Name and numbers as JSON values."""
        return asdict(self)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read costs from a JSON file: an object with this class's attributes; missing ones keep their default.

        Raises
        ------
        RunError
            Not such a file.
        """
        return cls.from_values(path, read_values(path))

    @classmethod
    def from_values(cls, path: str | os.PathLike[str], values: Any) -> Self:
        """Costs from JSON values; see :meth:`read`."""
        known = [f.name for f in fields(cls)]
        expected = f"a table of costs is a JSON object with a name and any of {', '.join(known[1:])}"
        if not isinstance(values, dict):
            raise RunError(f"{path}: {expected}; found {type(values).__name__}")
        if unknown := sorted(set(values) - set(known)):
            raise RunError(f"{path}: {expected}; found {', '.join(map(repr, unknown))}")
        if "name" not in values:
            raise RunError(f"{path}: {expected}; found no name")
        name = values["name"]
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= _MAX_NAME:
            raise RunError(f"{path}: the name of a table of costs is a text of 1 to {_MAX_NAME} printable characters")
        for key, value in values.items():
            # Comparing keeps out infinity and NaN.
            if key != "name" and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MAX_COST):
                raise RunError(f"{path}: {key} must be a number of picojoules, 0 to {_MAX_COST:g}")
        return cls(name, **{key: float(value) for key, value in values.items() if key != "name"})


def read_values(path: str | os.PathLike[str]) -> Any:
    """The JSON values of a small file.

    Raises
    ------
    RunError
        Not such a file.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise RunError(f"{path}: more than {_MAX_BYTES:,} bytes are no table of costs")
        return json.loads(content.decode("utf-8"), object_pairs_hook=_without_doubles)
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); expected a table of costs") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not a readable table of costs, which is JSON ({error})") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name is given twice")
    return values
