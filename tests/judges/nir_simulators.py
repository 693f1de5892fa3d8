"""Random networks of leaky neurons in other simulators: their NIR graphs as they export them, and their own spikes."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

import eventsim as es

INPUTS, HIDDEN, OUTPUTS = 20, 30, 10


def layers(seed, first, second, integers):
    """Two linear layers with neurons behind them; with ``integers``, weights are whole numbers without biases."""
    import torch

    torch.manual_seed(seed)
    linear = [torch.nn.Linear(*sizes, bias=not integers) for sizes in ((INPUTS, HIDDEN), (HIDDEN, OUTPUTS))]
    if integers:
        for layer in linear:
            layer.weight.data = torch.round(layer.weight.data * 30)
    return linear[0], first, linear[1], second


def stepped(module, x):
    """Spikes of a module that keeps its state, step by step."""
    import torch

    with torch.no_grad():
        found = [module(torch.tensor(step[None])) for step in x]
    return np.concatenate([(spikes[0] if isinstance(spikes, tuple) else spikes).numpy() for spikes in found])


def snntorch(seed, x, integers, neurons=None, reset="subtract"):
    """Reset by subtraction unless told otherwise; neurons of a kind, and leaky ones behind them."""
    import snntorch
    import torch
    from snntorch.export_nir import export_to_nir

    def constant(size, value):
        return torch.full((size,), value)

    def leaky(size, beta, threshold, **more):
        values = {"beta": constant(size, beta), "threshold": constant(size, threshold)}
        return snntorch.Leaky(**values, init_hidden=True, reset_mechanism=reset, **more)

    def current(size, beta, threshold, kind=snntorch.Synaptic, **more):
        decays = {"alpha": constant(size, 0.5), "beta": constant(size, beta)}
        return kind(**decays, threshold=constant(size, threshold), init_hidden=True, reset_mechanism=reset, **more)

    def recurrent(size, beta, threshold, **more):
        made = current(size, beta, threshold, snntorch.RSynaptic, linear_features=size, **more)
        if integers:
            made.recurrent.weight.data = torch.round(made.recurrent.weight.data * 30)
            made.recurrent.bias.data[:] = 0
        return made

    made = {None: leaky, "current": current, "recurrent": recurrent}[neurons]
    theta = (8.0, 9.0) if integers else (0.5, 0.3)
    beta = (0.5, 0.75) if integers else (0.9, 0.8)
    module = torch.nn.Sequential(*layers(seed, made(HIDDEN, beta[0], theta[0]), leaky(OUTPUTS, beta[1], theta[1]), integers))
    graph = export_to_nir(module, torch.zeros(1, INPUTS), ignore_dims=[0])
    for layer in module:
        if hasattr(layer, "reset_mem"):
            layer.reset_mem()
    return graph, {"writer": "snntorch", "reset": "subtract" if reset == "subtract" else "value"}, stepped(module, x)


def snntorch_zero(seed, x, integers):
    """Reset to zero."""
    return snntorch(seed, x, integers, reset="zero")


def snntorch_current(seed, x, integers):
    """With a synaptic current."""
    return snntorch(seed, x, integers, "current")


def snntorch_recurrent(seed, x, integers):
    """With a synaptic current and weights that lead back."""
    return snntorch(seed, x, integers, "recurrent")


def spikingjelly(seed, x, integers, decay_input=True, current=False):
    """Reset to zero; behind leaky neurons such that do not leak."""
    import torch
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    theta = (4.0, 9.0) if integers else (0.2, 0.5)
    first = neuron.LIFNode(tau=4.0, decay_input=decay_input, v_threshold=theta[0])
    if current:
        first = neuron.CUBALIFNode(c_decay=0.5, v_decay=0.75, v_threshold=4 * theta[0])
    module = torch.nn.Sequential(*layers(seed, first, neuron.IFNode(v_threshold=theta[1]), integers))
    graph = export_to_nir(module, torch.zeros(1, INPUTS))
    functional.reset_net(module)
    return graph, {"writer": "spikingjelly"}, stepped(module, x)


def spikingjelly_undecayed(seed, x, integers):
    """Its inputs are not scaled by the time constant."""
    return spikingjelly(seed, x, integers, decay_input=False)


def spikingjelly_current(seed, x, integers):
    """With a synaptic current."""
    return spikingjelly(seed, x, integers, current=True)


def sinabs(seed, x, integers):
    """Exponential decays, one spike a step."""
    import sinabs.activation
    import torch
    from sinabs.layers import IAFSqueeze, LIFSqueeze
    from sinabs.nir import to_nir

    def neurons(tau, threshold):
        settings = {"batch_size": 1, "spike_threshold": torch.tensor(threshold), "spike_fn": sinabs.activation.SingleSpike}
        if integers:
            return IAFSqueeze(min_v_mem=None, **settings)
        return LIFSqueeze(tau_mem=torch.tensor(tau), **settings)

    theta = (10.0, 12.0) if integers else (0.1, 0.1)
    module = torch.nn.Sequential(*layers(seed, neurons(10.0, theta[0]), neurons(5.0, theta[1]), integers))
    graph = to_nir(module, torch.zeros(1, INPUTS))
    for layer in module:
        if hasattr(layer, "reset_states"):
            layer.reset_states()
    with torch.no_grad():
        return graph, {"writer": "sinabs"}, module(torch.tensor(x)).numpy()


def norse(seed, x, integers, current=False):
    """Reset to zero, without a synaptic current or with one."""
    import norse.torch as norse
    import torch
    from norse.torch.utils.export_nir import to_nir

    def neurons(threshold):
        # A step takes an eighth of potentials, and half of currents.
        inverse = {"tau_mem_inv": torch.tensor(125.0)} if integers else {}
        if current:
            inverse |= {"tau_syn_inv": torch.tensor(500.0)} if integers else {}
            return norse.LIFCell(norse.LIFParameters(v_th=torch.tensor(threshold), **inverse))
        return norse.LIFBoxCell(norse.LIFBoxParameters(v_th=torch.tensor(threshold), **inverse))

    theta = (1.0, 1.0) if integers else (0.1, 0.05)
    module = norse.SequentialState(*layers(seed, neurons(theta[0]), neurons(theta[1]), integers))
    graph = to_nir(module, torch.zeros(1, INPUTS))
    state, found = None, []
    with torch.no_grad():
        for step in x:
            spikes, state = module(torch.tensor(step[None]), state)
            found.append(spikes.numpy())
    return graph, {"writer": "norse"}, np.concatenate(found)


def norse_current(seed, x, integers):
    """With a synaptic current."""
    return norse(seed, x, integers, current=True)


SIMULATORS = {
    "snntorch Leaky": snntorch,
    "snntorch Leaky to zero": snntorch_zero,
    "snntorch Synaptic, Leaky": snntorch_current,
    "snntorch RSynaptic, Leaky": snntorch_recurrent,
    "spikingjelly LIFNode, IFNode": spikingjelly,
    "spikingjelly LIFNode(decay_input=False)": spikingjelly_undecayed,
    "spikingjelly CUBALIFNode, IFNode": spikingjelly_current,
    "sinabs LIF": sinabs,
    "norse LIFBoxCell": norse,
    "norse LIFCell": norse_current,
}


def importable(name):
    """Whether the simulator of this name is installed."""
    return all(find_spec(module) for module in (name.split()[0], "torch", "nir", "nirtorch"))


def compared(make, seed, steps, integers=False):
    """Spikes of the output layer there and here: (steps, neurons)."""
    x = (np.random.default_rng(seed).random((steps, INPUTS)) < 0.3).astype(np.float32)
    graph, settings, expected = make(seed, x, integers)
    net, _ = es.spiking_from_nir(graph, **settings)
    ticks, neurons = np.nonzero(x)
    source = next(name for name, p in net.populations.items() if p.emits == "events")
    run = es.run(net, {source: (ticks + 1.0, neurons)}, steps=steps, resolution=1)
    spikes = run.spikes([name for name, p in net.populations.items() if p.fires][-1])
    found = np.zeros_like(expected)
    found[spikes.ticks - 1, spikes.neurons] = 1
    return expected, found
