"""A model file as its protocol buffer, with the weights that lie in other files beside it, read without trust."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.errors import ConversionError

# Weights in other files may take this much memory more than those files are large: one file may be named twice.
_SHARED_BYTES = 2**28
_ADVICE = "save the model in one file (torch.onnx.export(..., external_data=False), onnx.save)"


class ModelFile:
    """An ONNX file.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    path : pathlib.Path
    proto : onnx.ModelProto

    Raises
    ------
    ConversionError
        The onnx package is not installed, or the file is not a model.
    """

    def __init__(self, path: str | os.PathLike[str]):
        try:
            import onnx
        except ImportError:
            raise ConversionError("the onnx package is not installed; install it with: pip install 'eventsim[onnx]'") from None
        self.path = Path(path)
        if not self.path.is_file():
            raise ConversionError(f"{self.path}: no such file")
        try:
            # Tensors in other files are read by :meth:`tensor`, which looks where they are.
            self.proto: Any = onnx.load(os.fspath(self.path), load_external_data=False)
        except Exception as error:  # protobuf raises what it likes
            raise ConversionError(f"{self.path}: not a readable ONNX file ({error})") from None
        self.room = _SHARED_BYTES
        self.files: set[Path] = set()

    def tensor(self, tensor: Any) -> npt.NDArray[Any]:
        """The values of a ``TensorProto``.

        Raises
        ------
        ConversionError
            Damaged values, or values in another file that is not one beside the model, or too short.
        """
        from onnx import TensorProto, numpy_helper

        if tensor.data_location == TensorProto.EXTERNAL:
            return self._external(tensor)
        try:
            return np.asarray(numpy_helper.to_array(tensor))
        except Exception as error:
            raise ConversionError(f"{tensor.name}: damaged values ({error})") from None

    def _external(self, tensor: Any) -> npt.NDArray[Any]:
        from onnx.helper import tensor_dtype_to_np_dtype

        entries = {entry.key: entry.value for entry in tensor.external_data}
        file = self._beside(tensor.name, entries.get("location", ""))
        try:
            kind = np.dtype(tensor_dtype_to_np_dtype(tensor.data_type))
            offset = int(entries.get("offset") or 0)
            shape = tuple(int(n) for n in tensor.dims)
            size = math.prod(shape) * kind.itemsize
            length = int(entries.get("length") or size)
            if kind.kind not in "fiub" or min((offset, *shape), default=0) < 0 or length != size:
                raise ValueError(f"{length} bytes for {kind} {shape}")
            self.room -= size
            if self.room < 0:
                raise ValueError("more bytes than the files hold")
            with file.open("rb") as stream:
                stream.seek(offset)
                values = stream.read(size)
            if len(values) != size:
                raise ValueError(f"{file.name} ends before byte {offset + size:,}")
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise ConversionError(f"{tensor.name}: its values in another file cannot be read ({error}); {_ADVICE}") from None
        return np.frombuffer(values, kind.newbyteorder("<")).astype(kind, copy=False).reshape(shape)

    def _beside(self, name: str, location: str) -> Path:
        """A file that lies in the model's folder, itself and not by a link; anything else could be anywhere on the disk."""
        folder = self.path.resolve().parent
        parts = PurePath(location).parts
        file = folder / location
        if not parts or PurePath(location).is_absolute() or ".." in parts or "\0" in location or folder not in file.resolve().parents:
            raise ConversionError(f"{name}: its values are in {location!r:.80}, which is no file beside the model; {_ADVICE}")
        if not file.is_file():
            raise ConversionError(f"{name}: its values are in {location!r:.80}, which is not there; keep it beside the model, or {_ADVICE}")
        if file not in self.files:
            self.files.add(file)
            self.room += file.stat().st_size
        return file
