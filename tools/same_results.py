"""Compare what two checkouts compute: every spike, count, readout and decision of the shipped networks, bit for bit.

    python tools/same_results.py ../another/checkout              # 10 images, 1, 1000 and 2^20 ticks a step: some minutes
    python tools/same_results.py ../another/checkout --images 2 --engine queue

Each checkout runs in a process of its own, through the public interface alone. Networks that take digits are given those in
datasets/samples, the others random images (the same for both). Exit code 1 if anything differs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
RESOLUTIONS = (1, 1000, 2**20)
# What one run gives: the name of a result -> its digest, or the value itself.
Results = dict[str, Any]


def images_for(shape: tuple[int, ...], number: int) -> Iterator[np.ndarray]:
    """Images of a shape: the shipped digits where they fit."""
    digits = sorted((ROOT / "datasets" / "samples").glob("*.png"))
    rng = np.random.default_rng(1)
    for path in digits[:number] if shape == (28, 28, 1) else [None] * number:
        yield rng.integers(0, 256, shape, dtype=np.uint8) if path is None else np.asarray(Image.open(path))[..., None]


def results_of(run: Any) -> Results:
    """Everything that a result of ``eventsim`` holds but how long it took and which engine made it."""
    found: Results = {"decision": run.decision, "label": run.label, "decision latency": run.decision_latency, "duration": run.duration}
    for name in run.recorded:
        for column, values in zip(("ticks", "neurons", "signs"), run.spikes(name), strict=True):
            found[f"spikes of {name}: {column}"] = _digest(values)
    for name in run.potentials_recorded:
        found[f"potentials of {name}"] = _digest(run.potentials(name))
    for name, value in vars(run.counts).items():
        if isinstance(value, dict):
            found |= {f"counts: {name} of {key}": _digest(array) for key, array in value.items()}
        elif name != "engine":
            found[f"counts: {name}"] = _digest(value) if isinstance(value, np.ndarray) else value
    return found


def _digest(array: np.ndarray) -> str:
    array = np.ascontiguousarray(array)
    return f"{array.dtype.str} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"


def results(images: int, engine: str) -> dict[str, list[Results]]:
    """By network and resolution, the results of every image, computed by the ``eventsim`` that is imported here."""
    import eventsim as es

    found = {}
    for path in sorted((ROOT / "networks").glob("*.h5")):
        try:
            simulator = es.Simulator(es.load(path))
        except es.NetworkFileError as error:
            # An older checkout may not know all kinds of populations and tables.
            click.echo(f"left out: {error}", err=True)
            continue
        assert simulator.network.input is not None
        for resolution in RESOLUTIONS:
            settings: Any = {"resolution": resolution, "engine": engine, "record": "all", "potentials": "all"}
            found[f"{path.stem} {resolution}"] = [
                results_of(simulator.run(image, **settings)) for image in images_for(simulator.network.input.shape, images)
            ]
    return found


def results_in(checkout: Path, images: int, engine: str) -> dict[str, list[Results]]:
    """The same, by a process that imports the ``eventsim`` of a checkout."""
    with tempfile.TemporaryDirectory(prefix="eventsim-same-") as folder:
        target = Path(folder) / "results.json"
        command = [sys.executable, __file__, str(checkout), "--images", str(images), "--engine", engine, "--into", str(target)]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(checkout)}, cwd=folder, check=False)
        if done.returncode:
            raise click.ClickException(f"{checkout}: the runs failed")
        return json.loads(target.read_text())


def differences(old: Results, new: Results) -> list[str]:
    """The names of the results that differ, or that only one of them has."""
    return [name for name in {**old, **new} if name not in old or name not in new or old[name] != new[name]]


@click.command(help=__doc__.split("\n\n")[0], context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkout", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--images", type=click.IntRange(1, 10), default=10, show_default=True, help="Images for each network and resolution.")
@click.option(
    "--engine", type=click.Choice(["auto", "layered", "queue", "reference"]), default="auto", show_default=True, help="What runs them."
)
@click.option("--into", type=click.Path(path_type=Path), hidden=True, help="Compare nothing: write the results of the checkout.")
def main(checkout: Path, images: int, engine: str, into: Path | None) -> None:
    if into is not None:
        import eventsim

        if not Path(eventsim.__file__).is_relative_to(checkout):
            raise click.ClickException(f"{eventsim.__file__} was imported, expected eventsim of {checkout}")
        into.write_text(json.dumps(results(images, engine)))
        return
    old, new = (results_in(each.resolve(), images, engine) for each in (checkout, ROOT))
    if missing := [case for case in old if case not in new]:
        raise click.ClickException(f"not read any more: {', '.join(missing)}")
    click.echo(f"{'network':24}{'ticks a step':>14}{'images':>8}{'results':>10}  differ")
    wrong = 0
    for case, expected in old.items():
        name, _, resolution = case.partition(" ")
        found = [differences(a, b) for a, b in zip(expected, new[case], strict=True)]
        wrong += any(found)
        said = "; ".join(f"image {i}: {', '.join(names)}" for i, names in enumerate(found) if names) or "none"
        click.echo(f"{name:24}{int(resolution):>14,}{len(found):>8}{sum(map(len, expected)):>10,}  {said}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
