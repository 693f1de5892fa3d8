"""Where a network comes from, as JSON in its file."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from eventsim.errors import NetworkError, NetworkFileError
from eventsim.model.storage.format import MAX_PROVENANCE
from eventsim.model.storage.messages import reason

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup


def provenance_text(values: Any) -> bytes:
    """A dictionary as JSON.

    Raises
    ------
    NetworkError
        It holds what JSON cannot, or too much.
    """
    if not isinstance(values, dict):
        raise NetworkError(f"provenance must be a dictionary, found {type(values).__name__}")
    try:
        text = json.dumps(_jsonable(values), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NetworkError(f"provenance must hold JSON values only (texts, finite numbers, lists, ...): {reason(error)}") from None
    if len(text) > MAX_PROVENANCE:
        raise NetworkError(f"provenance has {len(text)} bytes as JSON, the limit is {MAX_PROVENANCE}")
    return text


def _jsonable(value: Any) -> Any:
    """Tuples as lists and NumPy scalars as numbers; json itself would turn keys such as 1 or None into texts unasked."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is no text")
        return {key: _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value


def read_provenance(root: StoredGroup) -> dict[str, Any]:
    """The provenance of a file; raises NetworkFileError if it is no JSON object, or not one that any program reads alike."""
    (text,) = root.texts("provenance", (), MAX_PROVENANCE, "provenance")

    def fail(message: str) -> NetworkFileError:
        return root.fail("provenance", message)

    def refuse(constant: str) -> None:
        raise fail(f"holds {constant}, which is not JSON")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in items}) < len(items):
            raise fail("has a key twice")
        return dict(items)

    def number(digits: str) -> float:
        if not math.isfinite(float(digits)):
            raise fail(f"holds {digits[:40]}, which is not finite")
        return float(digits)

    try:
        values = json.loads(text, parse_constant=refuse, parse_float=number, object_pairs_hook=pairs)
        # Escapes can spell half characters that nothing could print.
        json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise fail(f"is not JSON: {reason(error)}") from None
    if not isinstance(values, dict):
        raise fail("is not a JSON object")
    return values
