"""Read a model file for conversion, without ever unpickling code."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eventsim.conversion.checkpoints import weights_in
from eventsim.conversion.from_nir import from_nir
from eventsim.conversion.from_onnx import from_onnx
from eventsim.errors import ConversionError


def read_model(
    path: str | os.PathLike[str],
    architecture: str | None = None,
    input_shape: Sequence[int] | None = None,
    *,
    output: int | str | None = None,
    dt: float | None = None,
) -> Any:
    """What :func:`eventsim.convert` takes, from a file.

    Parameters
    ----------
    path : path-like
        ``.onnx``: a (Q)ONNX file; ``.nir``: a NIR file.
        ``.pt``, ``.pth``, ``.ckpt`` or ``.safetensors``: a state dict for ``architecture``, by
        itself or in a checkpoint beside other things, also with the names that torch.compile and DataParallel give (``.pth.tar`` too).
    architecture : str, optional
        ``FILE.py:FUNCTION``: Python code of the user's that makes the module which the state dict belongs to. It is run.
    input_shape : sequence of int, optional
        Where an ONNX file leaves it open.
    output : int or str, optional
        Of an ONNX file with several outputs: which one is the answer, by its place or name.
    dt : float, optional
        Length of a step of a NIR file's neurons, as :func:`~eventsim.conversion.from_nir.from_nir` takes it.

    Raises
    ------
    ConversionError
        A file of another kind, unreadable, or with other weights than the module has.
    """
    path = Path(path)
    if not path.is_file():
        raise ConversionError(f"{path}: {'is a folder or a device, expected a file' if path.exists() else 'no such file'}")
    _refuse_unread(path, architecture, input_shape, output, dt)
    if path.suffix == ".onnx":
        return from_onnx(path, input_shape, output=output)
    if path.suffix == ".nir":
        return from_nir(path, dt=dt)
    # (Many scripts call a checkpoint .pth.tar.)
    suffix = Path(path.stem).suffix if path.suffix == ".tar" else path.suffix
    if suffix not in (".pt", ".pth", ".ckpt", ".safetensors"):
        raise ConversionError(f"{path}: expected .onnx or .nir, or a state dict in .pt, .pth, .ckpt or .safetensors")
    if architecture is None:
        raise ConversionError(
            f"{path}: a state dict holds weights alone; name what makes its module (--architecture FILE.py:FUNCTION; in Python: the module)"
        )
    model = _build(architecture)
    content = _state(path)
    try:
        model.load_state_dict(weights_in(content, set(model.state_dict())))
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from None
    except (RuntimeError, AttributeError, TypeError) as error:
        first = str(error).strip().splitlines()
        raise ConversionError(
            f"{path}: does not fit the module of {architecture}: {' '.join(line.strip() for line in first[:3])}"
        ) from None
    return model


def _refuse_unread(
    path: Path, architecture: str | None, input_shape: Sequence[int] | None, output: int | str | None, dt: float | None
) -> None:
    """Refuse what a file of this kind would not be read by."""
    if architecture is not None and path.suffix in (".onnx", ".nir"):
        raise ConversionError(f"{path}: holds its architecture; --architecture is for state dicts")
    if dt is not None and path.suffix != ".nir":
        raise ConversionError(f"{path}: has no length of a step; --nir-dt is for NIR files")
    if (input_shape is not None or output is not None) and path.suffix == ".nir":
        raise ConversionError(f"{path}: a NIR file says its input's shape and its output; leave out --input-shape and --answer")


def _state(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        return torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise ConversionError(f"{path}: needs the package {error.name}; install it with pip") from None
    except Exception as error:  # whatever a damaged or hostile file provokes
        raise ConversionError(
            f"{path}: not a file of weights alone ({_found(error)}); write one: torch.save(module.state_dict(), ...)"
        ) from None


def _found(error: Exception) -> str:
    """What a file holds instead of weights. (PyTorch goes on to advise on how to run its code.)"""
    text = str(error)
    if held := re.search(r"Unsupported global: GLOBAL (\S+)", text):
        return f"it holds a {held[1]}, as a whole module does"
    return "damaged, or of another kind" if text.startswith("Weights only load failed") else first_line(error)


def first_line(error: Exception) -> str:
    """What an error of another package says first, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def _build(architecture: str) -> Any:
    file, _, function = architecture.rpartition(":")
    if not file or not function.isidentifier():
        raise ConversionError(f"{architecture!r}: expected FILE.py:FUNCTION")
    location = Path(file)
    if not location.is_file():
        raise ConversionError(f"{file}: no such file")
    # (A name of its own: a file may be called as a module that Python, or another package, has loaded.)
    spec = importlib.util.spec_from_file_location(f"architecture of {location.stem}", location)
    if spec is None or spec.loader is None:
        raise ConversionError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Its imports of files beside it work as if it were run as a script.
    sys.path.insert(0, str(location.resolve().parent))
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        make = getattr(module, function, None)
        if not callable(make):
            raise ConversionError(f"{file}: has no function {function!r}")
        return make()
    except ConversionError:
        raise
    except Exception as error:  # the user's code
        raise ConversionError(f"{architecture}: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove(str(location.resolve().parent))
