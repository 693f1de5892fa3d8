"""``python -m eventsim convert``: from a trained network to net.h5."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np

from eventsim.cli.calibration import sample_images
from eventsim.cli.names import FILE_NAME, NAME
from eventsim.cli.options import architecture, normalisation, numbers, options, output, shortened, whole_numbers
from eventsim.cli.progress import image_progress
from eventsim.conversion import Conversion
from eventsim.conversion import convert as convert_model
from eventsim.conversion.choices import Choices as Chosen
from eventsim.conversion.choices import choose
from eventsim.conversion.faithfulness import Faithfulness, faithfulness
from eventsim.conversion.from_nir import spiking_from_nir
from eventsim.conversion.nir.writers import WRITERS, Reset
from eventsim.conversion.read import read_model
from eventsim.conversion.to_nir import write_nir
from eventsim.errors import ConversionError
from eventsim.files.atomic import check_output
from eventsim.files.printable import echo, printable
from eventsim.job.job import MODES
from eventsim.model.netfile import save
from eventsim.model.onsets import with_onsets

_of_source = options(
    click.option(
        "--calibrate", type=NAME, help="Data set (its training images) or folder of images whose activations set the ranges of ReLU layers."
    ),
    click.option("--images", type=click.IntRange(1), default=1000, show_default=True, help="How many of them."),
    architecture,
    click.option("--input-shape", help="Channels,height,width where the model leaves it open."),
    click.option("--answer", metavar="NAME", help="Which output is the answer, where the model has several: its name or place."),
    click.option("--nir-dt", type=float, help="Length of a NIR file's steps in its unit of time. Default: as the file says, else 1."),
    click.option(
        "--nir-neurons",
        type=click.Choice(list(WRITERS)),
        help="Take over a NIR file's neurons, leaks and cycles too, as this simulator runs them.",
    ),
    click.option(
        "--nir-reset", type=click.Choice(get_args(Reset)), help="With --nir-neurons: what a spike does. Default: the simulator's."
    ),
    click.option(
        "--nir-reset-delay/--no-nir-reset-delay",
        default=None,
        help="Whether snnTorch's neurons are reset in the step after a spike. Default: they are.",
    ),
)
_of_neurons = options(
    click.option("--percentile", type=float, default=99.9, show_default=True, help="Of a layer's activations: one spike per step."),
    click.option("--per-channel", is_flag=True, help="One range per channel (binary layers become multi-bit)."),
    click.option(
        "--initial", type=click.Choice(["half", "zero"]), default="half", show_default=True, help="Initial potential, in thresholds."
    ),
    click.option("--signed/--unsigned", default=None, help="Neurons can take back spikes. Default: in quantised layers and with biases."),
    click.option("--refractory", type=float, help="Refractory period in steps, behind the first layer. Default: 1 of signed neurons."),
    click.option(
        "--onset", type=float, default=0.0, help="Steps by which each layer begins to fire after the one before it; for asynchronous runs."
    ),
    click.option("--fraction-bits", type=int, help="Of thresholds, in binary weights. Default: chosen per layer."),
    click.option("--weight-bits", type=int, default=8, show_default=True, help="Of weights that are not binary."),
    click.option("--balance", is_flag=True, help="Correct biases by what the spikes say after --steps steps (slow; for few steps)."),
    click.option("--phase", type=float, help="Sign networks: steps from layer to layer. Default: so few that one step does."),
)
_of_result = options(
    click.option("--steps", type=click.IntRange(1), help="Length of a run that the file recommends, and of the report's runs (else 100)."),
    click.option("--check/--no-check", default=True, show_default=True, help="Compare with the source on a few calibration images."),
    click.option(
        "--choose", type=click.IntRange(1), metavar="N", help="Try neurons, ranges, initial potentials and balanced biases on N images."
    ),
    click.option("--choose-for", type=click.Choice(list(MODES)), default="clocked", show_default=True, help="Runs that --choose compares."),
    click.option("--report", type=click.IntRange(1), help="Compare layer by layer on so many test images of the --calibrate set."),
    click.option("--nir", type=FILE_NAME, help="Write the network as NIR too, for other tools."),
)


# What goes with --nir-neurons.
_OF_NEURONS = "model", "output", "nir_dt", "nir_neurons", "nir_reset", "nir_reset_delay", "as_json"


def _given(option: str) -> bool:
    """Whether the user has given an option of the command that runs."""
    return click.get_current_context().get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE


@dataclass(frozen=True)
class Choices:
    """What is read and written, by the options' names."""

    model: Path
    output: Path
    calibrate: str | None
    images: int
    architecture: str | None
    answer: str | None
    nir_dt: float | None
    choose: int | None
    choose_for: str
    nir_neurons: str | None
    nir_reset: Reset | None
    nir_reset_delay: bool | None
    onset: float
    report: int | None
    nir: Path | None

    def check(self) -> None:
        """Refuse options that contradict each other, and outputs that are inputs."""
        if self.report is not None and self.calibrate is None:
            raise click.UsageError("--report takes its images from the --calibrate set; name one")
        if self.choose is not None and self.calibrate is None:
            raise click.UsageError("--choose takes its images from the --calibrate set; name one")
        if self.choose is None and _given("choose_for"):
            raise click.UsageError("--choose-for says what --choose compares; give that too")
        if self.nir is not None and not self.nir.name:
            raise click.UsageError("--nir: expected the name of a file")
        if (self.nir_reset is not None or self.nir_reset_delay is not None) and self.nir_neurons is None:
            raise click.UsageError("--nir-reset and --nir-reset-delay go with --nir-neurons")
        if self.nir_neurons is not None:
            given = [name for name in click.get_current_context().params if _given(name)]
            others = sorted(f"--{name.replace('_', '-')}" for name in given if name not in _OF_NEURONS)
            if others:
                raise click.UsageError(f"--nir-neurons takes the neurons as they are; leave out {', '.join(others)}")

    @property
    def answers(self) -> int | str | None:
        """Which output is the answer: a place if it is a number, else a name."""
        return int(self.answer) if self.answer is not None and self.answer.isdecimal() else self.answer

    def check_outputs(self) -> None:
        """Refuse outputs that are inputs."""
        code = None if self.architecture is None else self.architecture.rpartition(":")[0]
        check_output(self.output, self.model, code)
        if self.nir is not None:
            check_output(self.nir, self.model, code, self.output)


@click.command()
@click.argument("model", type=FILE_NAME)
@output("net.h5")
@_of_source
@_of_neurons
@normalisation
@_of_result
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def convert(input_shape: str | None, mean: str | None, std: str | None, as_json: bool, **given: Any) -> None:
    """Convert MODEL (.onnx, .nir, or a state dict with --architecture) into a spiking network.

    \b
    Examples:
      eventsim convert tfc.onnx --calibrate mnist -o tfc.h5
      eventsim convert weights.pt --architecture nets.py:lenet --calibrate mnist -o lenet.h5
    """
    choices = Choices(**{name: given.pop(name) for name in Choices.__dataclass_fields__})
    choices.check()
    shape = None
    if input_shape is not None:
        shape = whole_numbers(input_shape, f"{shortened(input_shape)}: expected whole numbers with commas")
    choices.check_outputs()
    if choices.nir_neurons is not None:
        _take_over(choices, choices.nir_neurons, as_json)
        return
    source = read_model(choices.model, choices.architecture, shape, output=choices.answers, dt=choices.nir_dt)
    calibration, _, labels = sample_images(choices.calibrate, "train", choices.images + (choices.choose or 0))
    given |= {"input_shape": shape, "mean": numbers(mean, 0.0), "std": numbers(std, 1.0), "output": choices.answers}
    made, chosen = _convert(source, calibration, choices, given)
    _write(made, labels, choices)
    compared = _compare(made, choices)
    if as_json:
        extra = {"network": str(choices.output)}
        found = (("choices", chosen), ("check", made.check), ("faithfulness", compared))
        parts = {name: part.to_dict() for name, part in found if part is not None}
        click.echo(json.dumps(made.report.to_dict() | extra | parts, indent=2))
        return
    if chosen is not None:
        echo(chosen)
    echo(made.report)
    if made.check is not None:
        echo(made.check)
    if compared is not None:
        echo(compared)
    echo(f"{choices.output}: {choices.output.stat().st_size:,} bytes")


def _convert(source: Any, images: np.ndarray | None, choices: Choices, settings: dict[str, Any]) -> tuple[Conversion, Chosen | None]:
    """Convert as asked for, or as is best on a part of the images that is kept apart for that."""
    with image_progress("converting") as progress:
        if choices.choose is None or images is None:
            return convert_model(source, images, progress=progress, **settings), None
        if len(images) < 2:
            raise ConversionError(f"--choose keeps some of the calibration images apart, found {len(images)}; two at least are needed")
        apart = np.zeros(len(images), bool)
        apart[np.linspace(0, len(images) - 1, min(choices.choose, len(images) // 2)).astype(int)] = True
        chosen = choose(source, images[~apart], images[apart], resolution=MODES[choices.choose_for], progress=progress, **settings)
        return chosen.conversion, chosen


def _take_over(choices: Choices, writer: str, as_json: bool) -> None:
    """Write the network of a NIR file's neurons."""
    network, remarks = spiking_from_nir(
        choices.model, writer=writer, dt=choices.nir_dt, reset=choices.nir_reset, reset_delay=choices.nir_reset_delay
    )
    network.provenance["source"] = printable(choices.model)
    save(network, choices.output)
    if as_json:
        click.echo(json.dumps(network.provenance | {"network": str(choices.output)}, indent=2))
        return
    echo(network)
    for remark in remarks:
        echo(f"- {remark}")
    echo(f"{choices.output}: {choices.output.stat().st_size:,} bytes")


def _write(made: Conversion, labels: list[str], choices: Choices) -> None:
    """Write the network, and as NIR where that is asked for."""
    outputs = int(np.prod(made.source.layers[-1].shape))
    if len(labels) == outputs:
        made.network.labels = labels
    if choices.onset:
        if made.steps:
            raise ConversionError("--onset: activations that became one spike each have their times already; leave it out")
        made.network = with_onsets(made.network, choices.onset)
    made.network.provenance |= {"source": printable(choices.model), "conversion": made.report.to_dict()}
    if choices.nir is not None:
        # Not every network has a counterpart there.
        for lost in write_nir(made, choices.nir):
            echo(f"warning: {choices.nir} does not say: {lost}", err=True)
    save(made.network, choices.output)


def _compare(made: Conversion, choices: Choices) -> Faithfulness | None:
    """How the network does beside its source, if that is asked for."""
    if choices.report is None:
        return None
    test, truth, _ = sample_images(choices.calibrate, "test", choices.report)
    assert test is not None
    with image_progress("comparing") as progress:
        return faithfulness(made, test, truth, progress=progress)
