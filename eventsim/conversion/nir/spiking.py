"""Networks of neurons from NIR graphs: every potential, weight and decay becomes an integer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eventsim.conversion.graph import Array
from eventsim.conversion.nir.dynamics import FIRING, READING, Dynamics, dynamics, keeps, whole_steps
from eventsim.conversion.nir.inputs import input_shape
from eventsim.conversion.nir.paths import Path, Shape, bias_of, paths_to, reach, shape_behind, terms, times
from eventsim.conversion.nir.resets import FORCE, feed, gate, gate_of_two
from eventsim.conversion.nir.structure import Step, unfolded
from eventsim.conversion.nir.writers import Reset, Writer
from eventsim.conversion.signals import grid_of
from eventsim.conversion.terms import Matrix, Term, as_map, spatial
from eventsim.conversion.weights import ScaledWeights, table_of
from eventsim.errors import ConversionError
from eventsim.model.network import Network
from eventsim.model.populations.leak import DECAY_ONE
from eventsim.model.tables import Sparse
from eventsim.model.values import IntArray

# What a neuron's weights, bias and threshold are together at most, as integers, if it leaks and if not: 2^7 and 2^11 steps in which all
# inputs spike fit a potential.
_LEAKING, _WHOLE = 2**24, 2**20
# A decay that rounding changes by more than this share is remarked on.
_NOTED = 1e-9
# From this share of weights that are not zero on, all of them are stored.
_DENSE = 0.5
# Neurons that fire less often than once in so many steps are remarked on.
_LONG = 100


class SpikingImport:
    """A NIR graph that becomes a network, node by node.

    Parameters
    ----------
    graph : nir.NIRGraph
    writer : Writer
    dt : float
        Length of a step in the unit of the file's time.
    reset : {"subtract", "value", "none"}
    """

    def __init__(self, graph: Any, writer: Writer, dt: float, reset: Reset):
        self.steps, self.first, self.last = unfolded(graph)
        self.writer, self.dt, self.reset = writer, dt, reset
        self.remarks: list[str] = []
        before = self.steps[self.last].takes
        # What decides: neurons that do not fire before the output, else the output itself.
        self.answer = before[0] if len(before) == 1 and self.steps[before[0]].kind in READING else self.last
        self.paths = {name: list(paths_to(self.steps, name, self.first)) for name in self._receivers()}
        self.order = self._order()
        # Of neurons that are several: the names of those that integrate.
        self.membranes: dict[str, tuple[str, ...]] = {}
        for name, paths in self.paths.items():
            if writer.late and reset == "value" and self._resets_late(name, paths):
                self.membranes[name] = (self._free(f"{name}.membrane"),)
            elif self._resets_at_once(name):
                self.membranes[name] = self._free(f"{name}.membrane"), self._free(f"{name}.twice")
        self.remarks += self._resets() if writer.unit else []
        self.shapes = self._shapes()
        self.network = Network()

    def build(self) -> Network:
        """The network.

        Raises
        ------
        ConversionError
            A node has no counterpart; the message names it.
        """
        self.network.source(self.first, _last(self.shapes[self.first]))
        for name in self.order[1:]:
            self._add(self.steps[name])
        if self.answer not in self.network.populations:
            raise ConversionError("nothing reaches the output")
        # (Others that keep a potential and do not fire are readouts, too.)
        self.network.output = self.answer
        return self.network

    def _receivers(self) -> list[str]:
        """Nodes that keep a potential, and the output if none of those leads to it alone."""
        names = [name for name, step in self.steps.items() if keeps(step)]
        return names if self.answer != self.last else [*names, self.last]

    def _order(self) -> list[str]:
        """Senders before receivers as they are reached from the input: what leads back closes a cycle."""
        order = [self.first]
        waiting = [name for name in self.paths if name != self.first]
        while waiting:
            reached = [name for name in waiting if all(p.sender in order or p.sender == name for p in self.paths[name])]
            reached = reached or [name for name in waiting if any(p.sender in order for p in self.paths[name])]
            if not reached:
                raise ConversionError(f"{self.steps[waiting[0]].label}: the input does not reach it")
            order.append(reached[0])
            waiting.remove(reached[0])
        return order

    def _resets(self) -> list[str]:
        """Of a simulator whose files do not say how neurons reset."""
        remarks = []
        if self.reset == "subtract":
            remarks = [
                "neurons reset by subtraction of their thresholds, snnTorch's default; a file does not say so (reset='value', --nir-reset)"
            ]
        if not self.membranes:
            return remarks
        names, those = ", ".join(self.membranes), next(iter(self.membranes.values()))
        if self.reset == "subtract":
            return [
                *remarks,
                f"{names}: by subtraction at once (reset_delay=False): what is still above its threshold then fires from twice the "
                f"threshold on in the next step, in snnTorch and here; each is four neurons here, and spikes and operations of those like "
                f"{' and '.join(those)}, which integrate, are not the source's",
            ]
        return [
            f"{names}: set to zero in the step after a spike, with what arrives in it, as recurrent neurons of "
            "snnTorch and those with currents are (without --no-nir-reset-delay, reset_delay=False); each is two neurons here: one, in "
            f"{those[0]}, spikes also when it is set to zero: its spikes and operations are not the source's"
        ]

    def _resets_at_once(self, name: str) -> bool:
        """By subtraction, as snnTorch does that."""
        return self.writer.unit and not self.writer.late and self.reset == "subtract" and self.steps[name].kind in FIRING

    def _resets_late(self, name: str, paths: list[Path]) -> bool:
        kind = self.steps[name].kind
        return kind == "CubaLIF" or (kind in FIRING and any(path.sender == name for path in paths))

    def _free(self, name: str) -> str:
        """The name, or one like it that no node has."""
        while name in self.steps:
            name += "+"
        return name

    def _shapes(self) -> dict[str, Shape]:
        """Channel first."""
        shape, remark = input_shape(self.steps[self.first], list(self.steps.values()))
        self.remarks += [remark] if remark else []
        shapes = {self.first: shape}
        for name in self.order[1:]:
            path = next(path for path in self.paths[name] if path.sender in shapes)
            shapes[name] = shape_behind(path, shapes[path.sender])
        return shapes

    def _add(self, step: Step) -> None:
        """A population, and what leads to it."""
        shape, paths = self.shapes[step.name], self.paths[step.name]
        if keeps(step):
            found = dynamics(step, shape, self.writer, self.dt, self.reset)
        else:
            # What the output gets without neurons of its own is added up.
            ones = np.ones(math.prod(shape))
            found = Dynamics(0 * ones, None, ones, None, None)
            self.remarks.append(f"{step.label}: what arrives is added up over the run (NIR's output has no memory)")
        grid = grid_of(shape)
        joined = [
            (path, delay, times(term, found.gain, grid)) for path in paths for delay, term in terms(path, self.shapes[path.sender], self.dt)
        ]
        biases = {delay: bias * found.gain for delay, bias in self._biases(step, shape).items()}
        arriving = np.zeros(math.prod(shape)) + sum(map(np.abs, biases.values())) + sum(reach(term, grid[2]) for _, _, term in joined)
        self._remark_on_firing(step, found, arriving)
        scale = self._scale(found, [term for _, _, term in joined], list(biases.values()), arriving, step.name)
        self._population(step, shape, found, scale)
        for path, delay, term in joined:
            self._connect(path, delay, term, scale)
        for delay, bias in biases.items():
            if np.any(bias):
                self._add_bias(step, delay, self._rounded(bias * scale, f"{step.name}: bias"))

    def _add_bias(self, step: Step, delay: float, bias: IntArray) -> None:
        """What is added in every step, from a delay on."""
        for name in self._integrating(step.name):
            if not delay:
                self.network.bias(name, bias)
                continue
            clock = self._free(f"{name}.bias after {delay:g}")
            self.network.source(clock, 1, "clock")
            self.network.connect(clock, name, bias.reshape(1, -1), delay=delay)

    def _integrating(self, name: str) -> tuple[str, ...]:
        """Populations that get what a node gets."""
        return self.membranes.get(name, (name,))

    def _biases(self, step: Step, shape: Shape) -> dict[float, Array]:
        """What the linear nodes before a node add in every step, by its delay in steps; each once however many paths pass it."""
        found = {0.0: np.zeros(math.prod(shape))}
        seen: set[tuple[str, ...]] = set()
        for path in self.paths[step.name]:
            for place, node in enumerate(path.nodes):
                behind = path.nodes[place:]
                names = tuple(each.name for each in behind)
                if getattr(node.node, "bias", None) is not None and names not in seen:
                    seen.add(names)
                    before = shape_behind(Path(path.sender, path.nodes[:place], node.name), self.shapes[path.sender])
                    rest = shape_behind(Path("", (node,), ""), before)
                    delay = sum(self._delay_of_all(each) for each in behind[1:] if each.kind == "Delay")
                    bias = bias_of(Path("", behind, ""), before) - bias_of(Path("", behind[1:], ""), rest)
                    found[delay] = found.get(delay, 0.0) + bias
        return found

    def _delay_of_all(self, step: Step) -> float:
        """Of a delay that is the same for all neurons, in steps."""
        steps = np.unique(whole_steps(step.node.delay, self.dt))
        if len(steps) > 1:
            raise ConversionError(f"{step.label}: delays of single neurons behind a bias are not supported")
        return float(steps[0])

    def _remark_on_firing(self, step: Step, found: Dynamics, arriving: Array) -> None:
        """Where neurons can hardly fire, a length of the step that is not the file's is the likeliest cause."""
        if step.kind == "IF" and self.writer.unit:
            self.remarks.append(
                f"{step.label}: snnTorch writes no IF neurons, and reads them as leaky ones; taken without a leak, a step's input whole"
            )
        if found.threshold is None:
            return
        # What potentials come to at most in so many steps; a current has grown by then.
        flowing = arriving if found.current_share is None else arriving / np.maximum(found.current_share, 1 / _LONG)
        if np.all(flowing / np.maximum(found.share, 1 / _LONG) < found.threshold):
            self.remarks.append(
                f"{step.label}: fires never, or less than once in {_LONG} steps, even if all of its inputs spike in every step: "
                f"is a step dt = {self.dt:g} long (dt, --nir-dt), and does the file come from this writer?"
            )

    def _scale(self, found: Dynamics, joined: list[Term], biases: list[Array], arriving: Array, name: str) -> float:
        """A power of two: integers and halves stay exact."""
        own = [] if found.threshold is None or found.amount is None else [found.threshold, found.amount]
        largest = float(np.max(sum((np.abs(values) for values in own), arriving)))
        if largest == 0:
            return 1.0
        leaks = bool(np.any(found.share > 0))
        most = (_LEAKING if leaks else _WHOLE) / largest
        if name in self.membranes and self.reset == "value" and found.current_share is not None:
            # A current must not keep a membrane from being set to zero.
            most = min(most, FORCE / 2 / float(np.max(arriving / np.maximum(found.current_share, 1 / _LONG))))
        scale = 2.0 ** math.floor(math.log2(most))
        # What never leaks may go far: no larger than it has to be.
        smaller = 1.0
        real = [*biases, *own, *(part for term in joined for _, part, _ in ScaledWeights(term, term.scale, None).parts())]
        # (What a spike takes without a reset must stay little beside a threshold.)
        resets = self.reset != "none" and not (self._resets_at_once(name) and found.current_share is not None)
        while not leaks and resets and smaller < scale:
            if all(np.all(values * smaller == np.round(values * smaller)) for values in real):
                return smaller
            smaller *= 2
        return scale

    def _population(self, step: Step, shape: Shape, found: Dynamics, scale: float) -> None:
        leak: dict[str, Any] = {"decay": self._decay(found.share, f"{step.name}: decay of potentials")}
        if found.current_share is not None:
            leak["current_decay"] = self._decay(found.current_share, f"{step.name}: decay of currents")
        dims: Any = _last(shape)
        values = [*leak.values()]
        if found.threshold is not None and found.amount is not None:
            threshold = self._reached(found.threshold * scale)
            twice = self._reached((found.threshold + found.amount) * scale)
            # (Without a reset, or one that is taken through synapses: as little as can be.)
            at_once = self._resets_at_once(step.name)
            amount = (
                np.ones_like(threshold) if self.reset == "none" or at_once else self._rounded(found.amount * scale, f"{step.name}: reset")
            )
            taken = self._rounded(found.amount * (1 - found.share) * scale, f"{step.name}: reset") if at_once else amount
            values += [threshold, twice, amount]
        if not all(_are_of_channels(value, dims[-1]) for value in values):
            dims = (math.prod(dims),)  # the same neurons in a row, each its own channel
        of_channels = {name: _of_channels(value, dims[-1]) for name, value in leak.items()}
        if found.threshold is None:
            self.network.leaky_readout(step.name, dims, **of_channels)
            return
        for name, least in zip(self._integrating(step.name), (threshold, twice), strict=False):
            self.network.leaky(
                name,
                dims,
                _of_channels(least, dims[-1]),
                reset="value" if self.reset == "value" else "subtract",
                amount=_of_channels(amount, dims[-1]),
                refractory=int(step.name in self.membranes or self.reset == "none"),
                **of_channels,
            )
        if at_once:
            above, both = self._free(f"{step.name}.above"), self.membranes[step.name]
            gate_of_two(self.network, step.name, above, both, taken, leak["decay"], leak.get("current_decay"))
        elif step.name in self.membranes:
            gate(self.network, step.name, self.membranes[step.name][0], leak.get("current_decay"))
        if found.rest is not None:
            rest = self._rounded(found.rest * scale, f"{step.name}: reset, after the decay")
            feed(self.network, step.name, step.name, -rest, leak.get("current_decay"))

    def _reached(self, threshold: Array) -> IntArray:
        """The least potential that fires, as an integer; above is at least one more."""
        near = np.round(threshold)
        whole = np.where(
            np.abs(threshold - near) < np.minimum(1e-6 * near, 0.1), near, np.floor(threshold) if self.writer.strict else np.ceil(threshold)
        )
        return whole.astype(np.int64) + int(self.writer.strict)

    def _connect(self, path: Path, delay: float, term: Term, scale: float) -> None:
        """Synapses; what leads back takes a step at least, as in every time-stepped simulator."""
        if self.order.index(path.sender) >= self.order.index(path.receiver) and delay < 1:
            delay = 1.0
        grid = grid_of(self.shapes[path.receiver])
        receivers = self._integrating(path.receiver)
        source, target = (self.network.populations[name].shape for name in (path.sender, receivers[0]))
        rows = isinstance(term.operator, Matrix) and term.before == (1, 1)
        if not rows and (spatial(source), spatial(target)) != (term.grid, grid):
            term = as_map(term, grid)  # neurons of images that stand in a row
        weights = ScaledWeights(term, term.scale, None)
        real = np.concatenate([part.ravel() for _, part, _ in weights.parts()] or [np.zeros(0)])
        integers = self._rounded(real * scale, f"{path.sender}->{path.receiver}: weights").reshape(weights.shape)
        if not np.any(integers):
            return
        sparse = rows and np.count_nonzero(integers) < _DENSE * integers.size
        table = Sparse.from_matrix(integers) if sparse else table_of(term, integers, target)
        for receiver in receivers:
            self.network.connect(path.sender, receiver, table, delay=delay)

    def _decay(self, share: Array, what: str) -> IntArray:
        decay = np.round(share * DECAY_ONE).astype(np.int64)
        error = np.abs(decay / DECAY_ONE - share) / np.where(share > 0, share, 1)
        if error.max() > _NOTED:
            worst = int(error.argmax())
            self.remarks.append(
                f"{what}: {share[worst]:.6g} a step becomes {decay[worst]}/{DECAY_ONE}, {100 * error[worst]:.2g} % off "
                "(the most of its neurons)"
            )
        return decay

    def _rounded(self, values: Array, what: str) -> IntArray:
        whole = np.round(values)
        largest = float(np.abs(values).max(initial=0))
        error = float(np.abs(values - whole).max(initial=0))
        if error > _NOTED * max(1.0, largest):
            self.remarks.append(f"{what}: rounded by up to {error / largest:.1g} of the largest")
        return whole.astype(np.int64)


def _last(shape: Shape) -> Shape:
    """A shape channel last."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def _of_channels(values: IntArray, channels: int) -> IntArray:
    """Values per neuron that are the same within a channel, as one per channel."""
    return values.reshape(-1, channels)[0]


def _are_of_channels(values: IntArray, channels: int) -> bool:
    rows = values.reshape(-1, channels)
    return bool(np.all(rows == rows[0]))
