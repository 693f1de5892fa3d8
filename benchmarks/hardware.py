"""How long replays and closed runs take, beside the runs themselves, and beside SANA-FE where that is installed.

    python benchmarks/hardware.py [NETWORK.h5 IMAGE.npy ARCHITECTURE]
    python benchmarks/hardware.py gestures       # the network for DVS gestures of SANA-FE's wheel; needs pip install sanafe

Processor time, the median of several (of ratios, in turn with SANA-FE); without arguments two dense layers of 512 neurons, which SANA-FE is
given too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from endings import ends_in_a_line

import eventsim as es
from eventsim.batch.inputs import Item, read_input

NEURONS, STEPS, REPEATS = 512, 20, 5


def seconds(function):
    """Median processor time of a call, after one that compiles."""
    function()
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        function()
        found.append(time.process_time() - start)
    return statistics.median(found)


def dense():
    """Two layers, all of the first firing in every step; a delay of a step as SANA-FE has it."""
    net = es.Network()
    net.driven("layer0", NEURONS, threshold=1)
    net.readout("layer1", NEURONS)
    net.connect("layer0", "layer1", np.ones((NEURONS, NEURONS), np.int8), delay=1)
    return net, {"layer0": [1] * NEURONS}


def of_sanafe():
    """Seconds of the same by SANA-FE, on its Loihi, scheduled in detail; None if it is not installed."""
    try:
        import sanafe
    except ImportError:
        return None
    architecture, network = sanafe.load_loihi(), sanafe.Network()
    groups = []
    for i, attributes in enumerate(({"threshold": 1.0, "bias": 2.0}, {"threshold": 1e9})):
        units = {
            "soma_hw_name": "loihi_lif",
            "default_synapse_hw_name": "loihi_dense_synapse",
            "default_dendrite_hw_name": "loihi_dendrites",
        }
        groups.append(network.create_neuron_group(f"layer{i}", NEURONS, model_attributes=attributes | {"leak_decay": 1.0}, **units))
    groups[0].connect_neurons_dense(groups[1], {"weight": [1.0] * NEURONS**2})
    cores = [core for tile in architecture.tiles for core in tile.cores]
    for group, core in zip(groups, (0, 1), strict=True):
        for neuron in group.neurons:
            neuron.map_to_core(cores[core])
    chip = sanafe.SpikingChip(architecture)
    chip.load(network)
    return seconds(lambda: chip.sim(STEPS, timing_model="detailed", processing_threads=1, scheduler_threads=0))


def gestures():
    """The network and chip of tests/hardware/test_sanafe_dvs.py, replayed, closed, and by each quick schedule of SANA-FE."""
    tests = Path(__file__).resolve().parents[1] / "tests"
    # As a module by itself: this file has the name of its folder.
    sys.path += [str(tests), str(tests / "hardware")]
    import test_sanafe_dvs as dvs

    data = dvs.gestures()
    hardware, net = dvs.our_chip(data)
    simulator = es.Simulator(net)
    settings = {"steps": dvs.STEPS, "resolution": 1}
    run = simulator.run(**settings, **hardware.recorded)
    # Closed runs have no potentials to ask for.
    closing = es.Hardware(replace(hardware.architecture, core=replace(hardware.architecture.core, update_when="input")))
    # Room that never ends, but might: the same run, each message by itself.
    queued = es.Hardware(replace(closing.architecture, core=replace(closing.architecture.core, queue=10**9)))
    parts = {
        "plain run": lambda: simulator.run(**settings),
        "replay": lambda: hardware.replay(net, run),
        "run with potentials, and replay": lambda: hardware.run(net, **settings),
        "run and replay, neurons updated by input": lambda: closing.run(net, **settings),
        "closed": lambda: closing.run(net, steps=dvs.STEPS, closed=True, record="none"),
        "closed, every message an event": lambda: queued.run(net, steps=dvs.STEPS, closed=True, record="none"),
    }
    # In turn, since what else a machine does changes by the second.
    rounds = [
        {name: seconds(function) for name, function in parts.items()}
        | {model: of_theirs(dvs, data, model) for model in ("simple", "detailed")}
        for _ in range(REPEATS)
    ]
    median = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    for model in ("simple", "detailed"):
        print(f"SANA-FE, {model}: {median[model] * 1e3:.0f} ms; it takes as long as")
        for name in parts:
            ratio = statistics.median(each[model] / each[name] for each in rounds)
            print(f"  {ratio:6.1f} x {name} ({median[name] * 1e3:.2f} ms)")


def of_theirs(dvs, data, model):
    """Seconds of processor time that SANA-FE takes by one of its schedules."""
    chip = dvs.their_chip(data)
    start = time.process_time()
    dvs.theirs(chip, model)
    return time.process_time() - start


@ends_in_a_line("interrupted")
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arguments", nargs="*", metavar="NETWORK IMAGE ARCHITECTURE", help='or "gestures"; default: two dense layers')
    arguments = parser.parse_args().arguments
    if arguments == ["gestures"]:
        gestures()
        return
    if len(arguments) not in (0, 3):
        parser.error(f"found {len(arguments)} arguments; expected a network, an image (.npy) and an architecture, gestures, or none")
    if arguments:
        network, image, architecture = arguments
        net = es.load(network)
        inputs, steps = read_input(net, Item(image))[0], 8
    else:
        (net, inputs), architecture, steps = dense(), "loihi-fitted", STEPS
    hardware, simulator = es.Hardware(architecture), es.Simulator(net)
    result = simulator.run(inputs, steps=steps, resolution=1)
    plain = seconds(lambda: simulator.run(inputs, steps=steps, resolution=1))
    report = hardware.replay(net, result)
    replay = seconds(lambda: hardware.replay(net, result))
    synapses, messages = report.counts["synapse"], report.counts["message"]
    print(f"plain run {plain * 1e3:.2f} ms, replay {replay * 1e3:.2f} ms: {messages:,} messages, {synapses:,} synaptic events")
    print(f"run and replay: {synapses / (plain + replay) / 1e6:,.0f} M synaptic events a second")
    if not arguments:
        theirs = of_sanafe()
        if theirs is not None:
            ratio = theirs / (plain + replay)
            print(f"SANA-FE: {theirs * 1e3:.0f} ms, {synapses / theirs / 1e6:,.1f} M synaptic events a second; {ratio:,.0f} times as long")
    _, closed = hardware.run(net, inputs, steps=steps, closed=True)
    taken = seconds(lambda: hardware.run(net, inputs, steps=steps, closed=True, record="none"))
    print(f"closed {taken * 1e3:.1f} ms: {closed.counts['message'] / taken / 1e6:.2f} M messages a second")


if __name__ == "__main__":
    main()
