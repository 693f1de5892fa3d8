"""Machine code on the disk: found again where nothing has changed, and never trusted."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pytest

import eventsim
from eventsim.kernels import compiled, store

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="needs the compiler")


FACTOR = 3


def times(x):
    return FACTOR * x


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of machine code, and a process that has not said anything yet."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiled, "said_before", set())
    store.place.cache_clear()
    compiled.prune_once.cache_clear()
    yield tmp_path / "cache" / "eventsim"
    store.place.cache_clear()


def start(value: int = 7) -> str:
    """Call the function as a new process would: whether its code came from the "disk" or was "compiled"."""
    function = compiled.compiled(times)
    assert function(value) == FACTOR * value
    (hits,), (misses,) = function.stats.cache_hits.values() or [0], function.stats.cache_misses.values() or [0]
    assert hits + misses == 1
    return "disk" if hits else "compiled"


def warnings_of(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "eventsim" and record.levelno == logging.WARNING]


@pytest.mark.parametrize("moment", ["write", "read"])
def test_ctrl_c_waits_for_a_moment_that_can_bear_it(folder, monkeypatch, moment):
    """After the function, or before it is compiled: within, LLVM makes another error of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    undisturbed, reached = getattr(store, moment), []

    def pressed(*arguments):
        signal.raise_signal(signal.SIGINT)
        reached.append(moment)
        return undisturbed(*arguments)

    monkeypatch.setattr(store, moment, pressed)
    function = compiled.compiled(times)
    try:
        with pytest.raises(KeyboardInterrupt):
            function(7)
    finally:
        signal.signal(signal.SIGINT, before)
    assert reached == [moment]
    assert len(function.overloads) == (moment == "write")
    monkeypatch.undo()
    assert function(7) == FACTOR * 7


def test_ctrl_c_that_llvm_makes_another_error_of_is_ctrl_c(folder, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def fails(*arguments):
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("no compiled object yet")

    monkeypatch.setattr(store, "write", fails)
    try:
        with pytest.raises(KeyboardInterrupt):
            compiled.compiled(times)(7)
    finally:
        signal.signal(signal.SIGINT, before)


def test_compiled_once_and_said_once(folder, caplog):
    assert start() == "compiled"
    assert [start(), start()] == ["disk", "disk"]
    assert compiled.compiled(lambda x: x + 2)(1) == 3
    assert warnings_of(caplog) == ["compiling, which the first run does once (up to a minute) ..."]
    # What a later process needs beyond that is no first run's.
    caplog.clear()
    compiled.said_before.clear()
    assert compiled.compiled(lambda x: x + 3)(1) == 4
    assert warnings_of(caplog) == ["compiling code that was not needed before (up to a minute) ..."]
    assert all(path.name.startswith("test_compiled.") and path.suffix == ".machine" for path in folder.iterdir())
    assert folder.stat().st_mode & 0o777 == 0o700


def test_nothing_is_said_of_code_from_the_disk(folder, caplog):
    start()
    compiled.said_before.clear()
    caplog.clear()
    assert start() == "disk"
    assert not caplog.records


def test_workers_do_not_say_what_their_parent_says(folder, caplog, monkeypatch):
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "somebody")
    caplog.set_level(logging.INFO, "eventsim")
    assert start() == "compiled"
    assert warnings_of(caplog) == []
    assert [record.levelno for record in caplog.records if record.name == "eventsim"] == [logging.INFO]


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def flip(path: Path, place: int) -> None:
    whole = bytearray(path.read_bytes())
    whole[place] ^= 1
    path.write_bytes(whole)


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "file").touch()


def put_other_code(path: Path) -> None:
    """A whole file of another function's code, under this one's name."""
    other = compiled.compiled(lambda x: -x)
    before = set(path.parent.iterdir())
    assert other(1) == -1
    (made,) = set(path.parent.iterdir()) - before
    made.replace(path)


def put_wrong_pickle(path: Path) -> None:
    path.unlink()
    store.write(path.parent, path.stem, b"no pickle")


@pytest.mark.parametrize(
    "damage",
    [
        *(pytest.param(lambda path, size=size: cut(path, size), id=f"cut to {size}") for size in (0, 1, 30, 56, 1000, -1)),
        *(pytest.param(lambda path, place=place: flip(path, place), id=f"flip {place}") for place in (0, 30, 56, 60, 5000, -1)),
        pytest.param(lambda path: path.write_bytes(path.read_bytes() + b"x"), id="longer"),
        put_folder,
        put_other_code,
        put_wrong_pickle,
    ],
)
def test_damaged_files_are_replaced(folder, caplog, damage):
    start()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    damage(path)
    assert not path.is_file() or path.read_bytes() != whole
    caplog.clear()
    compiled.said_before.clear()
    assert [start(), start()] == ["compiled", "disk"]
    assert warnings_of(caplog) == [f"compiling again what was damaged in {folder} (up to a minute) ..."]


def test_a_file_in_place_of_the_folder(folder, caplog):
    folder.parent.write_text("")
    assert [start(), start()] == ["compiled", "compiled"]
    (said,) = warnings_of(caplog)
    assert said == f"compiling (up to a minute), and at the next start again: {folder} cannot be made (File exists)"


def test_no_home(folder, caplog, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(store.platformdirs, "user_cache_path", lambda *_, **__: Path("~/.cache/eventsim"))
    assert start() == "compiled"
    assert warnings_of(caplog)[0].endswith("no home folder is known")
    assert not Path("~").exists()


def test_in_the_users_cache_folder_unless_told_otherwise(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(store.platformdirs, "user_cache_path", lambda name, **_: tmp_path / "home" / name)
    assert [start(), start()] == ["compiled", "disk"]
    assert len(list((tmp_path / "home" / "eventsim" / "compiled").iterdir())) == 1


def test_a_full_or_read_only_disk(folder, caplog, monkeypatch):
    def fail(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.tempfile, "mkstemp", fail)
    assert [start(), start()] == ["compiled", "compiled"]
    assert warnings_of(caplog)[1:] == [f"compiled code cannot be kept in {folder} (No space left on device): the next start compiles again"]


def test_a_write_that_fails_leaves_nothing(folder, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store.os, "replace", fail)
    assert start() == "compiled"
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs owners of files")
@pytest.mark.parametrize("of", ["folder", "file"])
def test_what_belongs_to_somebody_else_is_not_unpickled(folder, caplog, monkeypatch, of):
    start()
    (path,) = folder.iterdir()
    stranger = folder if of == "folder" else path
    if os.geteuid():
        owner = os.stat(stranger).st_uid
        trusted = store.is_trusted
        monkeypatch.setattr(store.os, "geteuid", lambda: owner + 1)
        if of == "file":
            monkeypatch.setattr(store, "is_trusted", lambda found: os.path.stat.S_ISDIR(found.st_mode) or trusted(found))
    else:
        os.chown(stranger, 4711, -1)
    store.place.cache_clear()
    compiled.said_before.clear()
    caplog.clear()
    assert start() == "compiled"
    (said,) = warnings_of(caplog)
    assert f"others may write in {folder}" in said or f"damaged in {folder}" in said


@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
def test_a_folder_that_others_may_write_in_is_not_used(folder, caplog):
    start()
    folder.chmod(0o770)
    store.place.cache_clear()
    compiled.said_before.clear()
    caplog.clear()
    assert start() == "compiled"
    assert warnings_of(caplog)[0].endswith(f"others may write in {folder}")


def test_what_is_not_used_is_removed(folder, monkeypatch):
    folder.mkdir(parents=True)
    now = time.time()
    ages = {"old.machine": 40, "new.machine": 1, "tmpa.scratch": 1, "tmpb.scratch": 0}
    for name, days in ages.items():
        (folder / name).write_bytes(b"x" * 100)
        os.utime(folder / name, (now - days * 86400,) * 2)
    store.prune(folder)
    assert {path.name for path in folder.iterdir()} == {"new.machine", "tmpb.scratch"}
    for age in range(5):
        (folder / f"{age}.machine").write_bytes(b"x" * 100)
        os.utime(folder / f"{age}.machine", (now - 60 * age,) * 2)
    monkeypatch.setattr(store, "KEPT_BYTES", 450)  # and 100 of the temporary file
    store.prune(folder)
    assert {path.name for path in folder.iterdir()} == {"tmpb.scratch", "0.machine", "1.machine", "2.machine"}


def test_what_is_used_stays(folder):
    start()
    (path,) = folder.iterdir()
    os.utime(path, (time.time() - 40 * 86400,) * 2)
    assert start() == "disk"
    store.prune(folder)
    assert path.exists()


def test_processes_that_start_together(tmp_path):
    (tmp_path / "both.py").write_text(
        "from eventsim.kernels.compiled import compiled\n"
        "@compiled\ndef twice(x):\n    return 2 * x\n"
        "@compiled\ndef most(x):\n    return twice(x) + 1\n"
    )
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": f"{tmp_path}:{Path(eventsim.__file__).parents[1]}",
    }
    command = [sys.executable, "-c", "import both; assert [both.most(x) for x in (3, 4.5)] == [7, 10]"]
    for _ in range(2):
        running = [subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        said = [process.communicate(timeout=300)[1] for process in running]
        assert [process.returncode for process in running] == [0, 0], said
    assert said == ["", ""]
    assert {path.suffix for path in (tmp_path / "cache" / "eventsim").iterdir()} == {".machine"}


def test_kept_code_is_loaded_without_the_compiler(tmp_path):
    """A start takes half a second less where numba imports nothing of what it compiles with."""
    (tmp_path / "twice.py").write_text("from eventsim.kernels.compiled import compiled\n@compiled\ndef twice(x):\n    return 2 * x\n")
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": f"{tmp_path}:{Path(eventsim.__file__).parents[1]}",
    }
    source = "import sys, twice; assert twice.twice(4) == 8; print('scipy.linalg' in sys.modules, 'numba.np.linalg' in sys.modules)"
    command = [sys.executable, "-c", source]
    said = [subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert said[0].split()[1] == "True"
    assert said[1].split() == ["False", "False"]


def test_a_part_of_other_functions(folder):
    """It is not kept, and refuses a call from Python, also once it is compiled: there is no entry point to jump to."""
    twice = compiled.part(lambda x: 2 * x)
    function = compiled.compiled(lambda x: twice(x) + 1)
    for _ in range(2):
        with pytest.raises(TypeError, match="is called by compiled code only"):
            twice(3)
        assert function(3) == 7
    assert len(list(folder.iterdir())) == 1
    assert compiled.compiled(lambda x: twice(x) - 1)(3) == 5


def test_arguments_of_other_types_have_code_of_their_own(folder):
    function = compiled.compiled(lambda x: x[0])
    array, frozen = np.arange(3), np.arange(3)
    frozen.flags.writeable = False
    for value in (array, array + 1.5, (1, 2), frozen, array[::2], array.astype(np.int8)):
        function(value)
    assert len(list(folder.iterdir())) == len(function.signatures) == 6
