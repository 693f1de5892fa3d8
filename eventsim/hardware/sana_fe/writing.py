"""``architecture.yaml`` and ``network.yaml`` for SANA-FE, and what they do not say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from eventsim.errors import HardwareError
from eventsim.files.atomic import write_texts
from eventsim.hardware.architecture import EventCore
from eventsim.hardware.placement import Placement
from eventsim.hardware.sana_fe.neurons import INTEGRATE_FROM, Group, groups_of
from eventsim.hardware.sana_fe.texts import architecture_text, network_text
from eventsim.job.job import Job

ARCHITECTURE, NETWORK = "architecture.yaml", "network.yaml"


class Written(NamedTuple):
    """What was written for SANA-FE.

    Attributes
    ----------
    steps : int
        As many steps of the chip are the run.
    begins : dict of str to int
        By population: the step of the chip that is its first step of the network.
    names : dict of str to str
        By population: what its group is called.
    losses : list of str
        What the files do not say.
    """

    steps: int
    begins: dict[str, int]
    names: dict[str, str]
    losses: list[str]


def write_sana_fe(placement: Placement, job: Job, folder: str | os.PathLike[str]) -> Written:
    """Write a placed network, the input of a clocked run and the chip.

    Parameters
    ----------
    placement : Placement
    job : Job
        Of the network, with one tick a step.
    folder : path-like
        Made if need be. Both files are written, or neither.

    Raises
    ------
    HardwareError
        SANA-FE has no such chip, neurons or times; or the files cannot be written.
    """
    _check(placement, job)
    groups = groups_of(placement, job)
    steps = job.steps + max((group.stage for group in groups.values()), default=0)
    texts = {ARCHITECTURE: architecture_text(placement, groups), NETWORK: "".join(network_text(placement, groups, steps))}
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_texts({place / name: text for name, text in texts.items()})
    except OSError as error:
        raise HardwareError(f"{place}: cannot be written ({error.strerror})") from None
    begins = {name: group.stage + 1 for name, group in groups.items()}
    return Written(steps, begins, {name: group.name for name, group in groups.items()}, _losses(placement, groups))


def _check(placement: Placement, job: Job) -> None:
    """Refuse what SANA-FE has not."""
    architecture, refused = placement.architecture, None
    if not isinstance(architecture.core, EventCore):
        refused = f"its cores take one message after the other, and these are of kind {architecture.core.kind!r}"
    elif architecture.chip.synchronisation != "barrier":
        refused = 'its chips work step by step; use synchronisation = "barrier"'
    elif architecture.contended:
        refused = "its links and queues are others; leave out hold_ns, buffer and queue"
    elif job.resolution != 1:
        refused = f"its runs are clocked, and this one has {job.resolution:,} ticks a step"
    elif job.exit_rule is not None:
        refused = "its runs have no exit rules"
    if refused is not None:
        raise HardwareError(f"{architecture.source or architecture.name} cannot be written for SANA-FE: {refused}")


def _losses(placement: Placement, groups: dict[str, Group]) -> list[str]:
    architecture, losses = placement.architecture, []
    chip, core = architecture.chip, architecture.core
    losses += ["static power"] if chip.static_power else []
    losses += ["the least duration of a step"] if chip.step else []
    losses += ["what a message within a tile takes"] if any(architecture.links.within_tile) else []
    if any(core.update):
        if core.update_when == "input" and not all(group.forced or not len(group.threshold) for group in groups.values()):
            losses.append(
                "that neurons without input are not updated (it updates those with a potential, as update_when = 'potential' does)"
            )
        left = [name for name, g in groups.items() if g.unit == INTEGRATE_FROM and g.reset == "soft" and not g.forced]
        if left and core.update_when == "potential":
            losses.append(f"that neurons which a spike leaves without a potential are not updated in the next step (of {', '.join(left)})")
        early = [name for name, group in groups.items() if group.stage and (group.forced or group.bias.any())]
        if early:
            losses.append(f"that neurons with a bias are updated only from their first step on (of {', '.join(early)})")
    late = max((group.stage for group in groups.values()), default=0)
    if late:
        losses.append(f"that what goes before ends when the run does: populations go on in the last {late} steps")
    return losses + _shared(placement)


def _shared(placement: Placement) -> list[str]:
    """A spike is one message to a core there, through however many projections."""
    found: dict[tuple[str, int], list[str]] = {}
    for p in placement.network.projections:
        if p.name in placement.reach:
            for core in {core for block in placement.blocks[p.target] for core in block.cores}:
                found.setdefault((p.source, core), []).append(p.name)
    several = sorted({" and ".join(names) for names in found.values() if len(names) > 1})
    return [f"that a spike is a message for each projection ({each} reach the same core)" for each in several]
