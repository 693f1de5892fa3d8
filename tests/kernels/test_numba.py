"""What kernels/compiled.py takes of numba beside its public interface. Where a new version fails here, that file has to follow."""

from __future__ import annotations

import inspect

import numba
import numpy as np
import pytest
from numba import njit
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target

from eventsim.kernels import compiled

pytestmark = [pytest.mark.kernels, pytest.mark.skipif(numba.config.DISABLE_JIT, reason="needs the compiler")]


@pytest.mark.parametrize(
    "options",
    [
        {"_nrt": False},
        {"forceinline": True},
        {"no_cpython_wrapper": True, "no_cfunc_wrapper": True},
        {"inline": "always"},
    ],
)
def test_options_of_the_compiler(options):
    """An option that is not known is refused when a function is compiled."""
    inner = njit(**options)(lambda x: x + 1)
    assert njit(lambda x: 2 * inner(x))(3) == 8


def test_without_reference_counts_nothing_is_allocated():
    """This is what ``_nrt=False`` buys: a kernel has no counting of references, and cannot make an array."""
    with pytest.raises(Exception, match="NRT required but not enabled"):
        njit(_nrt=False)(lambda n: np.zeros(n))(3)


def test_a_dispatcher_asks_its_cache_and_hands_out_what_runs():
    asked = []

    class Cache(NullCache):
        def load_overload(self, sig, target_context):
            asked.append("load")

        def save_overload(self, sig, data):
            asked.append("save")
            assert isinstance(data, CompileResult)
            rebuilt = CompileResult._rebuild(data.target_context, *data._reduce())
            assert rebuilt.signature == data.signature
            assert not data.library.has_dynamic_globals
            assert not data.lifted

    function = njit(lambda x: x + 1)
    assert isinstance(function, Dispatcher)
    function._cache = Cache()
    assert function.compile((numba.typeof(3),))(3) == 4
    assert asked == ["load", "save"]
    assert list(function.overloads) == [(numba.int64,)]


def test_hooks_of_a_dispatcher():
    """Calls from Python without machine code for them go through one method, results of the compiler through another."""
    assert list(inspect.signature(Dispatcher.add_overload).parameters) == ["self", "cres"]
    function = njit(lambda x: x + 1)
    function._compile_for_args = lambda *args, **keywords: lambda x: "asked"
    assert function(1) == "asked"


def test_what_code_is_made_for():
    triple, processor, features = cpu_target.target_context.codegen().magic_tuple()
    assert triple.count("-") >= 2
    assert processor
    assert all(feature[0] in "+-" for feature in features.split(",") if feature)


def test_the_processor_that_was_asked_for(processor):
    """With ``--processor``: numba has been told in time."""
    assert processor is None or cpu_target.target_context.codegen().magic_tuple()[1] == processor


def test_what_compiled_code_alone_calls_has_no_machine_code():
    """It is made once, in the callers, with all that they call."""
    part, inner = compiled.part(lambda x: 2 * x), compiled.inner(lambda x: x + 1)
    middle = compiled.inner(lambda x: part(inner(x)) + inner(x))
    function = compiled.kernel(kept=False)(lambda x: part(middle(x)) + inner(x))
    assert [function(3), function(4.5)] == [28, 38.5]
    for called in (part, inner, middle):
        assert len(called.overloads) == 2
        for result in called.overloads.values():
            assert result.library.get_pointer_to_function(result.fndesc.llvm_func_name) == 0
    for result in function.overloads.values():
        assert result.library.get_pointer_to_function(result.fndesc.llvm_func_name) != 0


def test_what_stays_apart_is_called():
    """Also where what calls it is put into its own caller, with the flags of which it is compiled."""
    apart = compiled.apart(lambda x: x * x + 3)
    part = compiled.part(lambda x: apart(x) + 1)
    function = compiled.kernel(kept=False)(lambda x: part(x))
    assert function(3) == 13
    (result,), (called,) = function.overloads.values(), apart.overloads.values()
    name = called.fndesc.llvm_func_name
    assert [line for line in result.library.get_llvm_str().splitlines() if " call " in line and name in line]


def test_what_is_for_any_number_is_compiled_once():
    """Numba would compile it anew for each number that is written out, as it does where lanes are counted."""
    once, each = compiled.typed_part(lambda x, y: x + 2 * y), compiled.part(lambda x, y: x + 2 * y)
    function = compiled.kernel(kept=False)(lambda n: once(n, 1) + once(n, y=2) + each(n, 1) + each(n, 2))
    assert function(10) == 40 + 12
    assert list(once.overloads) == [(numba.int64, numba.int64)]
    assert len(each.overloads) == 2


def test_what_is_no_part_may_stay_one():
    """Also where what calls it is put into its own caller, with the flags of which it is compiled."""
    inner = compiled.typed_inner(lambda x: x + 1)
    part = compiled.typed_part(lambda x: inner(x) + 1)
    function = compiled.kernel(kept=False)(lambda x: part(x))
    assert function(3) == 5
    (result,) = inner.overloads.values()
    assert "alwaysinline" not in result.library.get_llvm_str()
