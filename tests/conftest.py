"""Options of the tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from llvmlite.binding import get_host_cpu_features

# The processors that kernels are compiled for, as LLVM names them, and a feature that this machine has to have to run such code.
PROCESSORS = {"generic": ("generic", None), "avx2": ("x86-64-v3", "avx2"), "avx512": ("x86-64-v4", "avx512bw"), "native": (None, None)}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--processor``, and tell numba at once: it asks when it is imported, as the next conftest.py may do.

    What it is told is in the environment, so that the processes that a test starts, pytest-xdist's too, are told the same.
    """
    parser.addoption("--processor", choices=PROCESSORS, help="run the tests of compiled code alone, compiled for this processor")
    parser.addoption("--note-skipped", metavar="FILE", help="write to this file which tests were skipped, and files of such")
    parser.addoption("--noted", metavar="FILE", help="run those tests alone that are noted in this file")
    chosen = parser.parse_known_args(sys.argv[1:]).processor
    name, needed = PROCESSORS[chosen or "native"]
    if needed is not None and not get_host_cpu_features()[needed]:
        raise pytest.UsageError(f"--processor {chosen}: this machine's processor has no {needed}")
    if name is not None:
        assert "numba" not in sys.modules
        os.environ |= {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": ""}


def pytest_configure(config: pytest.Config) -> None:
    """Have what is skipped noted, by the process that hears of all tests."""
    if config.option.note_skipped is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Skipped(Path(config.option.note_skipped)))


class _Skipped:
    """Notes which tests are skipped, for ``--noted`` where there is what they need: by their ids, or files as a whole."""

    def __init__(self, path: Path):
        self._path = path
        self._found: set[str] = set()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._found.add(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self._found.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._path.write_text("".join(f"{name}\n" for name in sorted(self._found)), encoding="utf-8")


def _noted(config: pytest.Config) -> set[str]:
    return set(Path(config.option.noted).read_text(encoding="utf-8").splitlines())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files without a test that is wanted: to import them all takes as long as a good part of their tests."""
    if collection_path.suffix != ".py":
        return None
    if config.option.processor is not None and "mark.kernels" not in collection_path.read_text(encoding="utf-8"):
        return True
    if config.option.noted is not None:
        name = collection_path.relative_to(config.rootpath).as_posix()
        return True if name not in {test.partition("::")[0] for test in _noted(config)} else None
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--processor``, leave the tests that are marked as those of compiled code; with ``--noted``, those that are noted."""
    kept = items[:]
    if config.option.processor is not None:
        kept = [item for item in kept if item.get_closest_marker("kernels") is not None]
    if config.option.noted is not None:
        noted = _noted(config)
        kept = [item for item in kept if item.nodeid in noted or item.nodeid.partition("::")[0] in noted]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


@pytest.fixture
def processor(request: pytest.FixtureRequest) -> str | None:
    """LLVM's name of the processor that ``--processor`` asks for, None for this machine's."""
    return PROCESSORS[request.config.option.processor or "native"][0]
