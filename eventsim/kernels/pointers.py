"""Named tuples handed from one compiled function to another by a pointer.

Numba hands over a tuple part by part: one of fifty arrays as four hundred numbers, which every call packs and every function unpacks. To
compile that takes most of the time in which a program of many small functions is compiled, though little is left of it in the machine
code. What is handed over by a pointer is one number; a field is read where it is used.

Beside :mod:`eventsim.kernels.vector` this is where LLVM is written by hand: places within tuples, what is read there, and what is written.
"""

from __future__ import annotations

import functools
import hashlib
from contextlib import suppress
from typing import Any, ClassVar

from llvmlite import ir
from numba import TypingError, config, types
from numba.extending import intrinsic, lower_getattr_generic, models, register_model

from eventsim.kernels.compiled import attributes


class Pointer(types.Type):
    """The type of a pointer to a named tuple, whose fields do not change. They are read by their names, and no more."""

    # What :mod:`eventsim.kernels.fingerprint` cannot see in a kernel that has the type: functions that numba calls for it.
    built_by: ClassVar[list[Any]] = []

    def __init__(self, pointee: Any):
        self.pointee = pointee
        # The name of a tuple is made of those of all of its fields.
        digest = hashlib.blake2b(str(pointee).encode(), digest_size=8).hexdigest()
        super().__init__(f"Pointer({pointee.instance_class.__qualname__} {digest})")


@functools.cache
def _pointer(pointee: Any) -> Pointer:
    # Numba asks for the type of a field whenever it is read.
    return Pointer(pointee)


@register_model(Pointer)
class _PointerModel(models.PrimitiveModel):
    def __init__(self, manager: Any, pointer: Pointer):
        super().__init__(manager, pointer, manager[pointer.pointee].get_value_type().as_pointer())


@attributes(Pointer)
def _typed(pointer: Any, name: str) -> Any:
    if name not in pointer.pointee.fields:
        return None
    field = pointer.pointee.types[pointer.pointee.fields.index(name)]
    return _pointer(field) if isinstance(field, types.BaseNamedTuple) else field


def _mark_not_kept(argument: Any) -> None:
    """Say to LLVM that a pointer is kept nowhere: in the words of its new versions, else in those of old ones."""
    for words in ("captures(none)", "nocapture"):
        with suppress(ValueError):
            argument.add_attribute(words)
            return


def _part(builder: Any, place: Any, number: int) -> Any:
    """The place of a part of what lies at a place."""
    return builder.gep(place, [ir.IntType(32)(0), ir.IntType(32)(number)], inbounds=True)


def _parts(kind: Any) -> int:
    """How many parts a value of an LLVM type has, 0 if it is one number."""
    return len(kind) if isinstance(kind, (ir.BaseStructType, ir.ArrayType)) else 0


def _read(builder: Any, place: Any) -> Any:
    """What lies at a place. It is read number by number: those that are not used are not read."""
    kind = place.type.pointee
    if not _parts(kind):
        return builder.load(place)
    value = ir.Constant(kind, ir.Undefined)
    for number in range(_parts(kind)):
        value = builder.insert_value(value, _read(builder, _part(builder, place, number)), number)
    return value


def _write(builder: Any, value: Any, place: Any) -> None:
    if not _parts(value.type):
        builder.store(value, place)
    for number in range(_parts(value.type)):
        _write(builder, builder.extract_value(value, number), _part(builder, place, number))


@lower_getattr_generic(Pointer)
def _field(context: Any, builder: Any, pointer: Any, value: Any, name: str) -> Any:
    # What is written to arrays leaves the tuple as it is, so LLVM need not read it again.
    for argument in builder.function.args:
        if argument.type == value.type:
            argument.add_attribute("noalias")
            _mark_not_kept(argument)
    number = pointer.pointee.fields.index(name)
    place = _part(builder, value, number)
    return place if isinstance(pointer.pointee.types[number], types.BaseNamedTuple) else _read(builder, place)


Pointer.built_by += [_PointerModel.__init__, _typed, _part, _parts, _read, _write, _mark_not_kept, _field]


@intrinsic
def pointer_to(typing_context, named_tuple):  # type: ignore[no-untyped-def]
    """A pointer to a named tuple, for functions that the calling one calls: it lies there until that returns."""
    if isinstance(named_tuple, Pointer):
        return named_tuple(named_tuple), lambda context, builder, signature, arguments: arguments[0]
    if not isinstance(named_tuple, types.BaseNamedTuple):
        raise TypingError(f"a named tuple is needed, not {named_tuple}")

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        with builder.goto_entry_block():
            place = builder.alloca(arguments[0].type)
        _write(builder, arguments[0], place)
        return place

    return _pointer(named_tuple)(named_tuple), build


if config.DISABLE_JIT:  # type: ignore[attr-defined]
    # Then it is the tuple itself.
    globals()["pointer_to"] = lambda named_tuple: named_tuple
