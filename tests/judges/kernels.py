"""All compiled functions of the package."""

import importlib
from pathlib import Path

from numba.core.dispatcher import Dispatcher

import eventsim
from eventsim.kernels.fingerprint import fingerprint


def all_kernels() -> dict[str, Dispatcher]:
    """The compiled functions at the top of every module, by their dotted names."""
    found = {}
    for path in sorted(Path(eventsim.__file__).parent.rglob("*.py")):
        if path.name == "__main__.py":
            continue
        try:
            module = importlib.import_module(
                ".".join(("eventsim", *path.relative_to(Path(eventsim.__file__).parent).with_suffix("").parts))
            )
        except ModuleNotFoundError as error:
            # What converts from another package is imported where that is used, and compiles nothing.
            if (error.name or "").partition(".")[0] not in ("torch", "onnx"):
                raise
            continue
        found |= {f"{module.__name__}.{name}": value for name, value in vars(module).items() if isinstance(value, Dispatcher)}
    return found


def digests() -> dict[str, str]:
    """What the machine code of each is kept under."""
    return {name: fingerprint(kernel) for name, kernel in all_kernels().items()}
