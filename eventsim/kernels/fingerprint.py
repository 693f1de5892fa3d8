"""A digest of all that the machine code of a compiled function follows from.

Numba compiles a function as its globals are at that moment: constants become part of the code, and so does what it calls. So the digest
covers the function's bytecode, the values of the globals that it names, and, in turn, the functions among them; likewise the Python
functions that build LLVM instructions. It holds the names of modules, by which kept code finds what it needs, but no paths and no line
numbers. Of other packages it holds names: their versions are added by whoever uses the digest.
"""

from __future__ import annotations

import builtins
import enum
import hashlib
import sys
from collections.abc import Iterable
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba import types
from numba.extending import is_jitted

# Packages of which names are enough.
_BY_NAME = {"numba", "llvmlite", "numpy", "builtins"} | sys.stdlib_module_names


def fingerprint(*values: Any) -> str:
    """Digest of compiled functions, types of arguments and plain values, as 40 hexadecimal digits.

    Raises
    ------
    TypeError
        They depend on something that this module does not know how to look into.
    """
    walk = _Walk()
    for value in values:
        walk.add(value)
    return walk.hexdigest()


class _Walk:
    """Describes values one after another; what a value refers to is numbered in the order of its appearance, and described later."""

    def __init__(self) -> None:
        self._found: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._digest = hashlib.blake2b(digest_size=20)

    def add(self, value: Any) -> None:
        self._digest.update(self._text(value).encode())

    def hexdigest(self) -> str:
        for value in self._found:  # which grows meanwhile
            self._digest.update(self._inside(value).encode())
        return self._digest.hexdigest()

    def _text(self, value: Any) -> str:
        """A value, or the number of what will be described later: functions may call each other."""
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)) or value is ...:
            return f"{type(value).__name__} {value!r}\n"
        if isinstance(value, (tuple, list)):
            return f"{type(value).__name__} of {len(value)}\n{self._texts(value)}"
        if isinstance(value, (set, frozenset)):
            return f"set of {len(value)}\n{''.join(sorted(map(self._text, value)))}"
        if isinstance(value, np.ndarray):
            return f"array {value.dtype!r} {value.shape} {value.strides} {value.tobytes().hex()}\n"
        if isinstance(value, types.BaseTuple):
            kind = [type(value), getattr(value, "instance_class", None)]
            return self._texts([*kind, *value])  # type: ignore[misc]
        if isinstance(value, types.Dispatcher):
            return self._text(value.dispatcher)
        if isinstance(value, (type, ModuleType, FunctionType, BuiltinFunctionType)) and _package(value) in _BY_NAME:
            return f"{_module(value)} {getattr(value, '__qualname__', '')}\n"
        if isinstance(value, types.Type) and _is_own(type(value)):
            return f"{value.name} {self._text(type(value))}"
        if _is_own(value):
            if id(value) not in self._numbers:
                self._numbers[id(value)] = len(self._found)
                self._found.append(value)
            return f"see {self._numbers[id(value)]}\n"
        text = repr(value)
        if _package(type(value)) not in _BY_NAME or " at 0x" in text:
            raise TypeError(f"no digest of compiled code that uses {text}: what it consists of is not known")
        return f"{type(value).__qualname__} {text}\n"

    def _texts(self, values: Iterable[Any]) -> str:
        return "".join(map(self._text, values))

    def _inside(self, value: Any) -> str:
        """What a function or class of the kernels' own consists of."""
        if is_jitted(value):
            return "compiled " + repr(sorted(value.targetoptions.items())) + self._text(value.py_func)
        if isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "_fields"):
            return f"named tuple {value.__module__}.{value.__qualname__} {value._fields}\n"
        if isinstance(value, type) and issubclass(value, enum.Enum):
            return f"enum {_module(value)}.{value.__qualname__}\n" + self._texts([(member.name, member.value) for member in value])
        if isinstance(value, type):
            return f"type {_module(value)}.{value.__qualname__}\n" + self._texts(value.built_by)  # type: ignore[attr-defined]
        function = getattr(value, "__wrapped__", value)  # what builds LLVM instructions is wrapped by numba
        closure = [cell.cell_contents for cell in function.__closure__ or ()]
        inside = [_module(function), function.__qualname__, function.__defaults__, sorted((function.__kwdefaults__ or {}).items()), closure]
        codes = list(_codes(function.__code__))
        for code in codes:
            numbers = code.co_flags, code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount
            names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
            constants = [None if isinstance(c, CodeType) or c is function.__doc__ else c for c in code.co_consts]
            inside += [code.co_code, code.co_exceptiontable, numbers, names, constants]
        inside += self._globals(function.__globals__, dict.fromkeys(name for code in codes for name in code.co_names))
        return f"function\n{self._texts(inside)}"

    def _globals(self, known: dict[str, Any], names: Iterable[str]) -> list[Any]:
        """What names in a function stand for. Which ones are globals and which are attributes, the names do not say."""
        found: list[Any] = []
        for name in names:
            if name in known:
                value = known[name]
                if isinstance(value, ModuleType) and _package(value) not in _BY_NAME:
                    found += [name, self._globals(vars(value), [n for n in names if n != name])]
                else:
                    found += [name, value]
            elif hasattr(builtins, name):
                found += [name, "builtin"]
        return found


def _codes(code: CodeType) -> Iterable[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _module(value: Any) -> str:
    return str(value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None))


def _package(value: Any) -> str:
    return _module(value).partition(".")[0]


def _is_own(value: Any) -> bool:
    """Whether it is a function of the kernels' own, compiled or not, or a class that compiled code can use."""
    if isinstance(value, type):
        return issubclass(value, enum.Enum) or (issubclass(value, tuple) and hasattr(value, "_fields")) or hasattr(value, "built_by")
    return is_jitted(value) or isinstance(getattr(value, "__wrapped__", value), FunctionType)
