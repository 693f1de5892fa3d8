"""Synapse tables: every fast count and product against brute force; what tables and networks refuse."""

from __future__ import annotations

import numpy as np
import pytest
from judges import dense_loop
from judges.engines import run_both
from judges.random_networks import pick, random_conv, random_shape, random_table
from scipy.sparse import csr_array

from eventsim.errors import NetworkError
from eventsim.job.preparation import prepare
from eventsim.model.network import Network
from eventsim.model.tables import Conv2d, Dense, Sparse, integer_weights, spatial


def random_join(rng):
    """A random source shape, table and target shape."""
    source = random_shape(rng)
    table, target = random_table(rng, source, pick(rng, 1, 1, 300, 70_000))
    return source, table, target


def toolbox_by_loops(table, source, target):
    """SNN Toolbox's fan-out, neuron by neuron, as its documentation words it.

    Stride 1: kernel area times filters, borders ignored. Otherwise a neuron reaches, along each axis, the output at
    ``(position + padding) // stride`` in any case, and the outputs before it that its distance still lets the kernel cover
    and that exist.
    """
    if table.kind != "conv2d":
        return dense_loop.unroll(table, source, target).synapses.sum(1)
    kernel, c_out = table.weights.shape[:2], table.weights.shape[3]
    fan_out = []
    for y in range(spatial(source)[0]):
        for x in range(spatial(source)[1]):
            reached = 1
            for axis, position in enumerate((y, x)):
                if table.stride == (1, 1):
                    reached *= kernel[axis]
                    continue
                stride, outputs = table.stride[axis], spatial(target)[axis] * table.pool_after[axis]
                last, distance = divmod(position + table.padding[axis], stride)
                along, i = 1, 1
                while distance + i * stride < kernel[axis]:
                    along += 0 <= last - i < outputs
                    i += 1
                reached *= along
            fan_out += [reached * c_out] * spatial(source)[2]
    return np.array(fan_out)


@pytest.mark.parametrize("salt", range(4))
def test_random_tables_equal_brute_force(salt):
    """400 random tables: synapses, counts and products against the matrices of the dense loop."""
    for i in range(100):
        rng = np.random.default_rng([salt, i])
        source, table, target = random_join(rng)
        n_source, n_target = int(np.prod(source)), int(np.prod(target))
        table.check(source, target)
        unrolled = dense_loop.unroll(table, source, target)
        weights, synapses = np.zeros((n_source, n_target), np.int64), np.zeros((n_source, n_target), np.int64)
        nonzero = np.zeros((n_source, n_target), np.int64)
        for neuron in range(n_source):
            for j, weight in table.synapses_from(neuron, source, target):
                weights[neuron, j] += weight
                synapses[neuron, j] += 1
                nonzero[neuron, j] += weight != 0
        where = f"table {[salt, i]} {table}"
        np.testing.assert_array_equal(weights, unrolled.weights, err_msg=where)
        np.testing.assert_array_equal(synapses, unrolled.synapses, err_msg=where)
        np.testing.assert_array_equal(nonzero, unrolled.nonzero, err_msg=where)
        np.testing.assert_array_equal(table.fan_out(source, target), synapses.sum(1), err_msg=where)
        np.testing.assert_array_equal(table.additions(source, target), (synapses > 0).sum(1), err_msg=where)
        np.testing.assert_array_equal(table.effective_fan_out(source, target), nonzero.sum(1), err_msg=where)
        if table.kind != "conv2d" or table.pool_before == (1, 1):  # the toolbox knows no source that is pooled on the way
            np.testing.assert_array_equal(table.toolbox_fan_out(source, target), toolbox_by_loops(table, source, target), err_msg=where)
        values = rng.integers(-300, 300, source)
        product = table.apply(values.reshape(spatial(source)), target)
        assert product.dtype == np.int64
        np.testing.assert_array_equal(product, values.ravel() @ weights, err_msg=where)
        distinct = set(np.abs(table.weights).ravel().tolist())
        assert table.magnitude == (distinct.pop() if len(distinct) == 1 and 0 not in distinct else None)


def test_macs_are_those_of_the_dense_source_layer():
    # A MAC per kernel weight and output position before pooling, padding included; per entry of a dense or sparse table.
    conv = Conv2d(np.ones((3, 3, 2, 5), int), padding=1, pool_after=2)
    assert conv.macs((4, 4, 2), (2, 2, 5)) == 4 * 4 * 3 * 3 * 2 * 5
    assert Conv2d(np.ones((3, 2, 2, 5), int), stride=(2, 1)).macs((5, 4, 2), (2, 3, 5)) == 2 * 3 * 3 * 2 * 2 * 5
    assert Conv2d(np.ones((3, 3, 2, 5), int), padding=1, pool_before=2).macs((8, 8, 2), (4, 4, 5)) == 4 * 4 * 3 * 3 * 2 * 5
    assert Dense(np.ones((12, 7), int)).macs((12,), (7,)) == 84
    assert Sparse([0, 2, 2, 3], [0, 4, 1], [1, 0, 2], 5).macs((3,), (5,)) == 3
    # Without padding and dropped windows every MAC is a synapse.
    for i in range(100):
        rng = np.random.default_rng(i)
        source = random_shape(rng)
        table = random_conv(rng, source)
        if table.padding == (0, 0, 0, 0) and table.pool_before == (1, 1):
            target = table.output_shape(source)
            assert table.macs(source, target) == table.fan_out(source, target).sum()


def test_a_stride_beyond_the_kernel_leaves_holes():
    # Kernel 1, stride 2, pooled by 2: outputs at 0, 2 | 4, 6 of 8. The odd positions reach nothing and cost nothing.
    table = Conv2d(np.full((1, 1, 1, 3), 7), stride=2, pool_after=(2, 1))
    assert table.output_shape((8, 1, 1)) == (2, 1, 3)
    expected = [3, 0, 3, 0, 3, 0, 3, 0]
    assert table.fan_out((8, 1, 1), (2, 1, 3)).tolist() == expected
    assert table.additions((8, 1, 1), (2, 1, 3)).tolist() == expected


def test_fixture_of_the_definitions():
    """Conv 2x4x4 -> 3x4x4, kernel 3, padding 1: the numbers that the definitions of the counts fix."""
    source, target = (4, 4, 2), (4, 4, 3)
    table = Conv2d(np.ones((3, 3, 2, 3), int), padding=1)
    assert table.output_shape(source) == target
    spikes = np.zeros(source, int)  # (y, x, channel)
    spikes[0, 0, 0], spikes[1, 2, 1], spikes[2, 2, 0] = 1, 1, 3
    # The corner has 4 taps, the two inner positions 9: (4 + 9 + 3 * 9) * 3 filters.
    assert spikes.ravel() @ table.fan_out(source, target) == 120
    assert spikes.ravel() @ table.toolbox_fan_out(source, target) == 5 * 9 * 3 == 135
    # Taps along an axis of 4: 2, 3, 3, 2; so 10 * 10 * 2 * 3, against 16 positions * 2 * 9 * 3.
    assert table.fan_out(source, target).sum() == 600
    assert table.toolbox_fan_out(source, target).sum() == table.macs(source, target) == 864


def test_fixture_of_the_definitions_through_a_run():
    net = Network()
    net.source("in", (4, 4, 2))
    net.readout("out", (4, 4, 3))
    net.connect("in", "out", Conv2d(np.ones((3, 3, 2, 3), int), padding=1))
    neurons = [0, (1 * 4 + 2) * 2 + 1] + [(2 * 4 + 2) * 2] * 3
    counts, _ = run_both(prepare(net, {"in": ([1, 1, 1, 2, 3], neurons)}, steps=3))
    assert counts.synaptic_events.sum() == counts.effective.sum() == counts.additions.sum() == 120
    assert counts.toolbox.sum() == 135
    assert counts.synaptic_events[:, 0].tolist() == [(4 + 9 + 9) * 3, 27, 27]


def test_pooling_costs():
    # 4 x 4, kernel 3, padding 1, pool 2: a corner has 4 taps in one window; (1, 1) has 9 taps in 4 windows.
    table = Conv2d(np.ones((3, 3, 1, 1), int), padding=1, pool_after=2)
    fan_out, additions = table.fan_out((4, 4, 1), (2, 2, 1)), table.additions((4, 4, 1), (2, 2, 1))
    assert (fan_out[0], additions[0]) == (4, 1)
    assert (fan_out[5], additions[5]) == (9, 4)
    # An incomplete window at the end is dropped: the last row and column of 5 reach nothing.
    before = Conv2d(np.ones((1, 1, 1, 1), int), pool_before=2)
    assert before.fan_out((5, 5, 1), (2, 2, 1)).reshape(5, 5).tolist() == [[1, 1, 1, 1, 0]] * 4 + [[0] * 5]


def test_products_stay_exact_beyond_float64():
    # 2**61 - 2**30 + 1 is odd and needs 61 bits; three products of (2**31 - 1)**2 may need 64.
    big = 2**31 - 1
    assert Dense([[big], [1]]).apply(np.array([2**30, 1]), (1,)).tolist() == [big * 2**30 + 1]
    with pytest.raises(NetworkError, match="64-bit"):
        Dense([[big], [big], [big]]).apply(np.array([big, big, big]), (1,))


# ----------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([127, -128], np.int8),
        ([128], np.int16),
        ([-129], np.int16),
        ([32767, -32768], np.int16),
        ([32768], np.int32),
        ([2**31 - 1], np.int32),
    ],
)
def test_weights_take_the_smallest_type(values, dtype):
    found = integer_weights(np.array(values), "w")
    assert found.dtype == dtype
    assert found.tolist() == values


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense([[0.5]]), "integers"),
        (lambda: Dense([[True]]), "integers"),
        (lambda: Dense([[2**31]]), "limit"),
        (lambda: Dense([[-(2**31)]]), "limit"),
        (lambda: Dense([1, 2]), "source neurons, target neurons"),
        (lambda: Dense(np.zeros((0, 3), int)), "source neurons, target neurons"),
        (lambda: Dense([[1]], pool_before=0), "pool_before"),
        (lambda: Conv2d(np.ones((3, 3), int)), "kernel height"),
        (lambda: Conv2d(np.ones((3, 3, 0, 1), int)), "kernel height"),
        (lambda: Conv2d(np.ones((3, 3, 1, 1), int), stride=0), "stride"),
        (lambda: Conv2d(np.ones((3, 3, 1, 1), int), stride=1.5), "stride"),
        (lambda: Conv2d(np.ones((3, 3, 1, 1), int), stride=(1, 1, 1)), "stride"),
        (lambda: Conv2d(np.ones((3, 3, 1, 1), int), padding=-1), "padding"),
        (lambda: Conv2d(np.ones((3, 3, 1, 1), int), padding=3), "smaller than the kernel"),
        (lambda: Conv2d(np.ones((3, 2, 1, 1), int), padding=(2, 1, 2, 2)), "smaller than the kernel"),
        (lambda: Conv2d(np.ones((3, 3, 1, 1), int), pool_after=True), "pool_after"),
        (lambda: Sparse([0, 1], [0], [0.5], 1), "integers"),
        (lambda: Sparse([0, 1], [0.0], [1], 1), "integer arrays"),
        (lambda: Sparse([0], np.zeros(0, int), np.zeros(0, int), 1), "indptr"),
        (lambda: Sparse([1, 1], [0], [1], 1), "indptr"),
        (lambda: Sparse([0, 2], [0], [1], 1), "indptr"),
        (lambda: Sparse([0, 1, 0, 1], [0], [1], 1), "indptr"),
        (lambda: Sparse([0, 1], [0], [1, 2], 1), "weights"),
        (lambda: Sparse([0, 1], [1], [1], 1), "target indices"),
        (lambda: Sparse([0, 1], [-1], [1], 1), "target indices"),
        (lambda: Sparse([0, 2], [1, 1], [1, 1], 2), "ascend"),
        (lambda: Sparse([0, 2], [1, 0], [1, 1], 2), "ascend"),
        (lambda: Sparse([0, 0, 2, 2], [1, 0], [1, 1], 2), "ascend"),
    ],
)
def test_tables_that_make_no_sense(make, message):
    with pytest.raises(NetworkError, match=message):
        make()


def test_sparse_rows_may_start_below_where_the_last_ended():
    table = Sparse([0, 2, 2, 4, 4], [3, 4, 0, 4], [1, 2, 3, 4], 5)
    assert table.fan_out((4,), (5,)).tolist() == [2, 0, 2, 0]
    matrix = np.array([[0, 3, 0], [0, 0, 0], [-2, 0, 1]])
    for form in (matrix, csr_array(matrix)):
        table = Sparse.from_matrix(form)
        np.testing.assert_array_equal(dense_loop.unroll(table, (3,), (3,)).weights, matrix)


@pytest.mark.parametrize(
    ("table", "source", "target", "message"),
    [
        (Conv2d(np.ones((3, 3, 2, 1), int)), (5, 5, 1), (3, 3, 1), "input channels"),
        (Conv2d(np.ones((3, 3, 1, 1), int)), (2, 5, 1), (1, 3, 1), "too small"),
        (Conv2d(np.ones((3, 3, 1, 1), int), pool_after=4), (5, 5, 1), (1, 1, 1), "too small"),
        (Conv2d(np.ones((3, 3, 1, 1), int)), (5, 5, 1), (3, 2, 1), "makes"),
        (Conv2d(np.ones((3, 3, 1, 1), int)), (5, 5, 1), (9,), "makes"),
        (Dense(np.ones((4, 2), int)), (5,), (2,), "source neurons"),
        (Dense(np.ones((4, 2), int), pool_before=2), (4, 4, 2), (2,), "pooled"),
        (Dense(np.ones((4, 2), int)), (4,), (3,), "target"),
        (Sparse([0, 1], [0], [1], 2), (2,), (2,), "rows"),
        (Sparse([0, 1], [0], [1], 2), (1,), (3,), "columns"),
    ],
)
def test_tables_that_do_not_fit(table, source, target, message):
    with pytest.raises(NetworkError, match=message):
        table.check(source, target)
    net = Network()
    net.source("a", source)
    net.readout("b", target)
    with pytest.raises(NetworkError, match=f"a->b: .*{message}"):
        net.connect("a", "b", table)
    assert net.projections == []


def small():
    """A network to add wrong things to."""
    net = Network()
    net.driven("in", 4, 5)
    net.spiking("mid", (2, 2, 1), 3)
    net.readout("out", 2)
    net.source("src", 1, "clock")
    return net


ONE = Dense([[1]])


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda n: n.driven("in", 4, 5), "already"),
        (lambda n: n.spiking("", 4, 5), "name"),
        (lambda n: n.spiking("a/b", 4, 5), "name"),
        (lambda n: n.spiking("-a", 4, 5), "name"),
        (lambda n: n.spiking("a" * 101, 4, 5), "name"),
        (lambda n: n.spiking("a", 0, 5), "shape"),
        (lambda n: n.spiking("a", (2, 2), 5), "shape"),
        (lambda n: n.spiking("a", (2, 2, 1.5), 5), "shape"),
        (lambda n: n.spiking("a", (2**20, 2**20, 2**20), 5), "more than"),
        (lambda n: n.spiking("a", 4, 0), "thresholds"),
        (lambda n: n.spiking("a", 4, 2**31), "thresholds"),
        (lambda n: n.spiking("a", 4, 1.5), "integers"),
        (lambda n: n.spiking("a", 4, [1, 2, 3]), "per channel"),
        (lambda n: n.spiking("a", (4, 4, 2), [1, 2, 3, 4]), "per channel"),
        (lambda n: n.spiking("a", 4, 1, v0=2**31), "v0"),
        (lambda n: n.spiking("a", 4, 1, v0=-(2**31) - 1), "v0"),
        (lambda n: n.spiking("a", 4, 1, refractory=-1), "refractory"),
        (lambda n: n.spiking("a", 4, 1, refractory=float("nan")), "refractory"),
        (lambda n: n.spiking("a", 4, 1, refractory=2e6), "refractory"),
        (lambda n: n.spiking("a", 4, 1, onset=-1), "onset"),
        (lambda n: n.spiking("a", 4, 1, onset=float("inf")), "onset"),
        (lambda n: n.spiking("a", 4, 1, reset="none"), "reset"),
        (lambda n: n.spiking("a", 4, 1, reset="zero", signed=True), "signed"),
        (lambda n: n.driven("a", 4, 1, encoder=Dense([[1] * 4])), "image_input"),
        (lambda n: n.image_input((4, 4)), "shape"),
        (lambda n: n.image_input((4,)), "height"),
        (lambda n: n.image_input((4, 4, 3), scale=[1, 2]), "per channel"),
        (lambda n: n.source("a", 4, "now and then"), "emits"),
        (lambda n: n.source("a", 4, rate=0.5), "rates"),
        (lambda n: n.source("a", 4, "poisson", rate=1.5), "0..1"),
        (lambda n: n.source("a", 4, "poisson", rate=float("nan")), "0..1"),
        (lambda n: n.source("a", 4, "poisson", rate=[0.1, 0.2]), "shape"),
        (lambda n: n.connect("out", "mid", Dense(np.ones((2, 4), int)), delay=1), "never fires"),
        (lambda n: n.connect("mid", "in", Dense(np.ones((4, 4), int))), "takes no spikes"),
        (lambda n: n.connect("mid", "src", Dense(np.ones((4, 1), int))), "takes no spikes"),
        (lambda n: n.connect("nobody", "mid", ONE), "no population 'nobody'"),
        (lambda n: n.connect("mid", "nobody", ONE), "no population 'nobody'"),
        (lambda n: n.connect("mid", "out", Dense(np.ones((4, 2), int)), delay=-0.5), "delay"),
        (lambda n: n.connect("mid", "out", Dense(np.ones((4, 2), int)), delay=float("inf")), "delay"),
        (lambda n: n.connect("mid", "out", Dense(np.ones((4, 2), int)), name="a/b"), "name"),
        (lambda n: n.connect("mid", "out", [[0.5, 1]] * 4), "integers"),
        (lambda n: n.bias("mid", [1, 2]), "bias of mid"),
        (lambda n: n.bias("in", 1), "takes no spikes"),
    ],
)
def test_networks_that_make_no_sense(do, message):
    with pytest.raises(NetworkError, match=message):
        do(small())


def test_whole_networks_that_make_no_sense():
    with pytest.raises(NetworkError, match="no populations"):
        Network().check()
    net = small()
    net.output = "mid"
    with pytest.raises(NetworkError, match="not a readout"):
        net.check()
    net = small()
    net.labels = ["a", "b", "c"]
    with pytest.raises(NetworkError, match="3 labels"):
        net.check()
    net.labels = ["a", "b"]
    net.check()


def test_names_of_repeated_projections():
    net = small()
    for _ in range(3):
        net.connect("mid", "out", np.ones((4, 2), int))
    assert [p.name for p in net.projections] == ["mid->out", "mid->out+2", "mid->out+3"]
    with pytest.raises(NetworkError, match="already a projection"):
        net.connect("mid", "out", np.ones((4, 2), int), name="mid->out+2")


def test_connect_takes_matrices():
    net = small()
    matrix = np.array([[1, 0], [0, 2], [0, 0], [3, 0]])
    net.connect("mid", "out", matrix)
    net.connect("mid", "out", csr_array(matrix))
    assert [p.table.kind for p in net.projections] == ["dense", "sparse"]
    for p in net.projections:
        np.testing.assert_array_equal(dense_loop.unroll(p.table, (2, 2, 1), (2,)).weights, matrix)


def test_bias_per_channel_and_per_neuron():
    net = Network()
    net.spiking("a", (1, 2, 2), 1)
    net.bias("a", [5, -5])
    net.readout("b", (1, 2, 2))
    net.bias("b", [1, 2, 3, 4])
    assert net.projections[0].table.weights.tolist() == [[5, -5, 5, -5]]
    assert net.projections[1].table.weights.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("weights", "magnitude"),
    [
        ([[-2, 2], [2, -2]], 2),
        ([[2, -2], [-2, -2]], 2),
        ([[-128, -128], [-128, -128]], 128),
        ([[1, 0], [-1, 1]], None),
        ([[0, 1], [1, -1]], None),
        ([[0, 0], [0, 0]], None),
        ([[-1, 1], [1, -2]], None),
        ([[-(2**31) + 1, 2**31 - 1]] * 2, 2**31 - 1),
    ],
)
def test_what_is_binary(weights, magnitude):
    """Two values of one magnitude, in whatever order they come; a zero is a third."""
    array = np.array(weights)
    assert Dense(array).magnitude == magnitude
    assert Conv2d(array.reshape(1, 1, 2, 2)).magnitude == magnitude
    assert Sparse([0, 2, 4], [0, 1, 0, 1], array.ravel(), 2).magnitude == magnitude


def test_toolbox_fan_out_by_hand():
    def along(size, kernel, **settings):
        table = Conv2d(np.ones((kernel, 1, 1, 1), int), **settings)
        source = (size, 1, 1)
        return table.toolbox_fan_out(source, table.output_shape(source)).tolist()

    # Stride 1: the whole kernel for every neuron, at the border, and where a pool before or after the convolution drops it.
    assert along(4, 3) == along(4, 3, padding=(1, 0, 1, 0)) == [3] * 4
    assert along(5, 2, pool_before=(2, 1)) == along(5, 2, pool_after=(3, 1)) == [2] * 5
    # Stride 2, kernel 3, padding 1: outputs 0..2 begin at -1, 1, 3; a position reaches the one at or before it, and the one before if near.
    assert along(5, 3, stride=(2, 1), padding=(1, 0, 1, 0)) == [1, 2, 1, 2, 1]
    # Kernel 5, no padding, outputs begin at 0, 2, 4: the second half of the kernel counts only if there is an output.
    assert along(9, 5, stride=(2, 1)) == [1, 1, 2, 2, 3, 2, 3, 2, 2]
    # The third output is cropped by the pool: what reached it counts once all the same.
    assert along(9, 5, stride=(2, 1), pool_after=(2, 1)) == [1, 1, 2, 2, 3, 2, 2, 1, 1]
