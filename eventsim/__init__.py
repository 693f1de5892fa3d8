"""eventsim: exact event-driven simulation of spiking neural networks converted from binary-weight networks.

What is public is imported when it is first asked for: ``import eventsim`` itself takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventsim.analysis import counting as counting
    from eventsim.analysis import evaluation as evaluation
    from eventsim.analysis import mistakes as mistakes
    from eventsim.analysis import plot as plot
    from eventsim.analysis import report as report
    from eventsim.analysis import trajectory as trajectory
    from eventsim.analysis.evaluation import Evaluation
    from eventsim.batch import study as study
    from eventsim.batch.evaluate import evaluate
    from eventsim.conversion import Conversion, convert
    from eventsim.conversion.from_nir import spiking_from_nir
    from eventsim.data import datasets as datasets
    from eventsim.errors import (
        ConversionError,
        DatasetError,
        EventsimError,
        HardwareError,
        InputError,
        NetworkError,
        NetworkFileError,
        PotentialOverflow,
        RunError,
        TraceError,
    )
    from eventsim.hardware.hardware import Hardware
    from eventsim.job.job import DEFAULT_RESOLUTION
    from eventsim.model import netfile as netfile
    from eventsim.model.netfile import load, save
    from eventsim.model.network import Network
    from eventsim.model.onsets import with_onsets
    from eventsim.model.refractory import with_refractory
    from eventsim.model.tables import Conv2d, Dense, GroupedConv2d, Sparse, Table, Windows
    from eventsim.record import result as result
    from eventsim.record.result import Result, Spikes
    from eventsim.record.runs import Runs
    from eventsim.record.trace import Trace
    from eventsim.simulate import Simulator, run

    __version__: str

# Where each name is defined.
_NAMES = {
    "DEFAULT_RESOLUTION": "eventsim.job.job",
    "Conv2d": "eventsim.model.tables",
    "GroupedConv2d": "eventsim.model.tables",
    "Conversion": "eventsim.conversion",
    "ConversionError": "eventsim.errors",
    "DatasetError": "eventsim.errors",
    "Dense": "eventsim.model.tables",
    "Evaluation": "eventsim.analysis.evaluation",
    "EventsimError": "eventsim.errors",
    "Hardware": "eventsim.hardware.hardware",
    "HardwareError": "eventsim.errors",
    "InputError": "eventsim.errors",
    "Network": "eventsim.model.network",
    "NetworkError": "eventsim.errors",
    "NetworkFileError": "eventsim.errors",
    "PotentialOverflow": "eventsim.errors",
    "Result": "eventsim.record.result",
    "RunError": "eventsim.errors",
    "Runs": "eventsim.record.runs",
    "Simulator": "eventsim.simulate",
    "Sparse": "eventsim.model.tables",
    "Spikes": "eventsim.record.result",
    "Table": "eventsim.model.tables",
    "Trace": "eventsim.record.trace",
    "TraceError": "eventsim.errors",
    "Windows": "eventsim.model.tables",
    "convert": "eventsim.conversion",
    "evaluate": "eventsim.batch.evaluate",
    "load": "eventsim.model.netfile",
    "run": "eventsim.simulate",
    "save": "eventsim.model.netfile",
    "spiking_from_nir": "eventsim.conversion.from_nir",
    "with_onsets": "eventsim.model.onsets",
    "with_refractory": "eventsim.model.refractory",
}
# Modules that are public: ``from eventsim import plot``.
_MODULES = {
    "counting": "eventsim.analysis.counting",
    "datasets": "eventsim.data.datasets",
    "evaluation": "eventsim.analysis.evaluation",
    "mistakes": "eventsim.analysis.mistakes",
    "netfile": "eventsim.model.netfile",
    "plot": "eventsim.analysis.plot",
    "report": "eventsim.analysis.report",
    "result": "eventsim.record.result",
    "study": "eventsim.batch.study",
    "trajectory": "eventsim.analysis.trajectory",
}

__all__ = [
    "DEFAULT_RESOLUTION",
    "Conv2d",
    "Conversion",
    "ConversionError",
    "DatasetError",
    "Dense",
    "Evaluation",
    "EventsimError",
    "GroupedConv2d",
    "Hardware",
    "HardwareError",
    "InputError",
    "Network",
    "NetworkError",
    "NetworkFileError",
    "PotentialOverflow",
    "Result",
    "RunError",
    "Runs",
    "Simulator",
    "Sparse",
    "Spikes",
    "Table",
    "Trace",
    "TraceError",
    "Windows",
    "__version__",
    "convert",
    "evaluate",
    "load",
    "run",
    "save",
    "spiking_from_nir",
    "with_onsets",
    "with_refractory",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("eventsim")
    elif name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'eventsim' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES, *_MODULES, "__version__"})
