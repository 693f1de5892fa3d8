"""Read a PyTorch module by running it: what it computes is recorded, operator by operator, and becomes the graph.

So it is the module as it is called that is read: with its hooks, parametrisations, functions of its own and operations in place, and with
weights computed in any way (binarised, normalised), of which the values count. Nothing of it may depend on the images but the numbers
themselves: a second run, on other and more images, must compute the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from eventsim.conversion.graph import Graph
from eventsim.conversion.judging import Run, Values
from eventsim.errors import ConversionError

if TYPE_CHECKING:
    import torch

    from eventsim.conversion.pytorch.recording import Recording

# Images that a module is read on: two, so that what mixes them is seen.
_IMAGES = 2
# Of a graphics card's convolutions (TF32).
_CARD_PRECISION = 2.0**-11


def from_torch(model: Any, input_shape: Sequence[int], output: int | str | None = None) -> Graph:
    """Describe a module as a graph.

    Parameters
    ----------
    model : torch.nn.Module
        Taken in evaluation mode; it is not changed.
    input_shape : sequence of int
        (channels, height, width), (channels, length) or (features,), without a batch.
    output : int or str, optional
        Which of several outputs: its place in a tuple or its key in a dictionary.

    Returns
    -------
    Graph
        With the module as its source.

    Raises
    ------
    ConversionError
        PyTorch is not installed, the module does not run on images of this shape, or an operator has no counterpart; the message names it.
    """
    try:
        import torch
    except ImportError:
        raise ConversionError("PyTorch is not installed; install it with: pip install 'eventsim[train]'") from None
    if not isinstance(model, torch.nn.Module):
        raise ConversionError(
            f"expected a torch.nn.Module, a NIR graph, or the path of an ONNX or NIR file, found a {type(model).__name__}"
        )
    shape = tuple(int(n) for n in input_shape)
    if len(shape) not in (1, 2, 3) or min(shape) < 1:
        raise ConversionError(f"the input must be (channels, height, width), (channels, length) or (features,), found {shape}")
    reader = _Reader(model, shape, output)
    values = np.random.default_rng(0).random((_IMAGES, *shape))
    recording, head, _ = reader.record(values, watch=False)
    graph = recording.graph
    described = _described(graph)

    def source(values: Values) -> Run:
        again, _, answer = reader.record(values, watch=True)
        if _described(again.graph) != described:
            raise ConversionError("the module computes something else for other images, for more of them at a time, or each time it runs")
        return Run(answer, again.seen, head, reader.precision)

    graph.source = source
    return graph


def _described(graph: Graph) -> list[Any]:
    return [(node.name, type(node.operator), node.inputs, node.shape) for node in graph.nodes]


class _Reader:
    """Runs a module and records what it does."""

    def __init__(self, model: Any, shape: tuple[int, ...], output: int | str | None):
        import torch

        # (What torch.compile and DataParallel wrap is the module itself.)
        while hasattr(model, "_orig_mod"):
            model = model._orig_mod
        self.model, self.shape, self.output = model, shape, output
        tensors = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
        self.dtype = tensors[0].dtype if tensors else torch.get_default_dtype()
        self.device = tensors[0].device if tensors else torch.device("cpu")
        self.precision = max(float(torch.finfo(self.dtype).eps), 0.0 if self.device.type == "cpu" else _CARD_PRECISION)

    def record(self, values: Values, watch: bool) -> tuple[Recording, Callable[[Values], Values], Values]:
        """A run on input values (images, ...): its recording, what it does to the graph's output, and what it answers."""
        import torch

        from eventsim.conversion.pytorch.operators import operate
        from eventsim.conversion.pytorch.recording import Recorder, Recording, array, begin

        recording = Recording(len(values), watch)
        tensor = torch.from_numpy(np.ascontiguousarray(values).reshape(len(values), *self.shape)).to(self.device, self.dtype)
        begin(recording, self.shape, tensor)
        with _evaluating(self.model), torch.no_grad():
            try:
                with Recorder(recording, self.model, operate).recording_modules():
                    returned = self.model(tensor)
            except ConversionError:
                raise
            except Exception as error:  # whatever the user's code raises
                shape = (len(values), *self.shape)
                text = " ".join(str(error).split())[:300]
                raise ConversionError(
                    f"the module does not run on images {shape}, {self.dtype}: {type(error).__name__}: {text} "
                    "(it must take one tensor, with any number of images)"
                ) from None
        answer = self._chosen(returned)
        head = self._finish(recording, answer)
        return recording, head, array(answer)

    def _chosen(self, returned: Any) -> torch.Tensor:
        """The tensor that is the answer."""
        import torch

        if isinstance(returned, torch.Tensor):
            if self.output is not None:
                raise ConversionError(f"output={self.output!r}, but the module returns one tensor")
            return returned
        entries = dict(returned) if isinstance(returned, dict) else dict(enumerate(returned)) if isinstance(returned, (tuple, list)) else {}
        tensors = {key: entry for key, entry in entries.items() if isinstance(entry, torch.Tensor)}
        wanted = next(iter(tensors)) if len(tensors) == 1 and self.output is None else self.output
        if not tensors or wanted not in tensors:
            found = ", ".join(f"{key!r}: {tuple(tensor.shape)}" for key, tensor in tensors.items()) or type(returned).__name__
            raise ConversionError(f"the module returns {len(tensors)} outputs ({found}); say which one is the answer: output= (--answer)")
        return tensors[wanted]

    def _finish(self, recording: Recording, answer: torch.Tensor) -> Callable[[Values], Values]:
        """Make what is returned the graph's output; what only the end of a network may have is left out."""
        import torch

        from eventsim.conversion.pytorch.recording import Hidden, array

        value = recording.read(answer)
        if value is None:
            raise ConversionError("what the module returns does not depend on its input, or not through PyTorch's operators (NumPy?)")
        heads: list[tuple[Callable[[torch.Tensor], torch.Tensor], tuple[int, ...]]] = []
        while isinstance(owner := recording.owner(value), Hidden) and owner.inner is not None:
            heads.insert(0, (owner.head, owner.inner.shape))
            recording.graph.remarks.append(owner.remark)
            value = owner.inner
        made = recording.ordered(value, "the output")
        recording.graph.output = made.number
        shape = tuple(answer.shape[1:])

        def head(values: Values) -> Values:
            tensor = torch.from_numpy(values)
            for function, inner in heads:
                tensor = function(tensor.reshape(len(values), *inner[1:]))
            return array(tensor).reshape(len(values), *shape)

        return head


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """The module in evaluation mode; afterwards each part is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
