"""Recordings: what they hear, identity, nesting, and staged bodies inside."""

from __future__ import annotations

import numpy as np

from pullback.autodiff.cotangents import ones
from pullback.autodiff.record import Recording
from pullback.primitives.control import Call
from pullback.primitives.transcendental import Sin, Tanh
from pullback.program.source import Origin
from pullback.program.value import STACKS, Array, Value, as_value
from pullback.trace.stage import stage
from pullback.types import ArrayType, float64


def scalar(x: float) -> Array:
    return Array(np.asarray(x, np.float64))


def number(x: Value | None) -> float:
    assert x is not None
    return float(x)


def test_only_what_follows_from_watched_values_is_recorded():
    recording = Recording()
    x, y = scalar(2.0), scalar(3.0)
    recording.watch(x)

    with recording:
        a = Sin()(y)
        b = Tanh()(x)
        c = a * b

    assert [eqn.primitive.name for eqn in recording.equations] == ["tanh", "mul"]
    assert [recording.tracks(v) for v in (x, y, a, b, c)] == [True, False, False, True, True]


def test_a_recording_stops_with_its_block():
    recording = Recording()
    x = scalar(2.0)
    recording.watch(x)

    with recording:
        pass
    Sin()(x)

    assert recording.equations == []
    assert STACKS.recorders == []


def test_backward_gives_none_where_nothing_depends():
    recording = Recording()
    x, y = scalar(2.0), scalar(3.0)
    recording.watch(x)
    recording.watch(y)

    with recording:
        z = x * x

    dx, dy = recording.backward([(z, ones(z.type))], [x, y])
    assert (number(dx), dy) == (4.0, None)


def test_intermediate_values_have_cotangents():
    recording = Recording()
    x = scalar(2.0)
    recording.watch(x)

    with recording:
        y = x * x
        z = y * y

    dy, dx = recording.backward([(z, ones(z.type))], [y, x])
    assert (number(dy), number(dx)) == (8.0, 32.0)


def test_forward_and_backward_agree():
    recording = Recording()
    x = scalar(0.3)
    recording.watch(x)

    with recording:
        y = Sin()(x * x)

    (t,) = recording.forward([(x, scalar(1.0))], [y])
    (ct,) = recording.backward([(y, scalar(1.0))], [x])
    np.testing.assert_allclose(number(t), number(ct), rtol=1e-15)


def test_a_copy_is_another_value_with_the_same_memory():
    x = scalar(2.0)
    recording = Recording()
    copy = recording.watch_copy(x)

    with recording:
        y = x * copy

    (dx,) = recording.backward([(y, ones(y.type))], [copy])
    assert copy.data is x.data
    assert number(dx) == 2.0


def test_an_outer_recording_knows_the_copies_of_an_inner_one():
    outer, x = Recording(), scalar(3.0)
    outer.watch(x)

    with outer:
        inner = Recording()
        copy = inner.watch_copy(x)
        with inner:
            y = copy * copy * copy
        (dy,) = inner.backward([(y, ones(y.type))], [copy])

    assert dy is not None
    (ddy,) = outer.backward([(dy, ones(dy.type))], [x])
    assert (float(dy), number(ddy)) == (27.0, 18.0)


def test_a_staged_body_keeps_tracked_scalars_as_operands():
    """Written as a literal, the scalar would lose its derivative."""
    recording, w = Recording(), scalar(3.0)
    recording.watch(w)

    with recording:
        staged = stage(lambda x: [x * w], [ArrayType((), float64)])
        (y,) = Call(staged.program, "f")(scalar(2.0), *staged.operands())

    (dw,) = recording.backward([(y, ones(y.type))], [w])
    assert len(staged.captures) == 1
    assert number(dw) == 2.0


def test_two_objects_of_one_memory_in_a_staged_body_have_their_own_derivatives():
    recording, w = Recording(), as_value(np.array([3.0]))
    copy = recording.watch_copy(w)

    with recording:
        staged = stage(lambda x: [x * w * w * copy], [ArrayType((1,), float64)])
        (y,) = Call(staged.program, "f")(as_value(np.ones(1)), *staged.operands())

    (ct,) = recording.backward([(y, ones(y.type))], [copy])
    assert ct is not None
    assert ct.tolist() == [9.0]


def test_inside_a_trace_keys_and_sources_are_those_of_the_program():
    made = []

    def f(x):
        recording = Recording()
        copy = recording.watch_copy(x)
        Sin()(x)
        with recording:
            y = Tanh()(copy)
        made.extend(recording.equations)
        return recording.backward([(y, ones(y.type))], [copy])

    program = stage(f, [ArrayType((2,), float64)]).program

    _, tanh, *backward = program.equations
    assert (made[0].key, made[0].source) == (tanh.key, tanh.source)
    assert Origin("vjp", tanh.key, "tanh") in {eqn.origin for eqn in backward}
    assert {str(e.source) for e in backward if e.origin is not None} == {str(tanh.source)}
