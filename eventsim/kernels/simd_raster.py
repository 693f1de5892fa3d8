"""Vector operations on rasters for compiled code: loops over ticks with the potentials of a location in registers.

A raster says of 32 adjacent neurons and a tick which of them spike, in a mask of 32 bits; the masks of consecutive ticks lie side by
side (:mod:`eventsim.engines.layered.ways.raster`). As in :mod:`eventsim.kernels.simd`, nothing is checked here, and NumPy functions take
the place of the compiled ones with the JIT off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from eventsim.kernels.simd import LANES, converted, load, pointer, splat

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


def _parts(context: Any, builder: Any, signature: Any, args: Any, *which: int) -> list[Any]:
    """Pointers to the data of these arguments, which are arrays."""
    return [context.make_array(signature.args[n])(context, builder, args[n]).data for n in which]


def _summer(taps: int, lanes: int, negative: bool) -> Any:
    """Add the weights of all spikes of a group of source neurons to the currents of its target locations, tick by tick.

    Arguments: ``current`` (int16), ``places`` (of the target locations in it, of which there are ``taps``; a tick is ``lanes`` further
    than the one before), ``masks``, ``words`` (places of masks in pairs, 64 neurons each), ``pairs``, ``ticks``, ``weights`` (int8:
    neuron, tap, lane), ``q`` (where they begin), ``limit``: so many weights can be added up in int8.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pairs, ticks, q, limit = args[4], args[5], args[7], args[8]
        current, places, masks, words, weights = _parts(context, builder, signature, args, 0, 1, 2, 3, 6)
        narrow, wide = ir.VectorType(_I8, lanes), ir.VectorType(_I16, lanes)
        sums = [cgutils.alloca_once(builder, narrow) for _ in range(taps)]
        left, bits = cgutils.alloca_once(builder, _I64), cgutils.alloca_once(builder, _I64)
        origin = builder.gep(weights, [q])
        targets = [builder.gep(current, [builder.load(builder.gep(places, [_I64(tap)]))]) for tap in range(taps)]

        def deliver(tick: Any) -> None:
            for target, total in zip(targets, sums, strict=True):
                place = builder.bitcast(builder.gep(target, [builder.mul(tick, _I64(lanes))]), wide.as_pointer())
                before, change = builder.load(place, align=2), builder.sext(builder.load(total), wide)
                builder.store(builder.sub(before, change) if negative else builder.add(before, change), place, align=2)
                builder.store(ir.Constant(narrow, None), total)
            builder.store(limit, left)

        def mask_of(pair: Any, half: int, tick: Any) -> Any:
            place = builder.load(builder.gep(words, [builder.add(builder.mul(pair, _I64(2)), _I64(half))]))
            return builder.zext(builder.load(builder.gep(masks, [builder.add(place, tick)])), _I64)

        for total in sums:
            builder.store(ir.Constant(narrow, None), total)
        builder.store(limit, left)
        with cgutils.for_range(builder, ticks) as tick:
            with cgutils.for_range(builder, pairs) as pair:
                low, high = (mask_of(pair.index, half, tick.index) for half in (0, 1))
                builder.store(builder.or_(low, builder.shl(high, _I64(32))), bits)
                first = builder.gep(origin, [builder.mul(pair.index, _I64(64 * taps * lanes))])
                head, body, end = (builder.append_basic_block(name) for name in ("bits", "bit", "bits.end"))
                builder.branch(head)
                builder.position_at_end(head)
                mask = builder.load(bits)
                builder.cbranch(builder.icmp_unsigned("!=", mask, _I64(0)), body, end)
                builder.position_at_end(body)
                neuron = builder.cttz(mask, ir.IntType(1)(1))
                builder.store(builder.and_(mask, builder.sub(mask, _I64(1))), bits)
                row = builder.gep(first, [builder.mul(neuron, _I64(taps * lanes))])
                for tap, total in enumerate(sums):
                    place = builder.bitcast(builder.gep(row, [_I64(tap * lanes)]), narrow.as_pointer())
                    builder.store(builder.add(builder.load(total), builder.load(place, align=1)), total)
                rest = builder.sub(builder.load(left), _I64(1))
                builder.store(rest, left)
                with builder.if_then(builder.icmp_unsigned("==", rest, _I64(0)), likely=False):
                    deliver(tick.index)
                builder.branch(head)
                builder.position_at_end(end)
            with builder.if_then(builder.icmp_unsigned("!=", builder.load(left), limit)):
                deliver(tick.index)
        return context.get_dummy_value()

    def typed(
        typing_context: Any, current: Any, places: Any, masks: Any, words: Any, pairs: Any, ticks: Any, weights: Any, q: Any, limit: Any
    ) -> Any:  # fmt: skip
        return types.void(current, places, masks, words, types.int64, types.int64, weights, types.int64, types.int64), generate

    return intrinsic(typed)


def _store_masks(builder: Any, masks: Any, m: Any, length: Any, tick: Any, flags: Any) -> None:
    """Flags of the lanes at a tick, to the masks of LANES neurons from place m on, of the next LANES a ``length`` further, ..."""
    count = flags.type.count // LANES
    whole = builder.bitcast(flags, ir.IntType(flags.type.count))
    for n in range(count):
        part = builder.trunc(builder.lshr(whole, whole.type(LANES * n)), _I32) if count > 1 else whole
        place = builder.add(builder.add(m, builder.mul(length, _I64(n))), tick)
        builder.store(part, builder.gep(masks, [place]))


def _charger(lanes: int) -> Any:
    """So many ticks of driven neurons: ``v += current``; those with v >= threshold spike and lose the threshold (int32 arrays)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, rate, theta, i, _, m, length, ticks = args
        rate, theta = (load(context, builder, signature.args[n], args[n], i, lanes) for n in (1, 2))
        place = pointer(context, builder, signature.args[0], args[0], i, lanes)
        (masks,) = _parts(context, builder, signature, args, 4)
        v = cgutils.alloca_once_value(builder, builder.load(place, align=4))
        with cgutils.for_range(builder, ticks) as tick:
            after = builder.add(builder.load(v), rate)
            fires = builder.icmp_signed(">=", after, theta)
            builder.store(builder.select(fires, builder.sub(after, theta), after), v)
            _store_masks(builder, masks, m, length, tick.index, fires)
        builder.store(builder.load(v), place, align=4)
        return context.get_dummy_value()

    def typed(typing_context: Any, v: Any, current: Any, threshold: Any, i: Any, masks: Any, m: Any, length: Any, ticks: Any) -> Any:
        return types.void(v, current, threshold, types.int64, masks, types.int64, types.int64, types.int64), generate

    return intrinsic(typed)


def _firer(lanes: int, signed: bool) -> Any:
    """So many ticks of integrate-and-fire neurons, from the currents that reach them; sets the currents to 0.

    Arguments: ``d`` (int32, distances to threshold) and the place ``i`` in it, ``current`` (int16) and ``j`` (a tick is ``lanes``
    further), ``unit`` (by which currents are multiplied), ``constant`` (int32, added at every tick) and ``k``, ``threshold`` (int32) and
    ``channel``, ``keep`` (0: reset to zero, -1: by subtraction), ``masks``, ``m``, ``length`` (see :func:`_store_masks`), ``ticks``; for
    signed neurons ``net`` (int32, as d) and ``negative`` (as masks) as well.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args
        _, i, _, j, unit, _, k, _, channel, keep, _, m, length, ticks = args[:14]
        d_place = pointer(context, builder, kind[0], args[0], i, lanes)
        constant = load(context, builder, kind[5], args[5], k, lanes)
        theta = load(context, builder, kind[7], args[7], channel, lanes)
        current, masks = _parts(context, builder, signature, args, 2, 10)
        wide, line = theta.type, ir.VectorType(_I16, lanes)
        unit, keep = splat(builder, builder.trunc(unit, _I16), lanes), splat(builder, builder.trunc(keep, _I32), lanes)
        d = cgutils.alloca_once_value(builder, builder.load(d_place, align=4))
        if signed:
            (negative,) = _parts(context, builder, signature, args, 15)
            net_place = pointer(context, builder, kind[14], args[14], i, lanes)
            net = cgutils.alloca_once_value(builder, builder.load(net_place, align=4))
            zero = ir.Constant(wide, None)
            low = builder.sub(zero, theta)
        with cgutils.for_range(builder, ticks) as tick:
            place = builder.bitcast(builder.gep(current, [builder.add(j, builder.mul(tick.index, _I64(lanes)))]), line.as_pointer())
            change = converted(builder, builder.mul(builder.load(place, align=2), unit), _I32)
            builder.store(ir.Constant(line, None), place, align=2)
            after = builder.add(builder.load(d), builder.add(change, constant))
            fires = builder.icmp_signed(">=", after, ir.Constant(wide, None))
            fired = builder.sub(builder.and_(after, keep), theta)
            result = builder.select(fires, fired, after)
            if signed:
                counted = builder.load(net)
                back = builder.and_(builder.icmp_signed("<", after, low), builder.icmp_signed(">", counted, zero))
                result = builder.select(back, builder.add(after, theta), result)
                # As numbers, flags are 0 and -1.
                counted = builder.add(builder.sub(counted, builder.sext(fires, wide)), builder.sext(back, wide))
                builder.store(counted, net)
                _store_masks(builder, negative, m, length, tick.index, back)
            builder.store(result, d)
            _store_masks(builder, masks, m, length, tick.index, fires)
        builder.store(builder.load(d), d_place, align=4)
        if signed:
            builder.store(builder.load(net), net_place, align=4)
        return context.get_dummy_value()

    def types_of(d: Any, current: Any, constant: Any, threshold: Any, masks: Any) -> tuple[Any, ...]:
        n = types.int64
        return d, n, current, n, n, constant, n, threshold, n, n, masks, n, n, n

    if signed:

        def with_signs(
            typing_context: Any, d: Any, i: Any, current: Any, j: Any, unit: Any, constant: Any, k: Any, threshold: Any, channel: Any,
            keep: Any, masks: Any, m: Any, length: Any, ticks: Any, net: Any, negative: Any,
        ) -> Any:  # fmt: skip
            return types.void(*types_of(d, current, constant, threshold, masks), net, negative), generate

        return intrinsic(with_signs)

    def without(
        typing_context: Any, d: Any, i: Any, current: Any, j: Any, unit: Any, constant: Any, k: Any, threshold: Any, channel: Any,
        keep: Any, masks: Any, m: Any, length: Any, ticks: Any,
    ) -> Any:  # fmt: skip
        return types.void(*types_of(d, current, constant, threshold, masks)), generate

    return intrinsic(without)


def _lister(negative: bool) -> Any:
    """``d += `` (or ``-=``) the int8 weights at ``base + places[n] * step`` for n < count, on LANES lanes; ``places`` are int32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = pointer(context, builder, signature.args[0], args[0], args[1], LANES)
        weights, places = _parts(context, builder, signature, args, 2, 5)
        element, line = context.get_data_type(signature.args[0].dtype), ir.VectorType(_I8, LANES)
        d = cgutils.alloca_once_value(builder, builder.load(place, align=1))
        with cgutils.for_range(builder, args[6]) as loop:
            row = builder.mul(builder.sext(builder.load(builder.gep(places, [loop.index])), _I64), args[4])
            weight = builder.bitcast(builder.gep(weights, [builder.add(args[3], row)]), line.as_pointer())
            change = converted(builder, builder.load(weight, align=1), element)
            before = builder.load(d)
            builder.store(builder.sub(before, change) if negative else builder.add(before, change), d)
        builder.store(builder.load(d), place, align=1)
        return context.get_dummy_value()

    def typed(typing_context: Any, d: Any, i: Any, w: Any, base: Any, step: Any, places: Any, count: Any) -> Any:
        return types.void(d, types.int64, w, types.int64, types.int64, places, types.int64), generate

    return intrinsic(typed)


@intrinsic
def _add_counts(typing_context: Any, counts: Any, masks: Any, m: Any) -> Any:
    """``counts[t] +=`` the spikes in the mask of tick t, for LANES ticks from place m on (counts: int32)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = pointer(context, builder, signature.args[0], args[0], _I64(0), LANES)
        found = load(context, builder, signature.args[1], args[1], args[2])
        # llvmlite's own ctpop takes no vectors.
        kind = ir.FunctionType(found.type, (found.type,))
        population = cgutils.get_or_insert_function(builder.module, kind, f"llvm.ctpop.v{LANES}i32")
        builder.store(builder.add(builder.load(place, align=4), builder.call(population, (found,))), place, align=4)
        return context.get_dummy_value()

    return types.void(counts, masks, types.int64), generate


# The same in NumPy.


def _numpy_summer(taps: int, lanes: int, negative: bool) -> Callable[..., None]:
    def add(
        current: Any, places: Any, masks: Any, words: Any, pairs: int, ticks: int, weights: Any, q: int, limit: int
    ) -> None:  # fmt: skip
        rows = weights[q : q + 64 * pairs * taps * lanes].reshape(64 * pairs, taps, lanes).astype(np.int16)
        for t in range(ticks):
            spikes = np.unpackbits(np.ascontiguousarray(masks[words[: 2 * pairs] + t], "<u4").view(np.uint8), bitorder="little")
            for place, change in zip(places[:taps], rows[spikes.astype(bool)].sum(0, dtype=np.int16), strict=True):
                at = place + t * lanes
                current[at : at + lanes] += -change if negative else change

    return add


def _numpy_masks(flags: Any) -> Any:
    return np.packbits(flags, bitorder="little").view("<u4")


def _numpy_charger(lanes: int) -> Callable[..., None]:
    def charge(v: Any, current: Any, threshold: Any, i: int, masks: Any, m: int, length: int, ticks: int) -> None:
        at = slice(i, i + lanes)
        for t in range(ticks):
            v[at] += current[at]
            fires = v[at] >= threshold[at]
            v[at] -= fires * threshold[at]
            masks[m + t + length * np.arange(lanes // LANES)] = _numpy_masks(fires)

    return charge


def _numpy_firer(lanes: int) -> Callable[..., None]:
    def fire(
        d: Any, i: int, current: Any, j: int, unit: int, constant: Any, k: int, threshold: Any, channel: int, keep: int, masks: Any, m: int,
        length: int, ticks: int, net: Any = None, negative: Any = None,
    ) -> None:  # fmt: skip
        at, theta = slice(i, i + lanes), threshold[channel : channel + lanes]
        of = length * np.arange(lanes // LANES) + m
        for t in range(ticks):
            line = slice(j + t * lanes, j + (t + 1) * lanes)
            d[at] += unit * current[line].astype(np.int32) + constant[k : k + lanes]
            current[line] = 0
            fires = d[at] >= 0
            back = np.zeros(lanes, bool) if net is None else (d[at] < -theta) & (net[at] > 0)
            d[at] = np.where(fires, (d[at] & keep) - theta, d[at] + back * theta)
            masks[of + t] = _numpy_masks(fires)
            if net is not None:
                net[at] += fires.astype(np.int32) - back
                negative[of + t] = _numpy_masks(back)

    return fire


def _numpy_lister(negative: bool) -> Callable[..., None]:
    def add(d: Any, i: int, w: Any, base: int, step: int, places: Any, count: int) -> None:
        for place in places[:count]:
            row = base + int(place) * step
            d[i : i + LANES] += (-1 if negative else 1) * w[row : row + LANES].astype(d.dtype)

    return add


def _numpy_add_counts(counts: Any, masks: Any, m: int) -> None:
    counts[:LANES] += np.bitwise_count(masks[m : m + LANES]).astype(np.int32)


add_counts: Callable[..., Any]
if config.DISABLE_JIT:  # type: ignore[attr-defined]
    _make_summer, _make_charger, _make_lister = _numpy_summer, _numpy_charger, _numpy_lister

    def _make_firer(lanes: int, signed: bool) -> Any:
        return _numpy_firer(lanes)

    add_counts = _numpy_add_counts
else:
    _make_summer, _make_charger, _make_lister, _make_firer, add_counts = _summer, _charger, _lister, _firer, _add_counts

add_1_32, add_1_64, add_4_32, add_4_64, add_9_32, add_9_64 = (_make_summer(taps, lanes, False) for taps in (1, 4, 9) for lanes in (32, 64))
subtract_1_32, subtract_1_64, subtract_4_32, subtract_4_64, subtract_9_32, subtract_9_64 = (
    _make_summer(taps, lanes, True) for taps in (1, 4, 9) for lanes in (32, 64)
)
charge_32, charge_64 = (_make_charger(lanes) for lanes in (32, 64))
fire_32, fire_64 = (_make_firer(lanes, False) for lanes in (32, 64))
fire_signed_32, fire_signed_64 = (_make_firer(lanes, True) for lanes in (32, 64))
add_listed, subtract_listed = (_make_lister(negative) for negative in (False, True))
