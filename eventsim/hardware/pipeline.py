"""Behind barriers, a spike that is sent in a step is used in the next: in which step of the chip a population does what it does in a step.

Populations that are joined without delay follow one another by a step of the chip each, as the stages of a pipeline do.
"""

from __future__ import annotations

from eventsim.errors import HardwareError
from eventsim.model.network import Network


def stages(network: Network, delay: dict[str, int], resolution: int) -> dict[str, int]:
    """How many steps of the chip each population lags behind.

    Parameters
    ----------
    network : Network
    delay : dict of str to int
        Ticks, by projection.
    resolution : int
        Ticks of a step.

    Raises
    ------
    HardwareError
        A cycle has fewer whole steps of delay than projections.
    """
    stage = dict.fromkeys(network.populations, 0)
    sending = [p for p in network.projections if not network.populations[p.source].is_clock]
    for _ in range(len(stage) + 1):
        changed = None
        for p in sending:
            least = stage[p.source] + 1 - delay[p.name] // resolution
            if least > stage[p.target]:
                stage[p.target], changed = least, p
        if changed is None:
            return stage
    raise HardwareError(
        f"{changed.name if changed else ''}: is part of a cycle with fewer whole steps of delay than projections, and with barriers "
        'every projection takes a step; give each a delay of 1 step, or use synchronisation = "none"'
    )
