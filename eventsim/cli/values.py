"""JSON values as a person reads them: with as many digits as say something, and a line each where they have parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

# Numbers that are typed again as they are.
_TYPED = "seed"


def lines(name: str, value: Any, indent: str = "") -> Iterator[str]:
    """A value under its name; what has parts that have parts takes several lines. Parts that are None or empty are left out.

    Parameters
    ----------
    name : str
    value : JSON value
    indent : str
        What each line begins with.
    """
    name, parts = name.replace("_", " "), _parts(value)
    if parts is None:
        yield f"{indent}{name}: {text(name, value)}"
    elif any(_parts(part) is not None for part in parts.values()):
        yield f"{indent}{name}:"
        for key, part in parts.items():
            yield from lines(key, part, indent + "  ")
    elif parts:
        yield f"{indent}{name}: " + ", ".join(f"{key.replace('_', ' ')} = {text(key, part)}" for key, part in parts.items())


def _parts(value: Any) -> dict[str, Any] | None:
    """The parts of a value that has some, by their names: of an object, and of a list of objects."""
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        value = {str(part.get("name", i)): {k: v for k, v in part.items() if k != "name"} for i, part in enumerate(value, 1)}
    return {key: part for key, part in value.items() if part not in (None, [])} if isinstance(value, dict) else None


def text(name: str, value: Any) -> str:
    """A value without parts: shares of right answers in percent, other fractions with four digits (``info --json`` has all of them)."""
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, list):
        return "; ".join(text(name, part) for part in value) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, str) or name == _TYPED:
        return str(value)
    if "accuracy" in name and 0 <= value <= 1:
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
