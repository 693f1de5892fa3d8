"""Whole files of other people's formats, for tests that read them and damage them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

import eventsim as es


def idx(array: np.ndarray) -> bytes:
    """An IDX file, the format of MNIST."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_nir(path: Path | str) -> None:
    """A small network as NIR; needs nir."""
    from eventsim.conversion import graph as g
    from eventsim.conversion.to_nir import write_nir

    rng = np.random.default_rng(0)
    graph = g.Graph()
    at = graph.add(g.Convolution(rng.normal(size=(4, 3, 3, 3)), None, padding=(1, 1, 1, 1)), (graph.add(g.Input((3, 8, 8))),))
    at = graph.add(g.Flatten(), (graph.add(g.Clip(0.0, np.inf), (at,)),))
    graph.add(g.Linear(rng.normal(size=(5, 256)), None), (at,))
    write_nir(es.convert(graph, rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)), path)
