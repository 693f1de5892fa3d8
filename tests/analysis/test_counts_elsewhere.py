"""One recorded run, counted by others: by the packages where they are installed, by their stated formulas always."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from repository import ROOT
from scipy.signal import correlate

import eventsim as es
from eventsim.analysis.counting import count_operations

STEPS = 12


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A clocked run of a shipped network without signed neurons: spikes are 0 or 1 in every step."""
    path = tmp_path_factory.mktemp("counts") / "run.h5"
    net = es.load(ROOT / "networks" / "lenet-relu-mnist.h5")
    digit = np.asarray(Image.open(ROOT / "datasets" / "samples" / "digit-3.png"))
    es.run(net, digit, steps=STEPS, resolution=1, trace=path)
    with es.Trace(path) as trace:
        report = {row.name: row for row in count_operations([trace]).rows}
        rasters = {}
        for p in trace.info.projections:
            steps = [trace.spike_counts(p.source, t, t + 1) for t in range(STEPS)]
            rasters[p.name] = np.stack(steps).astype(np.float32)
            assert set(np.unique(rasters[p.name])) <= {0.0, 1.0}
    return net, report, rasters


def layers(net):
    return [(p.name, p.table) for p in net.projections]


def torch_layer(table, raster):
    """The projection's layer before pooling, with weights of ones, and the raster as it takes it: (steps, channels, height, width)."""
    torch = pytest.importorskip("torch")
    if isinstance(table, es.Conv2d):
        height, width, inputs, outputs = table.weights.shape
        layer = torch.nn.Conv2d(inputs, outputs, (height, width), table.stride, 1, bias=False)
        x = torch.from_numpy(raster.transpose(0, 3, 1, 2).copy())
    else:
        layer = torch.nn.Linear(*table.weights.shape, bias=False)
        x = torch.from_numpy(raster.reshape(len(raster), -1))
    with torch.no_grad():
        layer.weight.fill_(1)
    return layer, x


def test_snn_toolbox_formula(recorded):
    """Spikes times kernel height x width x filters (convolutions), or units (dense): the toolbox's operation count."""
    net, report, rasters = recorded
    for name, table in layers(net):
        fan_out = np.prod(table.weights.shape[:2]) * table.weights.shape[3] if isinstance(table, es.Conv2d) else table.weights.shape[1]
        assert report[name].toolbox == rasters[name].sum() * fan_out > 0


def test_synaptic_events_by_dense_convolution(recorded):
    """Every spike reaches every position of the unpooled output that its kernel covers: a sum over convolutions with ones."""
    net, report, rasters = recorded
    for name, table in layers(net):
        if isinstance(table, es.Conv2d):
            ones = np.ones(table.weights.shape[:2])
            total = sum(correlate(step, ones, mode="same").sum() for step in rasters[name].sum(3)) * table.weights.shape[3]
        else:
            total = rasters[name].sum() * table.weights.shape[1]
        assert report[name].synaptic_events == round(total)


def test_sinabs(recorded):
    sinabs = pytest.importorskip("sinabs.hooks")
    net, report, rasters = recorded
    for name, table in layers(net):
        layer, x = torch_layer(table, rasters[name])
        hook = sinabs.conv_layer_synops_hook if isinstance(table, es.Conv2d) else sinabs.linear_layer_synops_hook
        layer.register_forward_hook(hook)
        layer(x)
        per_step = float(layer.hook_data["layer_synops_per_timestep"])
        assert per_step * STEPS == pytest.approx(report[name].synaptic_events, rel=1e-6)


def test_spikingjelly(recorded):
    counters = pytest.importorskip("spikingjelly.activation_based.op_counter")
    torch = pytest.importorskip("torch")
    net, report, rasters = recorded
    for name, table in layers(net):
        layer, x = torch_layer(table, rasters[name])
        with torch.no_grad():
            # It counts a binary operand as spikes: weights must not look like some.
            layer.weight.fill_(0.5)
        counter = counters.SynOpCounter()
        with counters.DispatchCounterMode([counter]):
            layer(x)
        assert counter.get_total() == report[name].synaptic_events


def test_neurobench(recorded):
    layers_ = pytest.importorskip("neurobench.metrics.utils.layers")
    net, report, rasters = recorded
    for name, table in layers(net):
        layer, x = torch_layer(table, rasters[name])
        weights = np.asarray(table.weights)
        with pytest.importorskip("torch").no_grad():
            order = (3, 2, 0, 1) if weights.ndim == 4 else (1, 0)
            layer.weight.copy_(pytest.importorskip("torch").from_numpy(weights.transpose(order).astype(np.float32)))
        acs, spiking = layers_.single_layer_MACs(x, layer)
        dense, _ = layers_.single_layer_MACs(x, layer, total=True)
        assert spiking
        assert int(acs) == report[name].neurobench_acs
        assert int(dense) == report[name].neurobench_dense
