"""Record what a PyTorch module computes, while it runs.

The module runs as it is called, hooks and all, on real tensors, below everything that PyTorch's Python says (a ``TorchDispatchMode``): what
arrives here are PyTorch's own operators with arguments bound to their schemas, however they were written. Every number of every tensor
carries a *token* that says which number of which node of the graph it is; -1 is a constant. Tokens lie beside the memory of a tensor
(its storage), so views, slices, and whatever changes a tensor in place under several names need no rule: all of them read the same memory.
Operators that only move numbers are done to the tokens; those that compute become nodes (:mod:`eventsim.conversion.pytorch.operators`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import TorchDispatchMode

from eventsim.conversion.graph import Array, Concatenate, Flatten, Graph, Input, Scale
from eventsim.conversion.judging import Seen
from eventsim.conversion.places import Places, take
from eventsim.errors import ConversionError


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor that depends on the network's input.

    Attributes
    ----------
    tokens : float64 tensor
        In the tensor's shape: which number of which node each of its numbers is (:class:`Recording`); -1 for a constant.
    real : tensor
        The numbers that it has.
    """

    tokens: torch.Tensor
    real: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor, with the batch."""
        return tuple(self.tokens.shape)


@dataclass(frozen=True, eq=False)
class Hidden:
    """What stands behind tokens that nothing may compute with: an activation that has a counterpart at the very end only.

    Attributes
    ----------
    reason : str
        Why not.
    inner : Value or None
        What it was made of.
    head : callable
        Makes it of numbers like those of ``inner``.
    remark : str
        That it has been left out.
    """

    reason: str
    inner: Value | None = None
    head: Callable[[torch.Tensor], torch.Tensor] = lambda values: values
    remark: str = ""


@dataclass(frozen=True, eq=False)
class Made:
    """A node that an operator has become, and where its numbers stand in the tensor.

    Attributes
    ----------
    number : int
    places : int64 array
        In the tensor's shape: positions in the node's value, (batch, *shape) flattened.
    """

    number: int
    places: Places


class Recording:
    """A graph in the making, and whose numbers tensors hold.

    Attributes
    ----------
    graph : Graph
    batch : int
        Images that the module runs on.
    seen : list of Seen
        Values of the nodes, if ``watch``.
    """

    def __init__(self, batch: int, watch: bool):
        self.graph = Graph()
        self.batch = batch
        self.watch = watch
        self.seen: list[Seen] = []
        self.starts: list[int] = [0]
        self.owners: list[int | Hidden] = []
        self.start_of: dict[int, int] = {}
        self.taken: dict[tuple[Any, ...], int] = {}
        self.noted: set[int] = set()
        # Of nodes that say whether a value is above (True) or below a number: its tokens, and the number.
        self.comparisons: dict[int, tuple[torch.Tensor, float, bool]] = {}
        # By the address of a tensor's memory, which is kept: tokens, the size of a number there, and the memory.
        self.memory: dict[int, tuple[torch.Tensor, int, Any]] = {}

    # Tokens

    def owned(self, owner: int | Hidden, size: int) -> int:
        """The first of ``size`` tokens for the numbers of a node (or of what is hidden)."""
        if isinstance(owner, int) and owner in self.start_of:
            return self.start_of[owner]
        start = self.starts[-1]
        self.starts.append(start + size)
        self.owners.append(owner)
        if isinstance(owner, int):
            self.start_of[owner] = start
        return start

    def tokens(self, made: Made | Hidden, shape: Sequence[int]) -> torch.Tensor:
        """Those of a tensor of this shape that was made."""
        if isinstance(made, Hidden):
            size = math.prod(shape)
            return torch.arange(size, dtype=torch.float64).reshape(tuple(shape)) + self.owned(made, size)
        start = self.owned(made.number, self.batch * math.prod(self.graph.shape(made.number)))
        return torch.from_numpy(made.places.astype(np.float64)).reshape(tuple(shape)) + start

    def read(self, tensor: torch.Tensor) -> Value | None:
        """A tensor as a value, or None where nothing of it depends on the input."""
        if tensor.layout != torch.strided or not tensor.numel():
            return None
        known = self.memory.get(tensor.untyped_storage().data_ptr())
        if known is None:
            return None
        tokens, size, _ = known
        if size != tensor.element_size():
            raise ConversionError("the bytes of a tensor are taken for numbers of another type; this has no spiking counterpart")
        view = tokens.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).clone()
        return Value(view, tensor) if bool((view >= 0).any()) else None

    def write(self, tensor: torch.Tensor, tokens: torch.Tensor) -> None:
        """Say whose numbers a tensor holds from now on, under all its names."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.memory:
            numbers = torch.full((storage.nbytes() // tensor.element_size(),), -1.0, dtype=torch.float64)
            self.memory[storage.data_ptr()] = numbers, tensor.element_size(), storage
        numbers, _, _ = self.memory[storage.data_ptr()]
        numbers.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).copy_(tokens)

    def note(self, made: Made, tensor: torch.Tensor, name: str) -> None:
        """Keep the value of a node."""
        if not self.watch or made.number in self.noted:
            return
        self.noted.add(made.number)
        shape = self.graph.shape(made.number)
        if made.places.size == self.batch * math.prod(shape):
            values = np.empty(made.places.size)
            values[made.places.reshape(-1)] = array(tensor).reshape(-1)
            precision = torch.finfo(tensor.dtype).eps if tensor.is_floating_point() else 0.0
            self.seen.append(Seen(made.number, name, values.reshape(self.batch, *shape), precision))

    # From values to nodes

    def owner(self, value: Value) -> int | Hidden | None:
        """What a value is all of and nothing else, in its order."""
        tokens = value.tokens.reshape(-1)
        at = int(np.searchsorted(self.starts, float(tokens[0]), "right")) - 1
        if at < 0 or len(tokens) != self.starts[at + 1] - self.starts[at]:
            return None
        return self.owners[at] if torch.equal(tokens, torch.arange(len(tokens), dtype=torch.float64) + self.starts[at]) else None

    def whole(self, value: Value) -> Made | None:
        """The node that a value is, in any order; None if it is a part of one, or has more in it."""
        tokens = value.tokens.numpy().astype(np.int64)
        at = np.searchsorted(self.starts, tokens.reshape(-1)[:1], "right")[0] - 1
        owner = self.owners[at] if at >= 0 else None
        if not isinstance(owner, int) or tokens.size != self.starts[at + 1] - self.starts[at]:
            return None
        places = tokens - self.starts[at]
        if places.min() < 0 or places.max() >= places.size or np.bincount(places.reshape(-1), minlength=places.size).max() > 1:
            return None
        return Made(owner, places)

    def node(self, value: Value, name: str) -> Made:
        """The node of a value, in any order; one is made for what is none yet."""
        whole = self.whole(value)
        return whole if whole is not None else self.ordered(value, name)

    def ordered(self, value: Value, name: str) -> Made:
        """The node of a value whose first axis is the batch, in its order.

        (batch, features), (batch, channels, height, width), and (batch, channels, length), which is (channels, 1, length); anything else
        is flattened.
        """
        shape = value.shape[1:]
        shape = shape if len(shape) in (1, 3) else (shape[0], 1, shape[1]) if len(shape) == 2 else (math.prod(shape),)
        places, numbers = self._places(value, name)
        made = Made(self._take(places.reshape(shape), numbers, name), np.arange(value.tokens.numel()).reshape(value.shape))
        constant = places < 0
        if constant.any():
            # Zeros there, and what is added to them.
            values = np.where(constant, array(value.real[0]).reshape(places.shape), 0.0)
            if np.any(values != 0):
                shift = reduced(values.reshape(shape))
                made = Made(self.graph.add(Scale(np.ones(()), shift), (made.number,), name), made.places)
        self.note(made, value.real, name)
        return made

    def _places(self, value: Value, name: str) -> tuple[Places, list[int]]:
        """For the first image: where in these nodes, one after the other, its numbers stand (-1: constants)."""
        tokens = value.tokens.numpy().astype(np.int64)
        if not tokens.ndim or tokens.shape[0] != self.batch:
            raise ConversionError(f"{name}: mixes the images of a batch, or moves them to another axis than the first: {value.shape}")
        owners = np.searchsorted(self.starts, tokens, "right") - 1
        numbers: list[int] = []
        places = np.full(tokens.shape[1:], -1, np.int64)
        offset = 0
        images = np.arange(self.batch).reshape(-1, *(1,) * (tokens.ndim - 1))
        for at in dict.fromkeys(owners[0].reshape(-1).tolist()):
            owner = self.owners[at] if at >= 0 else None
            mask = owners[0] == at
            if isinstance(owner, Hidden):
                raise ConversionError(f"{name}: {owner.reason}")
            size = 0 if owner is None else math.prod(self.graph.shape(owner))
            if not np.all(np.where(mask, (owners == at) & ((tokens == tokens[0] + images * size) if owner is not None else True), True)):
                raise ConversionError(f"{name}: mixes the images of a batch")
            if owner is None:
                constants = array(value.real)[:, mask]
                if np.any(constants != constants[:1]):
                    raise ConversionError(f"{name}: a constant that differs between the images of a batch")
                continue
            numbers.append(owner)
            places[mask] = tokens[0][mask] - self.starts[at] + offset
            offset += size
        if places.size and places.max() >= 0 and any(p >= s for p, s in [(int(places.max()), offset)]):
            raise ConversionError(f"{name}: mixes the images of a batch")
        return places, numbers

    def _take(self, places: Places, numbers: list[int], name: str) -> int:
        """The node with these numbers of others."""
        key = (tuple(numbers), places.shape, places.tobytes())
        if key in self.taken:
            return self.taken[key]
        (number, *others) = numbers
        if others:
            number = self._joined(numbers, name)
        self.taken[key] = take(self.graph, number, places, name)
        return self.taken[key]

    def _joined(self, numbers: list[int], name: str) -> int:
        shapes = [self.graph.shape(number) for number in numbers]
        if len({shape[1:] for shape in shapes}) > 1:
            numbers = [n if len(s) == 1 else self.graph.add(Flatten(), (n,), name) for n, s in zip(numbers, shapes, strict=True)]
        key = ("joined", *numbers)
        if key not in self.taken:
            self.taken[key] = self.graph.add(Concatenate(), numbers, name)
        return self.taken[key]

    def constant(self, made: Made, values: Any, shape: Sequence[int], name: str) -> Array:
        """A constant that meets a value of this shape, as the node has its numbers: one number, one per channel, or one each."""
        if not isinstance(values, torch.Tensor):
            return np.asarray(values, np.float64)
        if values.numel() == 1:
            return array(values).reshape(())
        spread = np.broadcast_to(array(values), tuple(shape)).reshape(-1)
        node = self.graph.shape(made.number)
        ordered = np.empty(spread.size)
        ordered[made.places.reshape(-1)] = spread
        ordered = ordered.reshape(self.batch, *node)
        if np.any(ordered != ordered[:1]):
            raise ConversionError(f"{name}: a constant that differs between the images of a batch")
        return reduced(ordered[0])


def reduced(values: Array) -> Array:
    """One number, or one per channel, where that says the same."""
    if np.all(values == values.flat[0]):
        return values.reshape(-1)[0].reshape(())
    if values.ndim == 3 and np.all(values == values[:, :1, :1]):
        return values[:, 0, 0].copy()
    return values


def array(tensor: torch.Tensor) -> Array:
    """As NumPy has it, in float64."""
    return tensor.detach().cpu().to(torch.float64).numpy()


class Recorder(TorchDispatchMode):
    """Makes a recording of what runs within it."""

    def __init__(self, recording: Recording, model: torch.nn.Module, operate: Callable[[Recording, Any, dict[str, Any], str], Any]):
        super().__init__()
        self.recording = recording
        self.operate = operate
        self.paths = {module: path for path, module in model.named_modules()}
        self.stack: list[torch.nn.Module] = []
        self.counts: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        schema = func._schema
        given = dict(zip([a.name for a in schema.arguments], args, strict=False)) | (kwargs or {})
        name = self._name(schema.name)
        arguments = {key: self._value(argument, name) for key, argument in given.items()}
        outputs: list[torch.Tensor | None] | None = None
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise ConversionError(
                f"{name}: draws random numbers, in evaluation mode too (F.dropout needs training=self.training), which a spiking network "
                "does not"
            )
        if any(_depends(argument) for argument in arguments.values()):
            self._count(schema.name)
            if not _is_view(func):
                outputs = self.operate(self.recording, func, arguments, name)
        result = func(*args, **(kwargs or {}))
        if outputs is not None:
            self._write(outputs, result, name)
        return result

    def _write(self, outputs: list[Any], result: Any, name: str) -> None:
        """Say what the results of an operator hold."""
        tensors = [result] if isinstance(result, torch.Tensor) else [t for t in result if isinstance(t, torch.Tensor)]
        for made, tensor in zip(outputs, tensors, strict=False):
            if made is None or not tensor.numel():
                continue
            if isinstance(made, torch.Tensor):
                self.recording.write(tensor, made)
                continue
            self.recording.write(tensor, self.recording.tokens(made, tensor.shape))
            if isinstance(made, Made):
                self.recording.note(made, tensor, name)

    def _value(self, argument: Any, name: str) -> Any:
        if isinstance(argument, torch.Tensor):
            try:
                value = self.recording.read(argument)
            except ConversionError as error:
                raise ConversionError(f"{name}: {error}") from None
            return argument if value is None else value
        if isinstance(argument, (list, tuple)):
            return [self._value(a, name) for a in argument]
        return argument

    def _name(self, operator: str) -> str:
        """What computes, for messages: PyTorch's own module, or an operator in another one."""
        operator = operator.removeprefix("aten::").strip("_")
        path = self.paths.get(self.stack[-1], "") if self.stack else ""
        if self.stack and path and _is_own(type(self.stack[-1])):
            return f"{path} ({type(self.stack[-1]).__name__.removeprefix('Parametrized')})"
        key = f"{path}.{operator}".lstrip(".")
        count = self.counts.get(key, 0)
        return f"{key}_{count} ({operator})" if count else f"{key} ({operator})"

    def _count(self, operator: str) -> None:
        operator = operator.removeprefix("aten::").strip("_")
        path = self.paths.get(self.stack[-1], "") if self.stack else ""
        key = f"{path}.{operator}".lstrip(".")
        self.counts[key] = self.counts.get(key, 0) + 1

    @contextmanager
    def recording_modules(self) -> Iterator[None]:
        """While it lasts, modules say when they run."""
        with ExitStack() as stack:
            before = torch_module.register_module_forward_pre_hook(lambda module, inputs: self.stack.append(module))
            stack.callback(before.remove)
            behind = torch_module.register_module_forward_hook(lambda module, inputs, output: self._left(module))
            stack.callback(behind.remove)
            stack.enter_context(self)
            yield

    def _left(self, module: torch.nn.Module) -> None:
        while self.stack and self.stack.pop() is not module:
            pass


def _depends(argument: Any) -> bool:
    return isinstance(argument, Value) or (isinstance(argument, list) and any(map(_depends, argument)))


def _is_view(function: Any) -> bool:
    """Whether an operator gives another name to memory, or another shape to a name of it, and does nothing else."""
    schema = function._schema
    if torch.Tag.inplace_view in function.tags:
        return schema.name not in ("aten::resize_", "aten::set_")
    return any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)


def _is_own(kind: type) -> bool:
    """Whether a module is one of PyTorch's, or made by its parametrisation of one."""
    return kind.__module__.startswith("torch.nn.modules") or kind.__name__.startswith("Parametrized")


def begin(recording: Recording, shape: tuple[int, ...], tensor: torch.Tensor, name: str = "input") -> None:
    """Make a tensor the network's input: of this shape without a batch."""
    inner = shape if len(shape) != 2 else (shape[0], 1, shape[1])
    number = recording.graph.add(Input(inner), name=name)
    recording.write(tensor, recording.tokens(Made(number, np.arange(tensor.numel())), tensor.shape))
