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


def snntorch(kind="Leaky", reset="subtract", delay=True, little=False):
    """Neurons of a kind, and leaky ones behind them; with ``little``, which keep little of their potential, or nothing of it."""

    def make(seed, x, integers):
        import snntorch
        import torch
        from snntorch.export_nir import export_to_nir

        def neurons(size, beta, threshold, kind):
            values = {"beta": torch.full((size,), beta), "threshold": torch.full((size,), threshold)}
            values |= {"alpha": torch.full((size,), 0.5)} if "Synaptic" in kind else {}
            values |= {"linear_features": size} if kind[0] == "R" else {}
            made = getattr(snntorch, kind)(**values, init_hidden=True, reset_mechanism=reset, reset_delay=delay)
            if integers and kind[0] == "R":
                made.recurrent.weight.data = torch.round(made.recurrent.weight.data * 30)
                made.recurrent.bias.data[:] = 0
            return made

        theta = (8.0, 9.0) if integers else (0.5, 0.3)
        beta = (0.5, 0.75) if integers else (0.9, 0.8)
        if little:
            beta = (0.0, 1 / 128)
        first, second = neurons(HIDDEN, beta[0], theta[0], kind), neurons(OUTPUTS, beta[1], theta[1], "Leaky")
        module = torch.nn.Sequential(*layers(seed, first, second, integers))
        graph = export_to_nir(module, torch.zeros(1, INPUTS), ignore_dims=[0])
        for layer in module:
            if hasattr(layer, "reset_mem"):
                layer.reset_mem()
        settings = {"writer": "snntorch", "reset": "value" if reset == "zero" else reset, "reset_delay": delay}
        return graph, settings, stepped(module, x)

    return make


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
    "snntorch Leaky": snntorch(),
    "snntorch Leaky, by subtraction at once": snntorch(delay=False),
    "snntorch Leaky to zero": snntorch(reset="zero"),
    "snntorch Leaky that keeps little": snntorch(little=True),
    "snntorch Leaky without a reset": snntorch(reset="none"),
    "snntorch RLeaky, Leaky": snntorch("RLeaky"),
    "snntorch RLeaky, Leaky, by subtraction at once": snntorch("RLeaky", delay=False),
    "snntorch RLeaky, Leaky to zero": snntorch("RLeaky", "zero"),
    "snntorch Synaptic, Leaky": snntorch("Synaptic"),
    "snntorch Synaptic, Leaky, by subtraction at once": snntorch("Synaptic", delay=False),
    "snntorch Synaptic, Leaky to zero": snntorch("Synaptic", "zero"),
    "snntorch Synaptic, Leaky to zero at once": snntorch("Synaptic", "zero", delay=False),
    "snntorch Synaptic, Leaky that keep little": snntorch("Synaptic", little=True),
    "snntorch Synaptic, Leaky without a reset": snntorch("Synaptic", "none"),
    "snntorch RSynaptic, Leaky": snntorch("RSynaptic"),
    "snntorch RSynaptic, Leaky to zero": snntorch("RSynaptic", "zero"),
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
