"""Architecture files: TOML with units in the names, from anywhere; everything is checked before it is used (docs/hardware.md)."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from importlib.resources import files
from typing import Any

from eventsim.errors import HardwareError
from eventsim.hardware.architecture import Architecture, Chip, Core, Cost, CrossbarCore, EventCore, Links
from eventsim.model.limits import MAX_NEURONS, MAX_POPULATIONS

# An architecture is a page of text.
_MAX_BYTES = 2**18
_MAX_NAME, _MAX_TEXT = 100, 2000
MAX_CORES = 2**18
# Of one event: a millisecond for a step is long, and so is a second.
_MAX_NS, _MAX_PJ, _MAX_UW, _MAX_MHZ = 10**9, 10**9, 10**9, 10**5
# Of converters: 12 bits.
MAX_LEVELS = 2**12
# Of crossbars, and of queues.
MAX_LINES, _MAX_ROOM = 2**16, 2**20

Check = Callable[[Any], Any]


class _Wrong(Exception):
    """What a value should have been."""


def _whole(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _Wrong(f"a whole number in {low}..{high:,}")
        return value

    return check


def _decimal(unit: str, most: int, places: int) -> Check:
    """A decimal number of a unit, as a whole number of ``10**-places`` of it."""

    def check(value: Any) -> int:
        # The limits keep out infinity; NaN compares with nothing.
        if type(value) not in (int, Decimal) or Decimal(value).is_nan() or not 0 <= value <= most:
            raise _Wrong(f"a number of {unit}, 0 to {most:,}")
        # Exactly, and not by more digits than any number here has.
        _, digits, exponent = Decimal(value).as_tuple()
        assert isinstance(exponent, int)
        while digits[-1:] == (0,) and exponent < 0 and len(digits) > 1:
            digits, exponent = digits[:-1], exponent + 1
        if any(digits) and exponent < -places:
            raise _Wrong(f"a number of {unit} with at most {places} decimals")
        return int(Decimal(value) * 10**places) if any(digits) else 0

    return check


def _one_of(*words: str) -> Check:
    def check(value: Any) -> str:
        if value not in words or type(value) is not str:
            raise _Wrong(" or ".join(f'"{word}"' for word in words))
        return str(value)

    return check


def _text(most: int) -> Check:
    def check(value: Any) -> str:
        if type(value) is not str or len(value) > most or not value.replace("\n", " ").isprintable():
            raise _Wrong(f"a text of at most {most:,} printable characters")
        return str(value)

    return check


_NS, _PJ = _decimal("nanoseconds", _MAX_NS, 3), _decimal("picojoules", _MAX_PJ, 6)


def _barrier(value: Any) -> dict[int, int]:
    """Nanoseconds, one number or by the number of tiles."""
    if type(value) is not dict:
        return {1: _NS(value)}
    digits = len(str(MAX_CORES))
    named = [key.isascii() and key.isdigit() and len(key) <= digits and 1 <= int(key) <= MAX_CORES for key in value]
    if not all(named) or not value or len({int(key) for key in value}) < len(value):
        raise _Wrong("nanoseconds, or a table of nanoseconds by a number of tiles, each once")
    return {int(key): _NS(each) for key, each in value.items()}


def _cost(name: str) -> dict[str, tuple[Check, Any]]:
    return {f"{name}_ns": (_NS, 0), f"{name}_pj": (_PJ, 0)}


_MUST = object()
# By section and key: how a value is checked, and what it is where it is not given.
_TOP: dict[str, tuple[Check, Any]] = {"name": (_text(_MAX_NAME), _MUST), "description": (_text(_MAX_TEXT), "")}
_CHIP: dict[str, tuple[Check, Any]] = {
    "columns": (_whole(1, 2**10), _MUST),
    "rows": (_whole(1, 2**10), _MUST),
    "cores_per_tile": (_whole(1, 2**12), 1),
    "step_us": (_decimal("microseconds", 10**9, 6), _MUST),
    "static_power_uw": (_decimal("microwatts", _MAX_UW, 3), 0),
    "clock_mhz": (_decimal("megahertz", _MAX_MHZ, 3), 0),
    "clock_power_uw_per_mhz": (_decimal("microwatts per megahertz", _MAX_UW, 3), 0),
    "synchronisation": (_one_of("none", "barrier"), "none"),
    "barrier_ns": (_barrier, {}),
}
_LINKS: dict[str, tuple[Check, Any]] = {
    **_cost("east_west"),
    **_cost("north_south"),
    **_cost("within_tile"),
    "hold_ns": (_NS, 0),
    "buffer": (_whole(0, _MAX_ROOM), 0),
    "when_full": (_one_of("block", "drop"), "block"),
}
_OF_NEURONS = "access", "update", "spike", "message_out"
_ANY_CORE: dict[str, tuple[Check, Any]] = {
    "kind": (_one_of("event", "crossbar"), _MUST),
    "neurons": (_whole(1, MAX_NEURONS), _MUST),
    "queue": (_whole(0, _MAX_ROOM), 0),
    "update_when": (_one_of("input", "potential"), "input"),
    **{key: rule for name in _OF_NEURONS for key, rule in _cost(name).items()},
}
_CORE: dict[str, dict[str, tuple[Check, Any]]] = {
    "event": {
        **_ANY_CORE,
        "axons": (_whole(0, 2**31), 0),
        "synapses": (_whole(0, 2**40), 0),
        **_cost("message_in"),
        **_cost("synapse"),
    },
    "crossbar": {
        **{key: rule for key, rule in _ANY_CORE.items() if key != "neurons"},
        "rows": (_whole(1, MAX_LINES), _MUST),
        "columns": (_whole(1, MAX_LINES), _MUST),
        "cells_per_weight": (_whole(1, 2**10), 1),
        "columns_per_converter": (_whole(1, MAX_LINES), 1),
        "converter_levels": (_whole(2, MAX_LEVELS), 0),
        "converter_rows": (_whole(1, MAX_LINES), 0),
        "converter_offset": (_decimal("weights", MAX_LINES, 3), 0),
        "converter_seed": (_whole(0, 2**31), 0),
        "read_ns": (_NS, 0),
        "conversion_ns": (_NS, 0),
        "cell_pj": (_PJ, 0),
        "row_pj": (_PJ, 0),
        "conversion_pj": (_PJ, 0),
    },
}
_PLACEMENT: dict[str, tuple[Check, Any]] = {
    "population": (_text(_MAX_NAME), _MUST),
    "cores": (lambda value: value, _MUST),
    "neurons": (lambda value: value, None),
}


def presets() -> list[str]:
    """Names of the architectures that come with the package."""
    return sorted(each.name.removesuffix(".toml") for each in files("eventsim.hardware.presets").iterdir() if each.name.endswith(".toml"))


def read_architecture(name: str | os.PathLike[str]) -> Architecture:
    """Read an architecture file, or one that comes with the package, by its name (:func:`presets`); a file of that name wins.

    Raises
    ------
    HardwareError
        Not such a file.
    """
    path = os.fspath(name)
    if not os.path.exists(path) and path.removesuffix(".toml") in presets():
        content = files("eventsim.hardware.presets").joinpath(f"{path.removesuffix('.toml')}.toml").read_bytes()
    else:
        content = _content(path)
    try:
        tables = tomllib.loads(content.decode("utf-8"), parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise HardwareError(f"{path}: no architecture file ({_first_line(error)})") from None
    return architecture_from(tables, path)


def _content(path: str) -> bytes:
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise HardwareError(f"{path}: is no file; expected an architecture file")
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        known = ", ".join(presets())
        raise HardwareError(f"{path}: cannot be read ({error.strerror}); architectures that need no file: {known}") from None
    if len(content) > _MAX_BYTES:
        raise HardwareError(f"{path}: more than {_MAX_BYTES:,} bytes are no architecture")
    return content


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def architecture_from(tables: Mapping[str, Any], path: str) -> Architecture:
    """An architecture from the values of a TOML file, decimal numbers as ``Decimal``; ``path`` is named in errors.

    Raises
    ------
    HardwareError
    """
    sections = {key: value for key, value in tables.items() if key in ("chip", "links", "core", "placement")}
    top = _section(path, "", {key: value for key, value in tables.items() if key not in sections}, _TOP)
    for name in ("chip", "core"):
        if name not in sections:
            raise HardwareError(f"{path}: has no section [{name}]")
    core = _core(path, sections["core"])
    chip = _chip(path, _section(path, "[chip] ", sections["chip"], _CHIP))
    links = _section(path, "[links] ", sections.get("links", {}), _LINKS)
    made = Links(
        Cost(links["east_west_ns"], links["east_west_pj"]),
        Cost(links["north_south_ns"], links["north_south_pj"]),
        Cost(links["within_tile_ns"], links["within_tile_pj"]),
        links["hold_ns"],
        links["buffer"],
        links["when_full"],
    )
    if made.hold > min(made.east_west.time, made.north_south.time):
        raise HardwareError(f"{path}: [links] hold_ns must not be more than east_west_ns and north_south_ns: a hop takes at least as long")
    if made.buffer and not made.hold:
        raise HardwareError(f"{path}: [links] buffer has no effect on links that hold no message; give hold_ns")
    if core.update_when == "potential" and chip.synchronisation == "none":
        raise HardwareError(f'{path}: [core] update_when has no effect without synchronisation = "barrier"')
    if core.update_when == "potential" and (made.hold or core.queue or core.converts):
        raise HardwareError(
            f'{path}: [core] update_when = "potential" is for replays only: not where links hold messages, queues end or sums are converted'
        )
    placed, shares = _placed(path, sections.get("placement", []), chip)
    return Architecture(top["name"], top["description"], chip, made, core, placed, path, shares)


def _chip(path: str, given: dict[str, Any]) -> Chip:
    barrier, synchronisation, step = given["barrier_ns"], given["synchronisation"], given["step_us"]
    if barrier and synchronisation == "none":
        raise HardwareError(f'{path}: [chip] barrier_ns has no effect without synchronisation = "barrier"')
    if not step and synchronisation == "none":
        raise HardwareError(f"{path}: [chip] step_us must be more than 0 where no barrier ends a step")
    # Thousandths of microwatts per megahertz, times thousandths of megahertz.
    power = given["static_power_uw"] + given["clock_power_uw_per_mhz"] * given["clock_mhz"] // 1000
    chip = Chip(given["columns"], given["rows"], given["cores_per_tile"], step, power, synchronisation, barrier)
    if chip.cores > MAX_CORES:
        raise HardwareError(f"{path}: [chip] has {chip.cores:,} cores, the limit is {MAX_CORES:,}")
    return chip


def _core(path: str, table: Any) -> Core:
    kind = table.get("kind") if isinstance(table, dict) else None
    given = _section(path, "[core] ", table, _CORE.get(kind if type(kind) is str else "", _CORE["event"]))
    if given["kind"] == "event":
        own = {"axons": given["axons"], "synapses": given["synapses"]}
        costs = _costs(given, (*_OF_NEURONS, "message_in", "synapse"))
        return EventCore(given["neurons"], given["queue"], update_when=given["update_when"], **own, **costs)
    neurons = given["columns"] // given["cells_per_weight"]
    if not neurons:
        raise HardwareError(f"{path}: [core] {given['columns']} columns have no room for a weight of {given['cells_per_weight']} cells")
    if not given["converter_levels"] and (given["converter_rows"] or given["converter_offset"]):
        raise HardwareError(f"{path}: [core] converter_rows and converter_offset have no effect without converter_levels")
    sizes = {key: given[key] for key in ("rows", "columns", "cells_per_weight", "columns_per_converter")}
    return CrossbarCore(
        neurons,
        given["queue"],
        update_when=given["update_when"],
        **_costs(given, _OF_NEURONS),
        **sizes,
        levels=given["converter_levels"],
        full_scale=given["converter_rows"],
        offset=given["converter_offset"],
        offset_seed=given["converter_seed"],
        read=given["read_ns"],
        conversion=given["conversion_ns"],
        cell_energy=given["cell_pj"],
        row_energy=given["row_pj"],
        conversion_energy=given["conversion_pj"],
    )


def _costs(given: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: Cost(given[f"{name}_ns"], given[f"{name}_pj"]) for name in names}


def _placed(path: str, entries: Any, chip: Chip) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """The cores of populations, and how many neurons go to each where that is given."""
    if type(entries) is not list or len(entries) > MAX_POPULATIONS:
        raise HardwareError(f"{path}: placement must be tables [[placement]], one a population")
    placed: dict[str, tuple[int, ...]] = {}
    shares: dict[str, tuple[int, ...]] = {}
    for entry in entries:
        given = _section(path, "[[placement]] ", entry, _PLACEMENT)
        name, cores = given["population"], given["cores"]
        if name in placed:
            raise HardwareError(f"{path}: [[placement]] names {name!r} twice")
        if type(cores) is not list or not cores or not all(type(c) is int and 0 <= c < chip.cores for c in cores):
            raise HardwareError(f"{path}: [[placement]] of {name!r}: cores must be a list of numbers in 0..{chip.cores - 1}")
        if len(set(cores)) < len(cores):
            raise HardwareError(f"{path}: [[placement]] of {name!r} names a core twice")
        placed[name] = tuple(cores)
        neurons = given["neurons"]
        if neurons is not None:
            if type(neurons) is not list or len(neurons) > len(cores) or not all(type(n) is int and 0 < n <= MAX_NEURONS for n in neurons):
                raise HardwareError(
                    f"{path}: [[placement]] of {name!r}: neurons must be a list of whole numbers above 0, at most one a core"
                )
            shares[name] = tuple(neurons)
    return placed, shares


def _section(path: str, where: str, table: Any, rules: Mapping[str, tuple[Check, Any]]) -> dict[str, Any]:
    """The values of a section, checked; those that are not given are what they are then."""
    if type(table) is not dict:
        raise HardwareError(f"{path}: {where.strip() or 'it'} must be a table")
    unknown = [key for key in table if key not in rules]
    if unknown:
        raise HardwareError(f"{path}: {where}unknown key {unknown[0]!r}; there are: {', '.join(rules)}")
    values = {}
    for key, (check, default) in rules.items():
        if key not in table:
            if default is _MUST:
                raise HardwareError(f"{path}: {where}{key} is missing")
            values[key] = default
            continue
        try:
            values[key] = check(table[key])
        except _Wrong as wrong:
            value = table[key]
            whole = f"a whole number of {value.bit_length()} bits" if isinstance(value, int) and value.bit_length() > 200 else repr(value)
            found = str(value) if type(value) is Decimal else whole
            raise HardwareError(f"{path}: {where}{key} must be {wrong}, found {found[:60]}") from None
    return values
