"""Random networks of leaky neurons in other simulators, and their NIR files here: how many spikes differ.

    python benchmarks/nir_simulators.py [--networks 20] [--steps 100]

Networks of two layers (20, 30 and 10 neurons) with random weights, exported by the simulator's own function; input: each neuron spikes with
probability 0.3 in each step. Simulators that are not installed are left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from endings import at_least_one

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from judges.nir_simulators import SIMULATORS, compared, importable


def main() -> None:
    """Print a row for each simulator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=at_least_one, default=20)
    parser.add_argument("--steps", type=at_least_one, default=100)
    arguments = parser.parse_args()
    print("| simulator, neurons | spikes of the output layer there | here | difference of the counts | neuron-steps that differ |")
    print("|---|---|---|---|---|")
    for name, make in SIMULATORS.items():
        if not importable(name):
            print(f"| {name} | not installed | | | |")
            continue
        there = here = different = steps = 0
        for seed in range(arguments.networks):
            expected, found = compared(make, seed, arguments.steps)
            there, here = there + int(expected.sum()), here + int(found.sum())
            different, steps = different + int(np.sum(expected != found)), steps + expected.size
        apart = f"{100 * abs(here - there) / there:.2f} %" if there else "-"
        print(f"| {name} | {there:,} | {here:,} | {apart} | {100 * different / steps:.3f} % |")


if __name__ == "__main__":
    main()
