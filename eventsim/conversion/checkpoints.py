"""Find a module's weights in what a training script has saved: beside other things, and under the names that wrappers give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from eventsim.errors import ConversionError

# What wrappers put into names: torch.compile, and DataParallel.
_WRAPPERS = ("_orig_mod", "module")
# Under which of them the weights are, where a checkpoint holds several such dictionaries (averaged ones, say).
_USUAL = ("state_dict", "model_state_dict", "model", "net", "network")
# Counted in training only; old files have none.
_UNIMPORTANT = "num_batches_tracked"


def weights_in(content: Any, wanted: Set[str]) -> Any:
    """The state dict among what a checkpoint holds, with the names that the module has.

    Parameters
    ----------
    content : Any
        As it was loaded: a state dict, or a dictionary that has one in it.
    wanted : set of str
        The names of the module's own state dict.

    Returns
    -------
    Any
        The state dict; the content itself if there is none to be found.

    Raises
    ------
    ConversionError
        Several state dicts, or several parts of one, would do.
    """
    found = dict(_state_dicts(content, ()))
    if not found:
        return content
    fitting = {keys: state for keys, state in ((k, _renamed(s, wanted)) for k, s in found.items()) if _same(state, wanted)} or found
    chosen = [keys for keys in fitting if len(fitting) == 1] or [(name,) for name in _USUAL if (name,) in fitting][:1]
    if not chosen:
        names = ", ".join(".".join(keys) for keys in fitting)
        raise ConversionError(f"holds several state dicts ({names}); save the one that counts by itself")
    return _renamed(fitting[chosen[0]], wanted)


def _state_dicts(content: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Dictionaries of arrays within dictionaries, and the keys that lead to each."""
    if not isinstance(content, Mapping) or len(keys) > 2 or not all(isinstance(key, str) for key in content):
        return
    inner = [found for key, value in content.items() for found in _state_dicts(value, (*keys, key))]
    # (Beside a state dict, a single number is none: the best accuracy so far.)
    if any(getattr(value, "shape", ()) or (hasattr(value, "shape") and not inner) for value in content.values()):
        yield keys, content
    yield from inner


def _same(state: Mapping[str, Any], wanted: Set[str]) -> bool:
    return {k for k in state if not k.endswith(_UNIMPORTANT)} == {k for k in wanted if not k.endswith(_UNIMPORTANT)}


def _renamed(state: Mapping[str, Any], wanted: Set[str]) -> Mapping[str, Any]:
    """A state dict without what wrappers put into its names, or the part of it that belongs to the module; else as it is."""
    if _same(state, wanted):
        return state
    plain = {".".join(part for part in name.split(".") if part not in _WRAPPERS): value for name, value in state.items()}
    if len(plain) == len(state) and _same(plain, wanted):
        return plain
    parts: dict[str, dict[str, Any]] = {}
    for name, value in plain.items():
        first, _, rest = name.partition(".")
        parts.setdefault(first, {})[rest] = value
    fitting = [first for first, part in parts.items() if _same(part, wanted)]
    if len(fitting) > 1:
        raise ConversionError(f"holds the weights of several such modules ({', '.join(fitting)}); save the one that counts by itself")
    return parts[fitting[0]] if fitting else state
