"""Calling compiled code without asking each time which types its arguments have."""

from __future__ import annotations

from typing import Any

from eventsim.kernels.compiled import entry


class Calls:
    """Runs kernels on arguments whose types depend on nothing but ``kind``; what they are is asked at the first call."""

    def __init__(self) -> None:
        self._code: dict[tuple[Any, str], Any] = {}

    def __call__(self, kernel: Any, kind: str, *arguments: Any) -> Any:
        try:
            code = self._code[kernel, kind]
        except KeyError:
            code = self._code[kernel, kind] = entry(kernel, arguments)
        return code(*arguments)
