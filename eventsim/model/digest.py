"""A network's fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from eventsim.model.network import Network
from eventsim.model.values import UNLESS_DEFAULT


def network_digest(network: Network) -> str:
    """SHA-256 (hex) over everything that a run depends on: equal networks have equal digests, in any process.

    Labels and provenance are left out.
    """
    digest = hashlib.sha256()
    parts: dict[str, Any] = {
        "populations": network.populations,
        "projections": network.projections,
        "input": network.input,
        "output": network.output,
    }
    _feed(digest, parts)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        # Integers by value, not by the width they happen to be stored in.
        wide = value.astype(np.int32, copy=False) if value.dtype.kind in "iu" and value.dtype.itemsize < 4 else value
        digest.update(f"array {wide.dtype.str} {wide.shape}\n".encode())
        digest.update(np.ascontiguousarray(wide).data)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        digest.update(f"{type(value).__name__}\n".encode())
        for field in dataclasses.fields(value):
            if field.metadata == UNLESS_DEFAULT and getattr(value, field.name) == field.default:
                continue
            digest.update(f"{field.name}\n".encode())
            _feed(digest, getattr(value, field.name))
    elif isinstance(value, dict):
        digest.update(f"dict {len(value)}\n".encode())
        for key, item in value.items():
            digest.update(f"{json.dumps(key)}\n".encode())
            _feed(digest, item)
    elif isinstance(value, (list, tuple)):
        digest.update(f"list {len(value)}\n".encode())
        for item in value:
            _feed(digest, item)
    else:
        digest.update(f"{json.dumps(value)}\n".encode())
