"""Layout: primitives that move elements and compute nothing, and ``Iota``.

Imports ``program`` and ``elementwise``; ``ReduceSum`` inside rules: ``reduce`` imports this.
Start at ``Broadcast``. All axes, bounds and shapes are static and explicit: no negative axes.
"""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np

from pullback.errors import DTypeError, ShapeError
from pullback.primitives.cast import convert
from pullback.primitives.elementwise import NDArray, as_zero, elementwise_dtype
from pullback.program.loops import Index, LoopBuilder, Operand, Scalar
from pullback.program.primitive import (
    CHEAP,
    LAYOUT,
    LINEAR,
    Cotangents,
    Primitive,
    primitive,
)
from pullback.program.value import Array, Value
from pullback.types import ANY, NUMERIC, ArrayType, DType, int32, int64


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ShapeError(message)


def _refuse_negative(name: str, shape: tuple[int, ...]) -> None:
    _require(min(shape, default=0) >= 0, f"{name} to the shape {shape}: a length is negative")


def _clamped(b: LoopBuilder, index: Any, low: int, high: int) -> Any:
    """Return ``index`` clamped to ``low..high`` inclusive."""
    dtype = int32 if max(abs(low), abs(high)) < 2**30 else int64
    return b.to_index(b.index_value(index, dtype), low, high)


@final
@primitive
class Broadcast(Primitive):
    """Repeat along new axes and along axes of length 1.

    ``axes`` are the axes of the output that are new; the others are x's axes in order, of which
    those of length 1 may become longer.

    Shapes: x: T[d...] -> T[shape].        Cost: none in a fused kernel (a view).
    Residuals: none.   Non-differentiable points: none.
    Reference: linear; the VJP sums over the repeated axes.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    name = "broadcast"
    traits = LAYOUT | LINEAR | CHEAP

    def kept(self) -> tuple[int, ...]:
        """Return the axes of the output that are axes of the operand, in order."""
        return tuple(i for i in range(len(self.shape)) if i not in self.axes)

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the operand's dtype with ``shape``."""
        _refuse_negative("broadcast", self.shape)
        distinct = len(set(self.axes)) == len(self.axes)
        inside = all(0 <= axis < len(self.shape) for axis in self.axes)
        _require(
            distinct and inside and len(self.shape) - len(self.axes) == x.ndim,
            f"broadcast of {x} to {self.shape} with new axes {self.axes}: expected "
            f"{len(self.shape) - x.ndim} different new axes, each in the new shape",
        )
        for length, axis in zip(x.shape, self.kept(), strict=True):
            _require(
                length in (1, self.shape[axis]),
                f"broadcast of {x} to {self.shape} with new axes {self.axes}: length {length} "
                f"cannot become {self.shape[axis]}; expected 1 or {self.shape[axis]}",
            )
        return x.with_shape(self.shape)

    def evaluate(self, x: NDArray) -> Any:
        """A NumPy view with strides of 0."""
        return np.broadcast_to(np.expand_dims(x, self.axes), self.shape)

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Sum of ct over what was repeated."""
        from pullback.primitives.reduce import ReduceSum

        repeated = [
            axis
            for length, axis in zip(x.shape, self.kept(), strict=True)
            if length != self.shape[axis]
        ]
        summed = ReduceSum(tuple(sorted((*self.axes, *repeated))))(ct)
        return (Reshape(x.shape)(summed) if repeated else summed,)

    def lower(self, b: LoopBuilder, index: Index, *operands: Operand) -> Scalar:
        """The kept indices, 0 where the operand has length 1."""
        (x,) = operands
        pairs = zip(x.type.shape, self.kept(), strict=True)
        return x.at(tuple(0 if length == 1 else index[axis] for length, axis in pairs))


@final
@primitive
class Reshape(Primitive):
    """The same elements, in row-major order, in another shape.

    Shapes: x: T[d...] -> T[shape] of the same size.        Cost: none (a view).
    Residuals: none.   Non-differentiable points: none.   Reference: linear; the VJP reshapes back.
    """

    shape: tuple[int, ...]
    name = "reshape"
    traits = LAYOUT | LINEAR | CHEAP

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the operand's dtype with ``shape``."""
        _refuse_negative("reshape", self.shape)
        _require(
            math.prod(self.shape) == x.size,
            f"reshape of {x} to {self.shape}: {x.size} elements do not fill "
            f"{math.prod(self.shape)}; the two sizes must be equal",
        )
        return x.with_shape(self.shape)

    def evaluate(self, x: NDArray) -> Any:
        """NumPy's ``reshape``."""
        return x.reshape(self.shape)

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct in the shape of x."""
        return (Reshape(x.shape)(ct),)

    def lower(self, b: LoopBuilder, index: Index, *operands: Operand) -> Scalar:
        """Split and join indices within the smallest groups of axes of equal size."""
        (x,) = operands
        position: list[Any] = [0] * len(x.type.shape)
        for sources, targets in reshape_groups(x.type.shape, self.shape):
            lengths = [x.type.shape[axis] for axis in sources]
            flat = _join([index[axis] for axis in targets], [self.shape[a] for a in targets])
            for axis, part in zip(sources, _split(flat, lengths), strict=True):
                position[axis] = part
        return x.at(tuple(position))


def reshape_groups(
    source: tuple[int, ...], target: tuple[int, ...]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Pair axes of two shapes of one positive size into the smallest groups of equal products.

    Axes of length 1 are left out. ``(4, 6), (2, 2, 6)`` gives ``[((0,), (0, 1)), ((1,), (2,))]``.
    """
    left = [axis for axis, length in enumerate(source) if length != 1]
    right = [axis for axis, length in enumerate(target) if length != 1]
    groups = []
    while left and right:
        sources, targets = [left.pop(0)], [right.pop(0)]
        size, other = source[sources[0]], target[targets[0]]
        while size != other:
            if size < other:
                sources.append(left.pop(0))
                size *= source[sources[-1]]
            else:
                targets.append(right.pop(0))
                other *= target[targets[-1]]
        groups.append((tuple(sources), tuple(targets)))
    return groups


def _join(indices: list[Any], lengths: list[int]) -> Any:
    flat = indices[0]
    for index, length in zip(indices[1:], lengths[1:], strict=True):
        flat = flat * length + index
    return flat


def _split(flat: Any, lengths: list[int]) -> list[Any]:
    parts: list[Any] = []
    for length in reversed(lengths[1:]):
        parts.append(flat % length)
        flat = flat // length
    return [flat, *reversed(parts)]


@final
@primitive
class Transpose(Primitive):
    """Reorder axes: axis ``i`` of the output is axis ``permutation[i]`` of x.

    Shapes: x: T[d...] -> T[permuted d].        Cost: none in a fused kernel (a view).
    Residuals: none.   Non-differentiable points: none.
    Reference: linear; the VJP is the inverse permutation.
    """

    permutation: tuple[int, ...]
    name = "transpose"
    traits = LAYOUT | LINEAR | CHEAP

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the operand's type with its axes permuted."""
        _require(
            sorted(self.permutation) == list(range(x.ndim)),
            f"transpose of {x}: {self.permutation} is not a permutation of its {x.ndim} axes",
        )
        return x.with_shape(tuple(x.shape[axis] for axis in self.permutation))

    def evaluate(self, x: NDArray) -> Any:
        """NumPy's ``transpose``."""
        return x.transpose(self.permutation)

    def inverse(self) -> tuple[int, ...]:
        """Return the permutation that undoes this one."""
        return tuple(self.permutation.index(axis) for axis in range(len(self.permutation)))

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct permuted back."""
        return (Transpose(self.inverse())(ct),)

    def lower(self, b: LoopBuilder, index: Index, *operands: Operand) -> Scalar:
        """The indices permuted back."""
        return operands[0].at(tuple(index[i] for i in self.inverse()))


@final
@primitive
class Reverse(Primitive):
    """Reverse the order of the elements along ``axes``.

    Shapes: x: T[d...] -> T[d...].        Cost: none in a fused kernel (a view).
    Residuals: none.   Non-differentiable points: none.   Reference: linear; its own VJP.
    """

    axes: tuple[int, ...]
    name = "reverse"
    traits = LAYOUT | LINEAR | CHEAP

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the operand's type."""
        distinct = len(set(self.axes)) == len(self.axes)
        _require(
            distinct and all(0 <= axis < x.ndim for axis in self.axes),
            f"reverse of {x} along {self.axes}: expected different axes in 0..{x.ndim - 1}",
        )
        return x

    def evaluate(self, x: NDArray) -> Any:
        """NumPy's ``flip``."""
        return np.flip(x, self.axes)

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct reversed."""
        return (self(ct),)

    def lower(self, b: LoopBuilder, index: Index, *operands: Operand) -> Scalar:
        """``length - 1 - i`` along the reversed axes."""
        (x,) = operands
        shape = x.type.shape
        return x.at(tuple(shape[a] - 1 - i if a in self.axes else i for a, i in enumerate(index)))


@final
@primitive
class Slice(Primitive):
    """The elements ``starts, starts + strides, ...`` before ``stops`` along every axis.

    Shapes: x: T[d...] -> T[ceil((stops - starts) / strides)], 0 <= starts <= stops <= d.
        Cost: none in a fused kernel (a view).
    Residuals: none.   Non-differentiable points: none.   Reference: linear; the VJP pads.
    """

    starts: tuple[int, ...]
    stops: tuple[int, ...]
    strides: tuple[int, ...]
    name = "slice"
    traits = LAYOUT | LINEAR | CHEAP

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the operand's dtype with the number of elements taken along every axis."""
        _require(
            len(self.starts) == len(self.stops) == len(self.strides) == x.ndim,
            f"slice of {x} from {self.starts} to {self.stops} by {self.strides}: expected one "
            f"start, stop and stride for each of {x.ndim} axes",
        )
        bounds = zip(self.starts, self.stops, self.strides, x.shape, strict=True)
        _require(
            all(0 <= start <= stop <= d and stride > 0 for start, stop, stride, d in bounds),
            f"slice of {x} from {self.starts} to {self.stops} by {self.strides}: expected "
            "0 <= start <= stop <= length and a positive stride",
        )
        return x.with_shape(
            tuple(
                len(range(start, stop, stride))
                for start, stop, stride in zip(self.starts, self.stops, self.strides, strict=True)
            )
        )

    def evaluate(self, x: NDArray) -> Any:
        """NumPy's basic slicing."""
        return x[tuple(map(slice, self.starts, self.stops, self.strides))]

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct with zeros where nothing was taken."""
        low, high, interior = [], [], []
        for start, stride, n, length in zip(
            self.starts, self.strides, out.shape, x.shape, strict=True
        ):
            low.append(start)
            high.append(length - start - (n - 1) * stride - 1 if n else length - start)
            interior.append(stride - 1)
        return (Pad(tuple(low), tuple(high), tuple(interior))(ct, as_zero(ct)),)

    def lower(self, b: LoopBuilder, index: Index, *operands: Operand) -> Scalar:
        """``start + i * stride``."""
        bounds = zip(index, self.starts, self.strides, strict=True)
        return operands[0].at(tuple(i * stride + start for i, start, stride in bounds))


@final
@primitive
class Pad(Primitive):
    """Put ``value`` around and between the elements; negative ``low`` and ``high`` cut off.

    Along every axis, ``interior`` values come between neighbours first; then ``low`` come before
    and ``high`` after, or as many elements are taken away where these are negative.

    Shapes: x: T[d...], value: T[] -> T[low + d + max(d - 1, 0) * interior + high].
        Cost: one write for each element of the output.
    Residuals: none.   Non-differentiable points: none.
    Reference: linear; the VJP slices, and sums what lies outside x for ``value``.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    interior: tuple[int, ...]
    name = "pad"
    traits = LAYOUT | LINEAR | CHEAP

    def dilated(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the lengths after the interior values are put in."""
        return tuple(
            n + max(n - 1, 0) * between for n, between in zip(shape, self.interior, strict=True)
        )

    def infer(self, x: ArrayType, value: ArrayType) -> ArrayType:
        """Return the operands' dtype with the padded lengths."""
        dtype = elementwise_dtype(self.name, ANY, x, value)
        _require(not value.shape, f"pad takes a padding value of rank 0, got {value}")
        _require(
            len(self.low) == len(self.high) == len(self.interior) == x.ndim,
            f"pad of {x} with low {self.low}, high {self.high}, interior {self.interior}: "
            f"expected one of each for {x.ndim} axes",
        )
        _require(
            min(self.interior, default=0) >= 0,
            f"pad of {x}: interior padding {self.interior} must not be negative",
        )
        lengths = zip(self.low, self.dilated(x.shape), self.high, strict=True)
        shape = tuple(low + n + high for low, n, high in lengths)
        _require(
            min(shape, default=0) >= 0,
            f"pad of {x} with low {self.low} and high {self.high} cuts off more than there is",
        )
        return ArrayType(shape, dtype)

    def evaluate(self, x: NDArray, value: NDArray) -> Any:
        """Fill, then write x into a strided view."""
        dilated = self.dilated(x.shape)
        whole = np.full(dilated, value, x.dtype)
        whole[tuple(slice(None, None, between + 1) for between in self.interior)] = x
        shape = [low + n + h for low, n, h in zip(self.low, dilated, self.high, strict=True)]
        result = np.full(shape, value, x.dtype)
        source, target = [], []
        for low, n, length in zip(self.low, dilated, shape, strict=True):
            start, stop = max(low, 0), max(min(low + n, length), max(low, 0))
            target.append(slice(start, stop))
            source.append(slice(start - low, stop - low))
        result[tuple(target)] = whole[tuple(source)]
        return result

    def vjp(self, ct: Value, out: Value, x: Value, value: Value) -> Cotangents:
        """Return ct cut back to x, and the sum of the rest of ct."""
        from pullback.primitives.reduce import ReduceSum

        none = (0,) * len(self.low)
        zero = as_zero(ct)
        low, high = tuple(-n for n in self.low), tuple(-n for n in self.high)
        dilated = Pad(low, high, none)(ct, zero)
        strides = tuple(n + 1 for n in self.interior)
        ct_x = Slice(none, dilated.shape, strides)(dilated)
        inside = Broadcast(x.shape, tuple(range(len(none))))(Array(np.zeros((), bool)))
        outside = self(inside, Array(np.ones((), bool)))
        ct_value = ReduceSum(tuple(range(len(none))))(_select(outside, ct, zero))
        return (ct_x, ct_value)

    def lower(self, b: LoopBuilder, index: Index, *operands: Operand) -> Scalar:
        """Read x at the clamped index and choose ``value`` where it was outside."""
        x, value = operands
        if x.type.size == 0:
            return value.at(())
        position: list[Any] = []
        conditions: list[Scalar] = []
        out = self.infer(x.type, value.type)
        for axis, n in enumerate(self.dilated(x.type.shape)):
            i, inside = self._place(b, index[axis], axis, n, out.shape[axis])
            position.append(i)
            conditions.extend(inside)
        element = x.at(tuple(position))
        if not conditions:
            return element
        within = conditions[0]
        for condition in conditions[1:]:
            within = b.op("and", within, condition)
        return b.select(within, element, value.at(()))

    def _place(
        self, b: LoopBuilder, index: Any, axis: int, n: int, length: int
    ) -> tuple[Any, list[Scalar]]:
        """Return the index into x along one axis, and what must hold for it to be inside."""
        low, stride = self.low[axis], self.interior[axis] + 1
        shifted = index if low == 0 else index - low
        conditions = []
        if low > 0 or length - low > n:
            conditions.append(b.within(shifted, 0, n))
            shifted = _clamped(b, shifted, 0, n - 1)
        if stride == 1:
            return shifted, conditions
        conditions.append(b.within(shifted % stride, 0, 1))
        return shifted // stride, conditions


def _select(predicate: Value, on_true: Value, on_false: Value) -> Value:
    from pullback.primitives.elementwise import Select

    chosen: Value = Select()(predicate, on_true, on_false)
    return chosen


@final
@primitive
class Concatenate(Primitive):
    """Join arrays along ``axis``.

    Shapes: xs: T[.., n_k, ..] -> T[.., sum of n_k, ..].        Cost: one write an element.
    Residuals: none.   Non-differentiable points: none.   Reference: linear; the VJP slices.
    """

    axis: int
    name = "concatenate"
    traits = LAYOUT | LINEAR | CHEAP

    def infer(self, *types: ArrayType) -> ArrayType:
        """Return the operands' dtype with the lengths along ``axis`` added."""
        _require(bool(types), "concatenate takes at least one operand")
        dtype = elementwise_dtype(self.name, ANY, *types)
        first = types[0].shape
        _require(
            0 <= self.axis < len(first),
            f"concatenate of {types[0]} along axis {self.axis}: expected 0..{len(first) - 1}",
        )
        for x in types[1:]:
            _require(
                len(x.shape) == len(first) and self._others(x.shape) == self._others(first),
                f"concatenate along axis {self.axis} takes equal lengths along the other axes, "
                f"got {types[0]} and {x}",
            )
        total = sum(x.shape[self.axis] for x in types)
        return ArrayType((*first[: self.axis], total, *first[self.axis + 1 :]), dtype)

    def _others(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[: self.axis] + shape[self.axis + 1 :]

    def evaluate(self, *arrays: NDArray) -> Any:
        """NumPy's ``concatenate``."""
        return np.concatenate(arrays, self.axis)

    def vjp(self, ct: Value, out: Value, *xs: Value) -> Cotangents:
        """The slice of ct that each operand filled."""
        cotangents, offset = [], 0
        for x in xs:
            starts, stops = [0] * x.ndim, list(x.shape)
            starts[self.axis], stops[self.axis] = offset, offset + x.shape[self.axis]
            offset = stops[self.axis]
            cotangents.append(Slice(tuple(starts), tuple(stops), (1,) * x.ndim)(ct))
        return tuple(cotangents)

    def lower(self, b: LoopBuilder, index: Index, *operands: Operand) -> Scalar:
        """Read every operand at its clamped index and choose by position."""
        result: Scalar | None = None
        offset = sum(x.type.shape[self.axis] for x in operands)
        place = index[self.axis]
        for x in reversed(operands):
            length = x.type.shape[self.axis]
            offset -= length
            if length == 0:
                continue
            inner = place if len(operands) == 1 else _clamped(b, place - offset, 0, length - 1)
            element = x.at((*index[: self.axis], inner, *index[self.axis + 1 :]))
            if result is None:
                result = element
            else:
                result = b.select(b.within(place, offset, offset + length), element, result)
        if result is None:
            raise ShapeError("concatenate of operands without elements has no element to lower")
        return result


@final
@primitive
class Iota(Primitive):
    """The index along ``axis``, as a number: ``0, 1, 2, ...``.

    Shapes: -> dtype[shape].        Cost: none in a fused kernel.   No operand, no gradient.
    """

    shape: tuple[int, ...]
    dtype: DType
    axis: int
    name = "iota"
    traits = CHEAP
    differentiable = ()

    def infer(self) -> ArrayType:
        """Return ``dtype[shape]``."""
        _refuse_negative("iota", self.shape)
        _require(
            0 <= self.axis < len(self.shape),
            f"iota of shape {self.shape} along axis {self.axis}: expected an axis of the shape",
        )
        if self.dtype not in NUMERIC:
            raise DTypeError(f"iota takes a numeric dtype, got {self.dtype}; compare it for a mask")
        return ArrayType(self.shape, self.dtype)

    def evaluate(self) -> Any:
        """NumPy's ``arange``, broadcast."""
        counts = convert(np.arange(self.shape[self.axis]), self.dtype)
        others = [axis for axis in range(len(self.shape)) if axis != self.axis]
        return np.broadcast_to(np.expand_dims(counts, others), self.shape)

    def lower(self, b: LoopBuilder, index: Index, *operands: Operand) -> Scalar:
        """The index."""
        return b.index_value(index[self.axis], self.dtype)
