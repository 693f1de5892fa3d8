"""Operators that move numbers: done to the tokens."""

from __future__ import annotations

from typing import Any

import torch

from eventsim.conversion.pytorch.call import Call
from eventsim.conversion.pytorch.elementwise import casted
from eventsim.conversion.pytorch.recording import Made, Value

# Arguments that are moved; others say how.
_MOVED = {"self", "input", "tensors", "src", "values"}


def move(call: Call) -> list[torch.Tensor]:
    """What the operator does to numbers, done to their tokens.

    One is added to them meanwhile: the zeros that an operator puts in are constants then, as all others.
    """
    if call.arguments.get("accumulate"):
        raise call.error("adds up values where they are put; write the sum out")

    def moved(argument: Any) -> Any:
        if isinstance(argument, Value):
            return argument.tokens + 1
        if isinstance(argument, torch.Tensor):
            return torch.zeros(argument.shape, dtype=torch.float64)
        return [moved(a) for a in argument] if isinstance(argument, list) else argument

    def other(argument: Any) -> Any:
        if isinstance(argument, Value):
            raise call.error("where numbers go depends on the network's input; this has no spiking counterpart")
        if isinstance(argument, torch.Tensor):
            return argument.cpu()
        return [other(a) for a in argument] if isinstance(argument, list) else argument

    arguments = {}
    for argument in call.function._schema.arguments:
        if argument.name in call.arguments and not argument.is_out:
            given = call.ask(argument.name)
            arguments[argument.name] = moved(given) if argument.name in _MOVED else other(given)
    if isinstance(arguments.get("value"), (int, float)):
        arguments["value"] = 0.0  # of a padding
    made = call.function(**arguments)
    return [tokens - 1 for tokens in ([made] if isinstance(made, torch.Tensor) else made)]


def copy(call: Call) -> Made | torch.Tensor:
    """Into another tensor's memory."""
    call.ignore("non_blocking")
    source, target = call.ask("src"), call.ask("self")
    if not isinstance(source, Value):
        return torch.full(tuple(target.shape), -1.0, dtype=torch.float64)
    made = casted(call, source, (target.real if isinstance(target, Value) else target).dtype)
    tokens = made if isinstance(made, torch.Tensor) else call.recording.tokens(made, source.shape)
    return tokens.expand(tuple(target.shape))


def constant(call: Call) -> torch.Tensor:
    """A tensor of which all numbers are replaced by one."""
    call.ask("value")
    value = call.value()
    return torch.full_like(value.tokens, -1.0)


def shape_only(call: Call) -> list[torch.Tensor]:
    """A tensor of constants, whose shape alone is that of a value."""
    call.ignore(*call.arguments)
    return []
