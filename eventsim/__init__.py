"""eventsim: exact event-driven simulation of spiking neural networks converted from binary-weight networks."""

from importlib.metadata import version

from eventsim.conversion import Conversion, convert
from eventsim.errors import (
    ConversionError,
    DatasetError,
    EventsimError,
    InputError,
    NetworkError,
    NetworkFileError,
    PotentialOverflow,
    RunError,
    TraceError,
)
from eventsim.evaluating import evaluate
from eventsim.evaluation import Evaluation
from eventsim.job import DEFAULT_RESOLUTION
from eventsim.netfile import load, save
from eventsim.network import Network
from eventsim.result import Result, Spikes
from eventsim.simulate import Simulator, run
from eventsim.tables import Conv2d, Dense, Sparse, Table
from eventsim.trace import Trace

__version__ = version("eventsim")

__all__ = [
    "DEFAULT_RESOLUTION",
    "Conv2d",
    "Conversion",
    "ConversionError",
    "DatasetError",
    "Dense",
    "Evaluation",
    "EventsimError",
    "InputError",
    "Network",
    "NetworkError",
    "NetworkFileError",
    "PotentialOverflow",
    "Result",
    "RunError",
    "Simulator",
    "Sparse",
    "Spikes",
    "Table",
    "Trace",
    "TraceError",
    "__version__",
    "convert",
    "evaluate",
    "load",
    "run",
    "save",
]
