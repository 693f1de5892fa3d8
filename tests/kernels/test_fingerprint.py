"""The digest of machine code: what it depends on, and what not."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from judges.kernels import all_kernels, digests
from repository import ROOT

import eventsim
from eventsim.kernels import compiled, vector
from eventsim.kernels.fingerprint import fingerprint

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="needs the compiler")

# A package of kernels.
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
    "vectors": Path(vector.__file__).read_text(encoding="utf-8"),
    "sums": """from made_kernels.vectors import load, store

from eventsim.kernels.compiled import compiled, part

@part
def twice(values):
    return values + values

@compiled
def advance(array, n):
    store(array, n, twice(load(array, n, 8)))
""",
    "fields": """from made_kernels.engine import State
from made_kernels.vectors import pointer_to

from eventsim.kernels.compiled import compiled

@compiled
def advance(state, n):
    return pointer_to(state).first[n]
""",
}


def digest_of(folder: Path, changes: dict[str, tuple[str, str]], kernels: str = "engine") -> str:
    package = folder / "made_kernels"
    package.mkdir(parents=True)
    for name, text in FILES.items():
        old, new = changes.get(name, ("", ""))
        assert old in text
        (package / f"{name}.py").write_text(text.replace(old, new, 1))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(f"made_kernels.{kernels}")
        array = numba.types.Array(numba.types.int64, 1, "C")
        state = array if kernels == "sums" else numba.types.NamedTuple((array, array), module.State)
        return fingerprint((state, numba.types.int64), module.advance)
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


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("sums", "values + values", "values - values"),
        ("sums", "n, 8)", "n, 16)"),
        ("vectors", 'operator.add, _instruction("add")', 'operator.add, _instruction("sub")'),
        ("vectors", "ir.IntType(_bits_of(vector.dtype))", "ir.IntType(2 * _bits_of(vector.dtype))"),
        ("vectors", "args[1], vector.lanes), align=1)", "args[1], vector.lanes), align=8)"),
        ("vectors", "return Vector(types.boolean, x.lanes) if compares else x", "return x"),
    ],
)
def test_a_change_of_the_vector_type_matters(tmp_path, file, old, new):
    """Of an operator too, which a kernel does not name."""
    assert digest_of(tmp_path / "a", {}, "sums") != digest_of(tmp_path / "b", {file: (old, new)}, "sums")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("_I32(number)]", "_I32(number + 1)]"),
        ("return builder.load(place)", "return builder.load(place, align=1)"),
        ("builder.store(value, place)", "builder.store(value, place, align=1)"),
        ('add_attribute("noalias")', 'add_attribute("nonnull")'),
        ("_pointer(field) if isinstance", "Pointer(field) if isinstance"),
        (".get_value_type().as_pointer()", ".get_data_type().as_pointer()"),
    ],
)
def test_a_change_of_pointers_matters(tmp_path, old, new):
    """Also of what reads a field, which a kernel does not name."""
    assert digest_of(tmp_path / "a", {}, "fields") != digest_of(tmp_path / "b", {"vectors": (old, new)}, "fields")


def test_a_change_of_another_operation_of_vectors_does_not_matter(tmp_path):
    change = {"vectors": ("builder.select(less, values, other)", "builder.select(less, other, values)")}
    assert digest_of(tmp_path / "a", {}, "sums") == digest_of(tmp_path / "b", change, "sums")


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


def test_what_says_nothing_about_itself_is_refused():
    thing = object()
    with pytest.raises(TypeError, match="no digest of compiled code that uses <object object"):
        fingerprint(compiled.compiled(lambda: thing))


def test_every_kernel_is_kept_this_way_and_every_start_finds_it():
    """Another process, another seed of hashes, the same names."""
    kernels = all_kernels()
    # But what compiled code alone calls, whose code is its callers'.
    kept = [kernel for kernel in kernels.values() if not kernel.targetoptions.get("no_cpython_wrapper")]
    assert len(kept) > 40
    assert len(kernels) > len(kept) + 30
    assert all(map(compiled.is_kept, kept))
    assert not compiled.is_kept(numba.njit(lambda: 1))
    ask = "from judges import kernels; print(kernels.digests())"
    places = ROOT / "tests", Path(eventsim.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places)), "PYTHONHASHSEED": "4711"}
    done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert eval(done.stdout) == digests()
