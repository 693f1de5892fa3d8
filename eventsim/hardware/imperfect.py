"""Runs of networks whose spikes are lost or late, or whose sums are what converters make of them: on a chip that takes no time.

A tick takes what it holds at once, so that everything that is not wrong is as in the ordinary run: where nothing is, it is that run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from eventsim.errors import HardwareError
from eventsim.hardware.architecture import FREE, Architecture, Chip, Core, CrossbarCore, EventCore, Links
from eventsim.hardware.faults import Faults, checked_seed
from eventsim.hardware.placement import Placement, columns_of, messages_of, place
from eventsim.hardware.report import Report
from eventsim.job.job import DEFAULT_MAX_SPIKES, DEFAULT_RESOLUTION
from eventsim.model.exits import ExitRule
from eventsim.model.network import Network
from eventsim.record.recording import Recording
from eventsim.record.result import Result
from eventsim.simulate import Simulator, check_about

if TYPE_CHECKING:
    from eventsim.hardware.machine import Machine

# Settings of such runs, and what they are if they are not given; see :meth:`eventsim.Simulator.run`.
SETTINGS: dict[str, Any] = {
    "steps": None,
    "seed": 0,
    "max_spikes": DEFAULT_MAX_SPIKES,
    "exit_margin": None,
    "exit_potential": None,
    "record": "all",
    "trace": None,
    "about": None,
    "progress": None,
}


class Imperfect:
    """A network with imperfect hardware beneath it, for many runs.

    Parameters
    ----------
    network : Network
    architecture : Architecture, optional
        Of its crossbars; what it takes in time does not matter here. Default: what is added is exact.
    faults : Faults, optional
        Spikes that are lost or late. (Cells and thresholds that err make another network: :func:`eventsim.hardware.faults.with_faults`.)
    seed : int
        Of the faults.

    Raises
    ------
    HardwareError
        The network does not fit; or no such seed.
    """

    def __init__(self, network: Network, architecture: Architecture | None = None, faults: Faults | None = None, seed: int = 0):
        checked_seed(seed)
        self._simulator = Simulator(network)
        placement = place(network, one_core_each(network) if architecture is None else architecture)
        self._machine = timeless_machine(placement, faults, seed)

    def run(self, inputs: Any = None, *, resolution: int = DEFAULT_RESOLUTION, **settings: Any) -> Result:
        """Run an input; parameters and errors are those of :meth:`eventsim.Simulator.run`.

        There is no choice of engines, threads and potentials; ``record`` is "all" or "none".
        """
        return self.run_and_count(inputs, resolution=resolution, **settings)[0]

    def run_and_count(
        self, inputs: Any = None, *, resolution: int = DEFAULT_RESOLUTION, **settings: Any
    ) -> tuple[Result, Mapping[str, int]]:
        """The same, with what was counted of the hardware: :attr:`eventsim.hardware.report.Report.counts`."""
        result, report = run_machine(self._simulator, self._machine, inputs, resolution, settings)
        return result, report.counts

    def digest(self) -> str:
        """SHA-256 (hex) of the network."""
        return self._simulator.digest()


def one_core_each(network: Network) -> Architecture:
    """A chip on which every population has a core."""
    largest = max(population.size for population in network.populations.values())
    chip = Chip(len(network.populations), 1, 1, 1, 0, "none", {})
    return Architecture("one core each", "", chip, Links(), EventCore(largest), {})


def timeless_machine(placement: Placement, faults: Faults | None = None, seed: int = 0) -> Machine:
    """A machine that takes no time, its ticks those of the run: of a placed network, with the rows of its crossbars, and nothing else."""
    architecture = placement.architecture
    chip = replace(architecture.chip, step=1, synchronisation="none", barrier={})
    core: Core = replace(architecture.core, queue=0, access=FREE, update=FREE, spike=FREE, message_out=FREE)
    if isinstance(core, CrossbarCore):
        core = replace(core, read=0, conversion=0)
    elif isinstance(core, EventCore):
        core = replace(core, message_in=FREE, synapse=FREE)
    timeless = replace(placement, architecture=replace(architecture, chip=chip, links=Links(), core=core))
    return new_machine(timeless, faults, seed)


def new_machine(placement: Placement, faults: Faults | None = None, seed: int = 0) -> Machine:
    """A machine for a placed network; parameters and errors are those of :class:`eventsim.hardware.machine.Machine`."""
    # It is imported when it is needed, as engines are: compiled code takes a while to load.
    machine: Machine = import_module("eventsim.hardware.machine").Machine(
        placement, messages_of(placement), columns_of(placement), faults, seed
    )
    return machine


def checked_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of :data:`SETTINGS`, of which some are given.

    Raises
    ------
    HardwareError
        A setting that there is not, or a choice of spikes.
    """
    unknown = set(given) - set(SETTINGS)
    if unknown:
        raise HardwareError(f"a run on such hardware has no setting {min(unknown)!r}; there are: {', '.join(SETTINGS)}")
    settings = SETTINGS | dict(given)
    if settings["record"] not in ("all", "none"):
        raise HardwareError(f"a run on such hardware records 'all' or 'none', found {settings['record']!r}")
    return settings


def run_machine(simulator: Simulator, machine: Machine, inputs: Any, resolution: int, given: Mapping[str, Any]) -> tuple[Result, Report]:
    """Run an input on a machine; the settings are those of :data:`SETTINGS`.

    Raises
    ------
    HardwareError
        A setting that there is not.
    RunError, InputError, NetworkError, PotentialOverflow, TraceError
        As :meth:`eventsim.Simulator.run`.
    """
    steps, seed, max_spikes, margin, potential, record, trace, about, progress = checked_settings(given).values()
    rule = ExitRule.from_settings(margin, potential)
    if trace is not None:
        check_about(about or {})
    job = simulator.prepare(inputs, steps=steps, resolution=resolution, exit_rule=rule, seed=seed, max_spikes=max_spikes)
    recorded = frozenset(name for name, p in simulator.network.populations.items() if p.sends_spikes and record == "all")
    noted = {"engine": "hardware", "seed": int(seed), "max_spikes": job.max_spikes, "recorded": sorted(recorded), **(about or {})}
    with Recording(job, recorded, [], trace, False) as recording:
        start = time.perf_counter()
        counts, report = machine.run(job, recording.recorder, progress)
        recording.add_sources(counts)
        noted["wall_seconds"] = time.perf_counter() - start
        if trace is not None:
            noted["network_sha256"] = simulator.digest()
        return recording.result(simulator.describe(job, noted), counts, inputs), report
