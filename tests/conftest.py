"""Options of the tests."""

from __future__ import annotations

import os
import sys

import pytest
from llvmlite.binding import get_host_cpu_features

# The processors that kernels are compiled for, as LLVM names them, and a feature that this machine has to have to run such code.
PROCESSORS = {"generic": ("generic", None), "avx2": ("x86-64-v3", "avx2"), "avx512": ("x86-64-v4", "avx512bw"), "native": (None, None)}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--processor``, and tell numba at once: it asks when it is imported, as the next conftest.py may do.

    What it is told is in the environment, so that the processes that a test starts, pytest-xdist's too, are told the same.
    """
    parser.addoption("--processor", choices=PROCESSORS, help="run the tests of compiled code alone, compiled for this processor")
    chosen = parser.parse_known_args(sys.argv[1:]).processor
    name, needed = PROCESSORS[chosen or "native"]
    if needed is not None and not get_host_cpu_features()[needed]:
        raise pytest.UsageError(f"--processor {chosen}: this machine's processor has no {needed}")
    if name is not None:
        assert "numba" not in sys.modules
        os.environ |= {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": ""}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--processor``, leave the tests that are marked as those of compiled code."""
    if config.option.processor is None:
        return
    others = [item for item in items if item.get_closest_marker("kernels") is None]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item.get_closest_marker("kernels") is not None]


@pytest.fixture
def processor(request: pytest.FixtureRequest) -> str | None:
    """LLVM's name of the processor that ``--processor`` asks for, None for this machine's."""
    return PROCESSORS[request.config.option.processor or "native"][0]
