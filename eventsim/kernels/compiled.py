"""Compiling functions with numba, and keeping the machine code on disk: the one place that knows numba's private parts.

Numba's own disk cache lies inside the package that it compiles (so it outlives an uninstallation, and shadows an editable
installation), does not see that an imported module has changed, and hands damaged files to pickle and LLVM. Here machine code lies in
the user's cache folder, a file for each function and types of arguments (:mod:`eventsim.kernels.store`), and the file's name holds a
digest of all that the code follows from: the function, what it calls, the constants that they use
(:mod:`eventsim.kernels.fingerprint`), numba, the processor. So installations and checkouts share what is equal in them, and a change
anywhere compiles anew what depends on it, and nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import config, njit, typeof, types
from numba.core.caching import NullCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompileResult, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.dispatcher import Dispatcher
from numba.core.event import install_timer, trigger_event
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature
from numba.core.typed_passes import NativeLowering
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr

from eventsim.kernels import store
from eventsim.kernels.fingerprint import fingerprint
from eventsim.kernels.interrupt import DeferredInterrupt, check_all

# Switches of numba's that change the code, by environment variables of these names (after NUMBA_).
_SWITCHES = ("OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "USE_LLVM_LEGACY_PASS_MANAGER")

_log = logging.getLogger("eventsim")


def kernel(*, kept: bool = True, literals: bool = True, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles a function when it is first called with arguments of new types, or takes its code from the disk.

    Parameters
    ----------
    kept
        Whether its code is kept on the disk.
    literals
        Whether it is compiled anew for each number that is written out where compiled code calls it, and so knows that one (of lanes).
    **options
        Of ``numba.njit``. The function may not allocate: reference counting of arrays is switched off, since it took two thirds of a
        run.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        made = njit(_nrt=False, **options)(function)  # type: ignore[call-overload]
        if isinstance(made, Dispatcher):  # it is the function itself if the compiler is switched off
            _defer_interrupts(made)
            if kept:
                made._cache = _Cache(made)  # type: ignore[attr-defined]
            if options.get("no_cpython_wrapper"):
                _close_to_python(made)
            if not literals:
                _for_any_number(made)
        return made

    return decorate


def _defer_interrupts(function: Dispatcher) -> None:
    """Have Ctrl-C wait until the function is compiled, or the next one that it calls is about to be (:meth:`_Cache.load_overload`)."""
    undisturbed = function.compile

    def compile_(sig: Any) -> Any:
        with DeferredInterrupt():
            try:
                return undisturbed(sig)
            except RuntimeError:
                # What a second Ctrl-C, which strikes at once, has become if LLVM was calling back.
                check_all()
                raise

    function.compile = compile_  # type: ignore[method-assign]


def _close_to_python(function: Dispatcher) -> None:
    """Refuse calls from Python: there is no entry point for them, and numba would jump to it nevertheless."""

    def add_overload(result: Any) -> None:
        function.overloads[tuple(result.signature.args)] = result

    def refuse(*args: Any, **keywords: Any) -> None:
        raise TypeError(f"{function.py_func.__name__} is called by compiled code only")

    function.add_overload = add_overload  # type: ignore[assignment,method-assign]
    function._compile_for_args = refuse  # type: ignore[attr-defined]


def _for_any_number(function: Dispatcher) -> None:
    """Have calls by compiled code pass numbers of a type, also where they are written out."""
    template = function.get_call_template

    def get_call_template(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        return template(tuple(map(types.unliteral, args)), {name: types.unliteral(value) for name, value in kws.items()})

    function.get_call_template = get_call_template  # type: ignore[assignment,method-assign]


class _CallersLibrary(JITCodeLibrary):
    """The code of a function that compiled code alone calls: its callers optimize it, with all that they call, to machine code."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _LoweringForCallers(NativeLowering):
    """Makes no machine code, which would be optimized and thrown away."""

    _name = "lowering_for_callers"

    def run_pass(self, state: Any) -> bool:
        state.library = _CallersLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        changed: bool = super().run_pass(state)
        # Numba finds what a function is called as by its entry point, which may be anything.
        entry_point = object()
        state["cr"] = state["cr"]._replace(cfunc=entry_point)
        state.targetctx.insert_user_function(entry_point, state["cr"].fndesc, [state.library])
        return changed


@register_pass(mutates_CFG=True, analysis_only=False)
class _LoweringApart(_LoweringForCallers):
    """Of a function that LLVM may not put into its callers."""

    _name = "lowering_apart"

    def run_pass(self, state: Any) -> bool:
        # (Flags come from the caller that is compiled.)
        state.flags.forceinline = False
        changed = super().run_pass(state)
        function = state.library._final_module.get_function(state["cr"].fndesc.llvm_func_name)
        function.add_function_attribute("noinline")
        return changed


class _CompilerForCallers(Compiler):
    """Numba's way from Python to LLVM, with another end."""

    lowering = _LoweringForCallers

    def define_pipelines(self) -> list[Any]:
        pipeline = PassManager("for callers")
        for step, description in DefaultPassBuilder.define_nopython_pipeline(self.state).passes:
            pipeline.add_pass(self.lowering if step is NativeLowering else step, description)
        pipeline.finalize()
        return [pipeline]


class _CompilerApart(_CompilerForCallers):
    lowering = _LoweringApart


# Other threads run while compiled code does.
compiled = kernel(nogil=True)
# Called by compiled code alone: no way to call it from elsewhere is compiled, and it is kept with its callers.
_for_callers = functools.partial(
    kernel, kept=False, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, pipeline_class=_CompilerForCallers
)
inner = _for_callers()
# Such a function that stays one: its loops have all registers, which those of its callers would not leave them.
apart = _for_callers(pipeline_class=_CompilerApart)
# And a part of its callers, into which LLVM puts it: nothing is handed over. It is still looked at (its types, its code) on its own, once.
part = _for_callers(forceinline=True)
# The same for numbers of a type, whether they are written out or not: what is called with another constant everywhere is compiled once.
# LLVM sees the constants. Whether the first one is put into its callers is left to LLVM, also where they are put into theirs.
typed_inner, typed_part = _for_callers(literals=False, forceinline=False), _for_callers(literals=False, forceinline=True)
# Inlined into its caller: to hand 80 array headers to a function may take longer than what it does.
inlined = kernel(nogil=True, inline="always")

# For what takes microseconds: giving the other threads a chance would take longer.
brief = kernel()


def entry(function: Any, arguments: tuple[Any, ...]) -> Any:
    """What runs a compiled function on arguments of these types, without asking again what types they have.

    Numba asks at every call, and takes 15 us for the fifty arrays of a population: longer than a small one takes to run. The caller
    has to see to it that the types (and layouts) are always those of ``arguments``.
    """
    if not isinstance(function, Dispatcher):
        return function  # the compiler is switched off
    return function.compile(tuple(map(typeof, arguments)))


def attributes(of: type[types.Type]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator of a function that says, of a type of this class and a name, what type that attribute has, None if there is none."""

    def register(resolve: Callable[..., Any]) -> Callable[..., Any]:
        @infer_getattr
        class Attributes(AttributeTemplate):
            key = of

            def generic_resolve(self, value: Any, name: str) -> Any:  # type: ignore[override]
                return resolve(value, name)

        return resolve

    return register


def is_kept(function: Any) -> bool:
    """Whether the machine code of a compiled function is kept on the disk."""
    return isinstance(getattr(function, "_cache", None), _Cache)


def processor_has(target_context: Any, feature: str) -> bool:
    """Whether code is made for a processor with this feature, as LLVM names it ("avx512f"). For builders of instructions."""
    return f"+{feature}" in target_context.codegen().magic_tuple()[2].split(",")


@contextlib.contextmanager
def compilation_time() -> Iterator[Callable[[], float]]:
    """Measure what compiling, and loading from the disk, takes within the ``with`` block: what is yielded tells the seconds so far."""
    with install_timer("numba:compile", lambda _: None) as timer:
        yield lambda: timer.duration if timer.done else 0.0


class _Cache(NullCache):
    """Of one function: what numba asks for machine code before it compiles, and gives it afterwards. It holds a lock meanwhile."""

    def __init__(self, dispatcher: Dispatcher):
        self._dispatcher = dispatcher

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The result of an earlier compilation for these types of arguments, or None."""
        # Numba's own cache refreshes the context first: it imports all that numba can compile (and SciPy's linear algebra), half a second.
        # Code that is loaded needs none of it, and a compilation does so itself.
        place, damaged = store.place(), False
        if place.folder is not None:
            name = self._name(sig, target_context)
            try:
                payload = store.read(place.folder, name)
                if payload is not None:
                    # For compilation_time.
                    with trigger_event("numba:compile"):
                        return CompileResult._rebuild(target_context, *pickle.loads(payload))
            except Exception:
                # Whatever it is: compiling it again is right.
                store.remove(place.folder, name)
                damaged = True
        _announce(place, damaged)
        check_all()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the result of a compilation, where that is possible."""
        folder = store.place().folder
        if folder is None or data.lifted or data.library.has_dynamic_globals:
            return
        try:
            store.write(folder, self._name(sig, data.target_context), dumps(data._reduce()))
        except OSError as error:
            _say("keeping", f"compiled code cannot be kept in {folder} ({error.strerror or error}): the next start compiles again")
        else:
            prune_once(folder)

    def _name(self, sig: Any, target_context: Any) -> str:
        function = self._dispatcher.py_func
        digest = fingerprint(_stamp(target_context), normalize_signature(sig), self._dispatcher)
        return f"{function.__module__.rpartition('.')[2]}.{function.__name__}-{digest}"


def _stamp(target_context: Any) -> tuple[Any, ...]:
    """What machine code follows from beside the functions: the programs that compile it, and what for."""
    versions = sys.implementation.cache_tag, numba.__version__, llvmlite.__version__, np.__version__
    return versions, target_context.codegen().magic_tuple(), tuple(getattr(config, name, None) for name in _SWITCHES)


said_before: set[str] = set()


def _announce(place: store.Place, damaged: bool) -> None:
    """Say, once in a process, that it compiles now: that takes a while."""
    if place.folder is None:
        _say("compiling", f"compiling (up to a minute), and at the next start again: {place.reason}")
    elif damaged:
        _say("compiling", f"compiling again what was damaged in {place.folder} (up to a minute) ...")
    elif any(place.folder.iterdir()):
        _say("compiling", "compiling code that was not needed before (up to a minute) ...")
    else:
        _say("compiling", "compiling, which the first run does once (up to a minute) ...")


def _say(subject: str, message: str) -> None:
    if subject in said_before:
        return
    said_before.add(subject)
    # For a worker process, its parent has said it. Without any settings, Python prints warnings to standard error.
    _log.log(logging.WARNING if multiprocessing.parent_process() is None else logging.INFO, message)


@functools.cache
def prune_once(folder: Path) -> None:
    store.prune(folder)
