"""Machine code on the disk: found again where nothing has changed, compiled anew where anything has, and never trusted."""

import importlib
import logging
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import eventsim
from eventsim.kernels import compiled, store
from eventsim.kernels.fingerprint import fingerprint

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="needs the compiler")

FACTOR = 3


def times(x):
    return FACTOR * x


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of machine code, and a process that has not said anything yet."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiled, "_said", set())
    store.place.cache_clear()
    compiled._prune_once.cache_clear()
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


def test_compiled_once_and_said_once(folder, caplog):
    assert start() == "compiled"
    assert [start(), start()] == ["disk", "disk"]
    assert compiled.compiled(lambda x: x + 2)(1) == 3
    assert warnings_of(caplog) == ["compiling code that was not needed before (up to a minute) ..."]
    assert all(path.name.startswith("test_compiled.") and path.suffix == ".machine" for path in folder.iterdir())
    assert folder.stat().st_mode & 0o777 == 0o700


def test_nothing_is_said_of_code_from_the_disk(folder, caplog):
    start()
    compiled._said.clear()
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
    compiled._said.clear()
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
        trusted = store._trusted
        monkeypatch.setattr(store.os, "geteuid", lambda: owner + 1)
        if of == "file":
            monkeypatch.setattr(store, "_trusted", lambda found: os.path.stat.S_ISDIR(found.st_mode) or trusted(found))
    else:
        os.chown(stranger, 4711, -1)
    store.place.cache_clear()
    compiled._said.clear()
    caplog.clear()
    assert start() == "compiled"
    (said,) = warnings_of(caplog)
    assert f"others may write in {folder}" in said or f"damaged in {folder}" in said


@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
def test_a_folder_that_others_may_write_in_is_not_used(folder, caplog):
    start()
    folder.chmod(0o770)
    store.place.cache_clear()
    compiled._said.clear()
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
    monkeypatch.setattr(store, "_KEPT_BYTES", 450)  # and 100 of the temporary file
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


# The digest: what it depends on, and what not. A package of kernels, and changes of it.

FILES = {
    "__init__": "",
    "engine": '''"""An engine."""

from typing import Any, NamedTuple

import numpy as np
from made_kernels import builders, numbers
from made_kernels.helpers import helper
from made_kernels.numbers import LIMIT

from eventsim.kernels.compiled import compiled


class State(NamedTuple):
    first: Any
    second: Any


def unrelated():
    return 1


@compiled
def advance(state, n):
    """Advance."""
    total = helper(n) + LIMIT + numbers.STEP
    for k in range(n):
        total += state.first[k] + builders.loaded(state.second, k)
    return State(total, np.int64(n))
''',
    "helpers": """from eventsim.kernels.compiled import kernel

@kernel(nogil=True)
def inner(n):
    return n + 1

@kernel()
def helper(n):
    return inner(n) if n > 2 else n
""",
    "numbers": "LIMIT, STEP, OTHER = 5, 6, 7\n",
    "builders": """from llvmlite import ir
from numba import types
from numba.extending import intrinsic

WIDTH = ir.IntType(64)

def load(builder, pointer):
    return builder.load(pointer, align=1)

def _loader(offset):
    def generate(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return load(builder, builder.gep(data, [builder.add(args[1], WIDTH(offset))]))

    def typed(typing_context, array, k):
        return types.int64(array, types.intp), generate

    return intrinsic(typed)

loaded = _loader(0)
""",
}


def digest_of(folder: Path, changes: dict[str, tuple[str, str]]) -> str:
    package = folder / "made_kernels"
    package.mkdir(parents=True)
    for name, text in FILES.items():
        old, new = changes.get(name, ("", ""))
        assert old in text
        (package / f"{name}.py").write_text(text.replace(old, new, 1))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        engine = importlib.import_module("made_kernels.engine")
        array = numba.types.Array(numba.types.int64, 1, "C")
        state = numba.types.NamedTuple((array, array), engine.State)
        return fingerprint((state, numba.types.int64), engine.advance)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.startswith("made_kernels")]:
            del sys.modules[name]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("engine", "total += ", "total -= "),
        ("engine", "range(n)", "range(1, n)"),
        ("engine", "np.int64(n)", "np.int32(n)"),
        ("engine", "    first: Any\n    second: Any", "    second: Any\n    first: Any"),
        ("engine", "import compiled\n", "import brief as compiled\n"),
        ("helpers", "n > 2", "n > 3"),
        ("helpers", "n + 1", "n + 2"),
        ("helpers", "nogil=True", "nogil=True, fastmath=True"),
        ("numbers", "5, 6", "8, 6"),
        ("numbers", "5, 6", "5, 8"),
        ("builders", "align=1", "align=8"),
        ("builders", "_loader(0)", "_loader(1)"),
        ("builders", "IntType(64)", "IntType(32)"),
        ("builders", "types.int64(array", "types.int32(array"),
    ],
)
def test_a_change_that_matters(tmp_path, file, old, new):
    assert digest_of(tmp_path / "a", {}) != digest_of(tmp_path / "b", {file: (old, new)})


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("engine", "", ""),  # only the place is another
        ("engine", "@compiled", "# A comment that moves lines.\n@compiled"),
        ("engine", "Advance.", "Advance by some steps."),
        ("engine", "return 1", "return 2"),
        ("numbers", "7", "8"),
        ("helpers", "@kernel()", "def unrelated():\n    pass\n\n@kernel()"),
    ],
)
def test_a_change_that_does_not_matter(tmp_path, file, old, new):
    assert digest_of(tmp_path / "a", {}) == digest_of(tmp_path / "b", {file: (old, new)})


def test_a_function_that_has_moved_to_another_module():
    """What was kept names the modules that it came from, and would not be found."""

    def digest_in(module):
        names = {"__name__": module, "compiled": compiled.compiled}
        exec("@compiled\ndef double(n):\n    return 2 * n\n", names)
        return fingerprint(names["double"])

    assert digest_in("here") == digest_in("here")
    assert digest_in("here") != digest_in("there")


def test_functions_that_call_each_other():
    source = (
        "@compiled\ndef even(n):\n    return True if n == 0 else odd(n - {})\n@compiled\ndef odd(n):\n    return n != 0 and even(n - 1)\n"
    )
    digests = []
    for step in (1, 1, 3):
        names = {"compiled": compiled.compiled, "__name__": "made"}
        exec(source.format(step), names)
        digests.append(fingerprint(names["odd"]))
    assert digests[0] == digests[1] != digests[2]


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


def test_what_says_nothing_about_itself_is_refused():
    thing = object()
    with pytest.raises(TypeError, match="no digest of compiled code that uses <object object"):
        fingerprint(compiled.compiled(lambda: thing))


def all_kernels() -> dict[str, Dispatcher]:
    found = {}
    for path in sorted(Path(eventsim.__file__).parent.rglob("*.py")):
        if path.name != "__main__.py":
            module = importlib.import_module(
                ".".join(("eventsim", *path.relative_to(Path(eventsim.__file__).parent).with_suffix("").parts))
            )
            found |= {f"{module.__name__}.{name}": value for name, value in vars(module).items() if isinstance(value, Dispatcher)}
    return found


def test_every_kernel_is_kept_this_way_and_every_start_finds_it():
    """Another process, another seed of hashes, the same names."""
    kernels = all_kernels()
    assert len(kernels) > 60
    assert all(type(kernel._cache) is compiled._Cache for kernel in kernels.values())
    ask = "import test_compiled as t; print({name: t.fingerprint(kernel) for name, kernel in t.all_kernels().items()})"
    places = Path(__file__).parent, Path(eventsim.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places)), "PYTHONHASHSEED": "4711"}
    done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert eval(done.stdout) == {name: fingerprint(kernel) for name, kernel in kernels.items()}


def test_arguments_of_other_types_have_code_of_their_own(folder):
    function = compiled.compiled(lambda x: x[0])
    array, frozen = np.arange(3), np.arange(3)
    frozen.flags.writeable = False
    for value in (array, array + 1.5, (1, 2), frozen, array[::2], array.astype(np.int8)):
        function(value)
    assert len(list(folder.iterdir())) == len(function.signatures) == 6
