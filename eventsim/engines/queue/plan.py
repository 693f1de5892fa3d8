"""What compiled code of the queue engine is told of a job: what does not change during the run."""

from __future__ import annotations

import numpy as np

from eventsim.engines.queue.records import POPULATION, PROJECTION, Exit, Leaks, Plan, Role
from eventsim.job.job import Job
from eventsim.model.tables import IntArray

# What populations of a kind do; the kinds that the engine runs.
ROLES = {
    "spiking": Role.SPIKING,
    "leaky": Role.SPIKING,
    "current_leaky": Role.SPIKING,
    "driven": Role.DRIVEN,
    "readout": Role.READOUT,
    "leaky_readout": Role.READOUT,
    "current_leaky_readout": Role.READOUT,
    "source": Role.SOURCE,
    "event_input": Role.SOURCE,
    "maximum": Role.MAXIMUM,
}
_EXITS = {"potential": Exit.POTENTIAL, "margin": Exit.MARGIN}


def streams_of(job: Job) -> list[int]:
    """Projections whose spikes come in a stream: those with a delay and those from sources; by target, in topological order."""
    network, rank = job.network, {name: q for q, name in enumerate(job.order)}
    streams = [i for i, p in enumerate(network.projections) if job.delay[p.name] or network.populations[p.source].emits]
    return sorted(streams, key=lambda i: rank[network.projections[i].target])


def bits_of(job: Job) -> int:
    """Bits of a key that say which entity it is."""
    entities = sum(p.size + p.has_current for p in job.network.populations.values())
    return (entities + len(streams_of(job))).bit_length()


def plan_for(job: Job) -> Plan:
    """The plan of a job whose keys fit 64 bits."""
    populations, projections, rule = _populations(job), _projections(job), job.exit_rule
    streams = np.array(streams_of(job), np.int64)
    _number_entities(populations, projections, streams)
    from_neurons = populations["role"][projections["source"]] != Role.SOURCE
    incoming = np.flatnonzero(from_neurons & (projections["delay"] == 0))
    incoming = _grouped(populations, incoming, projections["target"], "incoming")
    outgoing = _grouped(populations, np.flatnonzero(from_neurons), projections["source"], "outgoing")
    ticks, neurons = zip((np.zeros(0, np.int64), np.zeros(0, np.int32)), *job.events.values(), strict=True)
    threshold, current, v0 = _per_neuron(job, populations)
    return Plan(
        resolution=job.resolution,
        bits=bits_of(job),
        output=-1 if job.network.output is None else job.order.index(job.network.output),
        exit_kind=int(Exit.NONE if rule is None else _EXITS[rule.kind]),
        exit_threshold=0 if rule is None else int(rule.threshold),
        max_spikes=job.max_spikes,
        populations=populations,
        projections=projections,
        incoming=incoming,
        outgoing=outgoing,
        streams=streams,
        threshold=threshold,
        current=current,
        v0=v0,
        leaks=_leaks(job, populations),
        event_tick=np.concatenate(ticks),
        event_neuron=np.concatenate(neurons),
        event_sign=_event_signs(job),
    )


def _populations(job: Job) -> IntArray:
    network = job.network
    out = np.zeros(len(job.order), POPULATION)
    sizes = np.array([network.populations[name].size for name in job.order])
    out["end"] = np.cumsum(sizes)
    out["first"] = out["end"] - sizes
    columns = maxima = 0
    currents = int(sizes.sum())
    for row, name in zip(out, job.order, strict=True):
        population = network.populations[name]
        row["role"], row["refractory"] = ROLES[population.kind], job.refractory.get(name, 1)
        row["signed"], row["zero_reset"] = population.signed, population.reset in ("zero", "value")
        row["readout"] = columns
        columns += population.size if population.reads_out else 0
        row["receives"], row["currents"] = (currents, currents) if population.has_current else (row["first"], -1)
        currents += population.size if population.has_current else 0
    # In the order of the projections that lead to them, as the tables have them.
    for projection in network.projections:
        if not projection.table.weighted:
            out["maximum"][job.order.index(projection.target)] = maxima
            maxima += 1
    return out


def _leaks(job: Job, populations: IntArray) -> Leaks | None:
    """Notes where each population's begin, too."""
    parts: list[list[IntArray]] = [[] for _ in Leaks._fields]
    place = 0
    for row, name in zip(populations, job.order, strict=True):
        population = job.network.populations[name]
        leaks, row["leak"] = population.leaks(), -1
        if leaks is None:
            continue
        row["leak"] = place
        amount = np.zeros(1, np.int64) if population.reset_amount is None else population.reset_amount
        for part, values in zip(parts, (*leaks, population.per_neuron(amount)), strict=True):
            part.append(values)
        decays, nothing = population.current_decays(), np.zeros(population.size, np.int64)
        if decays is not None:
            for part, values in zip(parts, (decays, nothing, nothing), strict=True):
                part.append(values)
        row["after_reset"] = _largest(amount)
        if population.threshold is not None and population.reset != "subtract":
            row["after_reset"] = max(row["after_reset"], _largest(amount - population.threshold))
        place += population.size * population.decays
    return Leaks(*map(np.concatenate, parts)) if place else None


def _largest(values: IntArray) -> int:
    return int(np.abs(values.astype(np.int64)).max())


def _projections(job: Job) -> IntArray:
    rank = {name: q for q, name in enumerate(job.order)}
    places, end = {}, 0
    for name, (ticks, _) in job.events.items():
        places[name] = end, end + len(ticks)
        end += len(ticks)
    out = np.zeros(len(job.network.projections), PROJECTION)
    for row, projection in zip(out, job.network.projections, strict=True):
        row["source"], row["target"], row["delay"] = rank[projection.source], rank[projection.target], job.delay[projection.name]
        row["first_event"], row["end_event"] = places.get(projection.source, (0, 0))
    return out


def _event_signs(job: Job) -> IntArray:
    parts = [job.signs[name] if name in job.signs else np.ones(len(ticks), np.int8) for name, (ticks, _) in job.events.items()]
    return np.concatenate([np.zeros(0, np.int8), *parts])


def _number_entities(populations: IntArray, projections: IntArray, streams: IntArray) -> None:
    target = projections["target"][streams]
    number = np.bincount(target, minlength=len(populations))
    flows = populations["currents"] >= 0
    before = populations["first"] + np.cumsum(flows) - flows
    populations["stream"] = np.cumsum(number) - number
    populations["first_stream"] = before + populations["stream"]
    populations["first_entity"] = populations["first_stream"] + number
    populations["end_entity"] = populations["first_entity"] + populations["end"] - populations["first"] + flows
    projections["stream"] = -1
    projections["stream"][streams] = before[target] + np.arange(len(streams))


def _grouped(populations: IntArray, projections: IntArray, key: IntArray, name: str) -> IntArray:
    """The projections ordered by their population; notes where each population's begin and end."""
    ordered = projections[np.argsort(key[projections], kind="stable")]
    numbers = np.arange(len(populations))
    populations[name] = np.searchsorted(key[ordered], numbers, "left")
    populations[f"end_{name}"] = np.searchsorted(key[ordered], numbers, "right")
    return ordered


def _per_neuron(job: Job, populations: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Thresholds, input currents and initial potentials; thresholds and potentials of synaptic currents, too."""
    size = int(populations["end"][-1])
    potentials = size + sum(p.size for p in job.network.populations.values() if p.has_current)
    threshold, current, v0 = np.zeros(potentials, np.int32), np.zeros(size, np.int64), np.zeros(potentials, np.int64)
    for row, name in zip(populations, job.order, strict=True):
        neurons, population = slice(row["first"], row["end"]), job.network.populations[name]
        for out, values in ((threshold, population.threshold), (v0, population.v0)):
            if values is not None:
                out[neurons].reshape(-1, len(values))[:] = values
        if name in job.currents:
            current[neurons] = job.currents[name]
    return threshold, current, v0
