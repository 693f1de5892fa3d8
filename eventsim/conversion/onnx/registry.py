"""Which function reads which operator; the functions are in :mod:`eventsim.conversion.onnx.operators`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from eventsim.conversion.onnx.call import Call
from eventsim.conversion.onnx.domains import GENERAL, STANDARD

# Takes a call and gives its first output, or a list of all.
Handler = Callable[[Call], Any]
HANDLERS: dict[tuple[str, str], Handler] = {}


def operator(*names: str, domains: Iterable[str] = STANDARD) -> Callable[[Handler], Handler]:
    """Registers a function for operators of these names."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update({(domain, name): handler for domain in domains for name in names})
        return handler

    return register


def qonnx(*names: str) -> Callable[[Handler], Handler]:
    """Registers a function for operators of QONNX."""
    return operator(*names, domains=GENERAL)


def supported() -> str:
    """All names, for messages."""
    return ", ".join(sorted({name for _, name in HANDLERS}))
