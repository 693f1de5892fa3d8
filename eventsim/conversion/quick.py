"""The short check that every conversion ends with: a few calibration images, clocked, beside the source network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from eventsim.conversion.faithfulness import LayerFaithfulness, faithfulness
from eventsim.conversion.made import Check, Conversion
from eventsim.job.preparation import default_steps

# Images, at most, and multiply-accumulates of the source network times steps: a few seconds.
_IMAGES = 20
_WORK = 4e11
# Neurons times steps whose spikes are kept at a time, at most.
_SPIKES = 5e8
# A smaller share of answers like the source's is worth a word.
_POOR = 0.8
# Shares of a layer's activations above its range, and relative errors of rounding, that may be what is wrong.
_MANY_SATURATED = 0.02
_COARSE = 0.02


def quick_check(made: Conversion, images: npt.NDArray[np.uint8], progress: Callable[[int, int], None] | None = None) -> Check | None:
    """Run the network, clocked and for as long as it recommends, on as many of the images as take a few seconds.

    Parameters
    ----------
    made : Conversion
    images : uint8, shape (n, height, width, channels)
    progress : callable, optional
        Called with (images done, all images).

    Returns
    -------
    Check or None
        None where not even one image can be run in that time.
    """
    network = made.network
    steps = default_steps(network)
    populations = network.populations
    macs = sum(p.table.macs(populations[p.source].shape, populations[p.target].shape) for p in network.projections)
    neurons = sum(population.size for population in populations.values() if population.fires)
    work = steps * macs
    if work > _WORK or neurons * steps > _SPIKES:
        return None
    count = min(len(images), _IMAGES, max(1, int(_WORK / max(work, 1))))
    chosen = images[np.linspace(0, len(images) - 1, count).astype(int)]
    found = faithfulness(made, chosen, steps=steps, modes=("clocked",), progress=progress)
    layers, over_time = found.layers["clocked"], found.over_time["clocked"]
    agreement = found.agreement["clocked"]
    advice = _advice(made, layers, over_time, steps) if agreement < _POOR else []
    errors = {layer.name: round(layer.error, 4) for layer in layers}
    return Check(count, steps, agreement, over_time, errors, advice)


def _advice(made: Conversion, layers: list[LayerFaithfulness], over_time: dict[int, float], steps: int) -> list[str]:
    """What to try, most promising first."""
    advice = []
    rises = [layer.error - before for layer, before in zip(layers, [0.0, *(layer.error for layer in layers)], strict=False)]
    if layers:
        worst = layers[int(np.argmax(rises))]
        advice.append(f"rates leave the activations most at {worst.name} (error {worst.error:.3f} spikes a step, mean {worst.bias:+.3f})")
    saturated = max(layers, key=lambda layer: layer.saturated, default=None)
    if saturated is not None and saturated.saturated > _MANY_SATURATED and saturated.name in made.ranges:
        advice.append(f"a higher percentile: {saturated.saturated:.1%} of {saturated.name}'s activations are above one spike a step")
    spiking = [population for population in made.network.populations.values() if population.reset is not None]
    if spiking and not any(population.signed for population in spiking) and not made.steps:
        advice.append("signed neurons (signed=True, --signed)")
    coarse = [layer.name for layer in made.report.layers if max(layer.threshold_error, layer.weight_error) > _COARSE]
    if coarse:
        advice.append(
            f"more bits (weight_bits, fraction_bits): {', '.join(coarse[:3])} {'is' if len(coarse) == 1 else 'are'} rounded coarsely"
        )
    if steps == 1:
        advice.append("more steps")
        return advice
    # (Lengths are powers of two, and the whole run.)
    before = max(length for length in over_time if length < steps)
    if over_time[before] < over_time[steps] or len(advice) < 2:
        advice.append(f"more steps ({over_time[before]:.0%} after {before}, {over_time[steps]:.0%} after {steps})")
    return advice
