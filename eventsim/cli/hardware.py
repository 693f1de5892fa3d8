"""What hardware takes, and what it is, as lines on a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eventsim.cli.pictures import write_figures
from eventsim.files.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from eventsim.hardware.report import Report

# Of the parts of energy and of what is busy, as many are told.
_MOST = 4
# Room that an architecture file need not limit; 0 where it does not.
_ROOM = ("buffer", "queue", "axons", "synapses")


def quantity(value: float, unit: str) -> str:
    """A number with the prefix that leaves 1 to 1,000 before it: ``3.29 us``."""
    for factor, prefix in ((1e0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p")):
        if abs(value) >= factor:
            return f"{value / factor:.4g} {prefix}{unit}"
    return f"{value:g} {unit}" if value == 0 else f"{value / 1e-15:.4g} f{unit}"


def print_report(report: dict[str, Any], moved: dict[str, Any] | None) -> None:
    """What a run takes on hardware, in a few lines; of a closed run also how it differs from an ordinary one."""
    used = report["utilisation"]
    rows = [
        ("hardware", f"{report['name']}: {used['cores']:,} of {used['of_cores']:,} cores, {used['tiles']:,} of {used['of_tiles']:,} tiles"),
        ("takes", f"{quantity(report['duration_seconds'], 's')} ({report['mode']})"),
    ]
    if report["decision_seconds"] is not None:
        rows.append(("decided after", quantity(report["decision_seconds"], "s")))
    parts = sorted(report["energy_pj_by_unit"].items(), key=lambda part: -part[1])
    told = ", ".join(f"{unit} {energy / report['energy_pj']:.0%}" for unit, energy in parts[:_MOST] if energy)
    model = f"model {report['file']}"
    rows.append(("energy", f"{quantity(report['energy_pj'] / 1e12, 'J')} ({told or 'nothing costs any'}; {model})"))
    rows.append(("power", f"{quantity(report['power_mw'] / 1e3, 'W')} on average"))
    waiting = report["waiting_seconds"]
    times = ", ".join(f"{quantity(waiting[p], 's')} {words}" for p, words in (("p50", "half"), ("p99", "99 %"), ("max", "longest")))
    rows.append(("messages", f"{report['messages']:,}, dropped {report['dropped']:,}; waited at cores: {times}"))
    cores = ", ".join(f"{c['core']} ({c['busy_share']:.0%})" for c in report["busiest_cores"][:_MOST])
    if cores:
        rows.append(("busiest cores", cores))
    links = ", ".join(f"tile {c['tile']} {c['direction']} ({c['messages']:,} messages)" for c in report["busiest_links"][:_MOST])
    if links:
        rows.append(("busiest links", links))
    if moved is not None:
        words = f"{moved['spikes']:,}, {moved['ordinary_spikes']:,} without hardware; {moved['changed']:,} have no counterpart"
        if moved["p50_shift_steps"] is not None:
            words += f", the others come {moved['p50_shift_steps']:.4g} steps later (half), {moved['p95_shift_steps']:.4g} (95 %)"
        rows.append(("spikes", words))
    for name, value in rows:
        click.echo(f"{name:16} {printable(value)}")


def report_in_a_line(report: dict[str, Any], moved: dict[str, Any] | None) -> str:
    """The same in brief, for one of several inputs."""
    decided = "" if report["decision_seconds"] is None else f", decided after {quantity(report['decision_seconds'], 's')}"
    line = f"{report['name']}: {quantity(report['duration_seconds'], 's')}{decided}, {quantity(report['energy_pj'] / 1e12, 'J')}"
    line += f", {report['messages']:,} messages"
    line += f", {report['dropped']:,} dropped" if report["dropped"] else ""
    return line if moved is None else f"{line}, {moved['changed']:,} spikes changed"


def draw_report(report: Report, folder: Path) -> list[Path]:
    """Draw what a run takes on hardware, into a folder that exists. Needs Matplotlib."""
    from eventsim.hardware import plot

    return list(write_figures(folder, {"mesh": lambda: plot.mesh(report), "timeline": lambda: plot.timeline(report)}))


def print_means(found: dict[str, Any]) -> None:
    """What an image takes on hardware, on average, in a few lines."""
    rows = [
        ("hardware", f"{found['name']} (model {found['file']}), {found['images']:,} images"),
        ("takes", f"{quantity(found['duration_seconds'], 's')} an image"),
        ("energy", f"{quantity(found['energy_joules'], 'J')} an image"),
        (
            "messages",
            f"{found['messages']:,.0f} an image, {found['dropped']:,.1f} dropped; 99 % wait {quantity(found['p99_waiting_seconds'], 's')}",
        ),
    ]
    if found["decision_seconds"] is not None:
        rows.insert(2, ("decided after", f"{quantity(found['decision_seconds'], 's')} on average"))
    for name, value in rows:
        click.echo(f"{name:16} {printable(value)}")


def print_architecture(console: Console, facts: dict[str, Any]) -> None:
    """What an architecture file says, line by line."""
    console.print(f"{facts['file']}: architecture {facts['name']}")
    if facts["description"]:
        console.print(facts["description"])
    for section in ("chip", "links", "core"):
        console.print(f"\n{section}")
        for key, value in facts[section].items():
            if isinstance(value, dict) and set(value) == {"time", "energy"}:
                value = f"{quantity(value['time'] / 1e12, 's')}, {quantity(value['energy'] / 1e18, 'J')}"
            elif isinstance(value, dict):
                value = ", ".join(f"{int(n):,} tiles {quantity(time / 1e12, 's')}" for n, time in value.items()) or "none"
            elif key in ("step", "hold", "read", "conversion"):
                value = quantity(value / 1e12, "s")
            elif key == "static_power":
                value = quantity(value / 1e9, "W")
            elif key == "offset":
                value = f"{value / 1000:g} weights"
            elif key in _ROOM and not value:
                value = "no limit"
            elif key.endswith("_energy"):
                value = quantity(value / 1e18, "J")
            console.print(f"  {key.replace('_', ' '):24} {value if isinstance(value, str) else format(value, ',')}")
    for population, cores in facts["placed"].items():
        console.print(f"placed: {population} on cores {', '.join(map(str, cores))}")
