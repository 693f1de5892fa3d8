"""``es.Hardware``: a chip, and what runs of networks take on it."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from eventsim.errors import HardwareError
from eventsim.hardware.architecture import Architecture
from eventsim.hardware.imperfect import checked_settings, new_machine, run_machine, timeless_machine
from eventsim.hardware.pipeline import stages
from eventsim.hardware.placement import Placement, place
from eventsim.hardware.reading import presets, read_architecture
from eventsim.hardware.report import Report
from eventsim.hardware.sana_fe.writing import Written, write_sana_fe
from eventsim.job.job import DEFAULT_RESOLUTION
from eventsim.model.network import Network
from eventsim.model.periods import ticks
from eventsim.record.result import Result, Run
from eventsim.simulate import Simulator

if TYPE_CHECKING:
    from eventsim.hardware.machine import Machine
    from eventsim.hardware.replay import Replayer


class Hardware:
    """A chip from an architecture file (docs/hardware.md).

    Parameters
    ----------
    architecture : path-like or Architecture
        A file, or the name of an architecture that comes with the package (:meth:`presets`).

    Raises
    ------
    HardwareError
        No architecture.

    Examples
    --------
    >>> import eventsim as es
    >>> net = es.Network()
    >>> net.driven("input", 16, threshold=1)
    >>> net.readout("output", 32)
    >>> net.connect("input", "output", [[1] * 32] * 16, delay=1)
    >>> result, report = es.Hardware("loihi-fitted").run(net, {"input": [1] * 16}, steps=10, resolution=1)
    >>> report.counts["synapse"]
    5120
    """

    def __init__(self, architecture: str | os.PathLike[str] | Architecture):
        self.architecture = architecture if isinstance(architecture, Architecture) else read_architecture(architecture)
        self._placed: tuple[Network, Replayer] | None = None
        self._closed: tuple[Network, Machine] | None = None
        self._timeless: tuple[Network, Machine] | None = None
        self._simulator: Simulator | None = None

    def __repr__(self) -> str:
        return f"<Hardware: {self.architecture.name}, {self.architecture.chip.cores:,} {self.architecture.core.kind} cores>"

    @staticmethod
    def presets() -> list[str]:
        """Names of the architectures that come with the package."""
        return presets()

    @property
    def changes_spikes(self) -> bool:
        """Whether runs are others than those of engines, closed or not: where converters of crossbars do not add exactly."""
        return self.architecture.core.converts

    @property
    def recorded(self) -> dict[str, Any]:
        """What a run has to record to be replayed, as settings of :meth:`eventsim.Simulator.run`."""
        return {"record": "all", "potentials": "all" if self.architecture.core.update_when == "potential" else "none"}

    @property
    def closed_resolution(self) -> int:
        """Ticks of a step of closed runs."""
        return 1 if self.architecture.chip.synchronisation == "barrier" else self.architecture.chip.step

    def place(self, network: Network) -> Placement:
        """Put a network on the chip.

        Raises
        ------
        HardwareError
            It does not fit; the message says what it would need.
        """
        return place(network, self.architecture)

    def replay(self, network: Network, run: Run) -> Report:
        """What a run that is over takes on the chip.

        Parameters
        ----------
        network : Network
        run : Result or Trace
            Of this network, with the spikes of all populations. Of a trace all of the network is compared, by its SHA-256; a result in
            memory tells populations and projections only.

        Raises
        ------
        HardwareError
            The network does not fit, the run is of another one, or its spikes were not recorded.
        """
        if not isinstance(run, Run):
            raise HardwareError(f"a replay takes a result or a trace, found {type(run).__name__}; es.Trace(FILE) opens a trace")
        self._check_of(network, run)
        return self._replayer(network).replay(run)

    def run(
        self, network: Network, inputs: Any | npt.ArrayLike | None = None, *, closed: bool = False, **settings: Any
    ) -> tuple[Result, Report]:
        """Run a network, and say what that takes on the chip.

        Parameters
        ----------
        network : Network
        inputs
            As for :meth:`eventsim.Simulator.run`.
        closed : bool
            What the chip takes changes when spikes happen: a weight is added when its core has served it, and a spike leaves when its
            neuron has been updated. The resolution is the chip's step in picoseconds; behind barriers the run is clocked.
        **settings
            Of :meth:`eventsim.Simulator.run`; of a closed run, and of one through converters, steps, seed, max_spikes, exit_margin,
            exit_potential, record (closed: "all" or "none"; else "all", which a replay needs), trace, about and progress; and resolution,
            unless it is closed.

        Raises
        ------
        HardwareError
            The network does not fit, or the chip is none for closed runs.
        RunError, InputError, NetworkError, PotentialOverflow, TraceError
            As :meth:`eventsim.Simulator.run`.
        """
        simulator = self._simulator_of(network)
        if closed:
            if self.architecture.core.update_when == "potential":
                raise HardwareError(f'{self.architecture.name}: update_when = "potential" is for replays only: leave out closed')
            undisturbed = self._undisturbed(network, inputs, checked_settings(settings))
            if undisturbed is not None:
                return undisturbed
            if self._closed is None or self._closed[0] is not network:
                self._closed = network, new_machine(self.place(network))
            return run_machine(simulator, self._closed[1], inputs, self._closed[1].resolution, settings)
        replayer = self._replayer(network)
        # What a replay could not be made of is not run: it may have replaced a trace by then.
        for name, needed in self.recorded.items():
            if name in settings and settings[name] == "none" != needed:
                raise HardwareError(f"a replay needs what {name}={needed!r} records, found {name}='none'; leave it out")
        if self.changes_spikes:
            if self._timeless is None or self._timeless[0] is not network:
                self._timeless = network, timeless_machine(replayer.placement)
            resolution = settings.pop("resolution", DEFAULT_RESOLUTION)
            result, _ = run_machine(simulator, self._timeless[1], inputs, resolution, settings)
            return result, replayer.replay(result)
        result = simulator.run(inputs, **self.recorded | settings)
        return result, replayer.replay(result)

    def write_sana_fe(
        self,
        network: Network,
        inputs: Any | npt.ArrayLike | None,
        folder: str | os.PathLike[str],
        *,
        steps: int | None = None,
        seed: int = 0,
    ) -> Written:
        """Write the network with an input, and the chip, as ``network.yaml`` and ``architecture.yaml`` for SANA-FE (docs/hardware.md).

        Parameters
        ----------
        network : Network
        inputs, steps, seed
            Of a clocked run; as for :meth:`eventsim.Simulator.run`.
        folder : path-like
            Made if need be.

        Returns
        -------
        Written
            How many steps the run has there, which of them are whose, and what the files do not say (``losses``).

        Raises
        ------
        HardwareError
            The network does not fit the chip, SANA-FE has nothing like it, or the files cannot be written.
        RunError, InputError
            As :meth:`eventsim.Simulator.run`.
        """
        job = self._simulator_of(network).prepare(inputs, steps=steps, resolution=1, seed=seed)
        return write_sana_fe(self.place(network), job, folder)

    def _undisturbed(self, network: Network, inputs: Any, settings: dict[str, Any]) -> tuple[Result, Report] | None:
        """A closed run as a replay of the ordinary clocked one, where that is the same; None where it may not be, or is too long."""
        if not self.architecture.settled:
            return None
        # Populations that lag behind stop with the others, and what those have gone on to do by then costs, too.
        if settings["exit_margin"] is not None or settings["exit_potential"] is not None:
            return None
        if settings["trace"] is not None and settings["record"] != "all":
            return None
        # A cycle that the chip cannot run is an error before anything is run, or written.
        stages(network, {p.name: ticks(p.delay, 1) for p in network.projections}, 1)
        replayer = self._replayer(network)
        result = self._simulator_of(network).run(inputs, **settings | {"resolution": 1, "record": "all"})
        if result.stopped:
            return None
        try:
            report = replayer.replay(result)
        except HardwareError:
            return None
        return result if settings["record"] == "all" else result.without_spikes(), replace(report, mode="closed")

    def _check_of(self, network: Network, run: Run) -> None:
        """Refuse a run of another network, as far as the run knows of which it is: a trace holds the SHA-256."""
        info, populations = run.info, network.populations
        if [(p.name, p.kind, p.shape) for p in info.populations] != [(name, p.kind, p.shape) for name, p in populations.items()]:
            raise HardwareError("the run is of another network: its populations are others; give the network that was run")
        projections = [(p.name, p.source, p.target, p.delay) for p in network.projections]
        if [(p.name, p.source, p.target, p.delay) for p in info.projections] != projections:
            raise HardwareError("the run is of another network: its projections are others; give the network that was run")
        digest = info.settings.get("network_sha256")
        if digest is not None and digest != (here := self._simulator_of(network).digest()):
            raise HardwareError(
                "the run is of another network of the same shape, with other weights or parameters (SHA-256 of the trace's network "
                f"{digest[:16]}..., of this one {here[:16]}...); give the network that was run"
            )

    def _simulator_of(self, network: Network) -> Simulator:
        if self._simulator is None or self._simulator.network is not network:
            self._simulator = Simulator(network)
        return self._simulator

    def _replayer(self, network: Network) -> Replayer:
        if self._placed is None or self._placed[0] is not network:
            # When it is needed, as engines are: compiled code takes a while to load.
            self._placed = network, import_module("eventsim.hardware.replay").Replayer(place(network, self.architecture))
        return self._placed[1]
