"""``python -m eventsim convert``: from a trained network to net.h5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from eventsim.errors import ConversionError, DatasetError
from eventsim.files.printable import echo, printable


def numbers(text: str | None, default: float) -> list[float]:
    """Finite numbers with commas."""
    if text is None:
        return [default]
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not np.isfinite(values).all():
        raise click.UsageError(f"{shortened(text)}: expected a finite number, or several with commas")
    return values


def shortened(text: str) -> str:
    """What a user typed, for a message."""
    return printable(repr(text if len(text) <= 60 else text[:57] + "..."))


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), default="net.h5", show_default=True)
@click.option("--calibrate", help="Data set (its training images) or folder of images whose activations set the ranges of ReLU layers.")
@click.option("--images", type=click.IntRange(1), default=1000, show_default=True, help="How many of them.")
@click.option("--architecture", help="FILE.py:FUNCTION that makes the module of a state dict. The file is run.")
@click.option("--input-shape", help="Channels,height,width where the model leaves it open.")
@click.option("--percentile", type=float, default=99.9, show_default=True, help="Of a layer's activations: one spike per step.")
@click.option("--per-channel", is_flag=True, help="One range per channel (binary layers become multi-bit).")
@click.option("--initial", type=click.Choice(["half", "zero"]), default="half", show_default=True, help="Initial potential, in thresholds.")
@click.option("--signed/--unsigned", default=None, help="Neurons can take back spikes. Default: in quantised layers.")
@click.option("--refractory", type=float, help="Refractory period in steps. Default: 1 in quantised layers, else 0.")
@click.option("--fraction-bits", type=int, help="Of thresholds, in binary weights. Default: chosen per layer.")
@click.option("--weight-bits", type=int, default=8, show_default=True, help="Of weights that are not binary.")
@click.option("--mean", help="The model takes (pixel / 255 - mean) / std: numbers with commas.")
@click.option("--std", help="See --mean.")
@click.option("--steps", type=click.IntRange(1), help="Length of a run that the file recommends, and of the report's runs (else 100).")
@click.option("--report", type=click.IntRange(1), help="Compare layer by layer on so many test images of the --calibrate set.")
@click.option("--nir", type=click.Path(path_type=Path), help="Write the network as NIR too, for other tools.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def convert(
    model: Path,
    output: Path,
    calibrate: str | None,
    images: int,
    architecture: str | None,
    input_shape: str | None,
    percentile: float,
    per_channel: bool,
    initial: Any,
    signed: bool | None,
    refractory: float | None,
    fraction_bits: int | None,
    weight_bits: int,
    mean: str | None,
    std: str | None,
    steps: int | None,
    report: int | None,
    nir: Path | None,
    as_json: bool,
) -> None:
    """Convert MODEL (.onnx, .nir, or a state dict with --architecture) into a spiking network.

    \b
    Examples:
      eventsim convert tfc.onnx --calibrate mnist -o tfc.h5
      eventsim convert weights.pt --architecture nets.py:lenet --calibrate mnist -o lenet.h5
    """
    import eventsim as es
    from eventsim.conversion.read import read_model
    from eventsim.files.atomic import check_output

    if report is not None and calibrate is None:
        raise click.UsageError("--report takes its images from the --calibrate set; name one")
    if nir is not None and not nir.name:
        raise click.UsageError("--nir: expected the name of a file")
    shape = None
    if input_shape is not None:
        try:
            shape = tuple(int(part) for part in input_shape.split(","))
        except ValueError:
            raise click.UsageError(f"{shortened(input_shape)}: expected whole numbers with commas") from None
    code = None if architecture is None else architecture.rpartition(":")[0]
    check_output(output, model, code)
    if nir is not None:
        check_output(nir, model, code, output)
    source = read_model(model, architecture, shape)
    calibration, _, labels = sample_images(calibrate, "train", images)
    made = es.convert(
        source,
        calibration,
        input_shape=shape,
        percentile=percentile,
        per_channel=per_channel,
        initial=initial,
        signed=signed,
        refractory=refractory,
        fraction_bits=fraction_bits,
        weight_bits=weight_bits,
        mean=numbers(mean, 0.0),
        std=numbers(std, 1.0),
    )
    outputs = int(np.prod(made.source.layers[-1].shape))
    if len(labels) == outputs:
        made.network.labels = labels
    made.network.provenance = {"source": printable(model), "conversion": made.report.to_dict()} | ({"steps": steps} if steps else {})
    es.save(made.network, output)
    if nir is not None:
        from eventsim.conversion.to_nir import write_nir

        for lost in write_nir(made, nir):
            echo(f"warning: {nir} does not say: {lost}", err=True)
    compared = None
    if report is not None:
        from eventsim.conversion.faithfulness import faithfulness

        test, truth, _ = sample_images(calibrate, "test", report)
        assert test is not None
        compared = faithfulness(made, test, truth, steps=steps)
    if as_json:
        extra = {"network": str(output)} | ({} if compared is None else {"faithfulness": compared.to_dict()})
        click.echo(json.dumps(made.report.to_dict() | extra, indent=2))
        return
    echo(made.report)
    if compared is not None:
        echo(compared)
    echo(f"{output}: {output.stat().st_size:,} bytes")


def sample_images(name: str | None, split: str, count: int) -> tuple[np.ndarray | None, np.ndarray | None, list[str]]:
    """Images spread evenly over a set, their labels if there are any, and its class names."""
    if name is None:
        return None, None, []
    from eventsim.data import datasets

    try:
        images = datasets.open_dataset(name, split)
    except DatasetError as error:
        raise ConversionError(f"--calibrate: {error}") from None
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    parts = [images[int(i)] for i in chosen]
    if len({part.shape for part in parts}) != 1:
        raise ConversionError(f"--calibrate {name}: its images differ in size; resize them to what the network takes")
    return np.stack(parts), None if images.labels is None else images.labels[chosen], list(images.classes)
