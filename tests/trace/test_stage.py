"""Staging: inputs, captures and variables of a traced function, and the errors of tracing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.errors import (
    DTypeError,
    LeakedTracerError,
    ShapeError,
    TracerArrayError,
    TracerBoolError,
    TracerIntegerError,
)
from pullback.primitives.dot import Dot
from pullback.primitives.elementwise import Add
from pullback.primitives.transcendental import Sin
from pullback.program.core import Literal, Var
from pullback.program.value import Array, as_value
from pullback.trace.stage import stage, unify
from pullback.trace.variable import Variable
from pullback.types import ArrayType, bool_, float32, int32

VECTOR = ArrayType((3,), float32)


def vector(*values: float) -> Array:
    return Array(np.array(values, np.float32))


def test_arguments_are_inputs_and_results_outputs():
    staged = stage(lambda x, y: [x + y, x], [VECTOR, VECTOR], name="f")

    assert staged.program.input_types == (VECTOR, VECTOR)
    assert staged.program.output_types == (VECTOR, VECTOR)
    assert [eqn.primitive.name for eqn in staged.program.equations] == ["add"]
    assert staged.program.inputs[0] is staged.program.outputs[1]
    assert (staged.num_args, staged.num_results, staged.program.name) == (2, 2, "f")


def test_arrays_from_outside_are_captured_once():
    w, b = vector(1, 2, 3), vector(4, 5, 6)

    staged = stage(lambda x: [x * w + b, w], [VECTOR])

    assert len(staged.captures) == 2
    assert staged.captures[0] is w
    assert staged.captures[1] is b
    assert staged.program.outputs[1] is staged.program.inputs[1]


def test_two_objects_of_one_memory_are_two_captures():
    """A tape tells them apart, so the program must."""
    w = vector(1, 2, 3)
    other = Array(w.data)

    staged = stage(lambda x: [x * w + other], [VECTOR])

    assert len(staged.captures) == 2


def test_scalars_from_outside_become_literals():
    scale = as_value(np.float32(2.0))

    staged = stage(lambda x: [x * scale * 3.0], [VECTOR])

    assert staged.captures == ()
    assert [
        float(a.value) for e in staged.program.equations for a in e.inputs if isinstance(a, Literal)
    ] == [2.0, 3.0]
    assert [scale] == [x for x in staged.literals if x is scale]


def test_a_nested_body_captures_tracers_of_the_outer_one():
    inner = []

    def outer(x, y):
        z = Sin()(x)
        inner.append(stage(lambda t: [t + z + y], [VECTOR]))
        return [z]

    staged = stage(outer, [VECTOR, VECTOR])

    z, y = inner[0].captures
    assert staged.program.equations[0].output is z.atom
    assert staged.program.inputs[1] is y.atom


def test_weak_flags_go_in_and_come_out():
    scalar = ArrayType((), float32)

    staged = stage(lambda x, y: [x, y, 1], [scalar, scalar], weak=[True, False])

    assert staged.weak == (True, False, True)


def test_equations_name_the_users_line():
    staged = stage(lambda x: [Sin()(x)], [VECTOR])

    (eqn,) = staged.program.equations
    assert eqn.source is not None
    assert __file__ == eqn.source.file
    assert eqn.origin is None


def test_variables_read_are_inputs_and_assigned_are_outputs():
    v, w, u = (Variable(np.zeros(3, np.float32), name=n) for n in "vwu")

    def f(x):
        w.assign(x)
        total = v + w
        v.assign(total)
        return [total + u]

    staged = stage(f, [VECTOR])

    assert [variable.name for variable in staged.reads] == ["v", "u"]
    assert [variable.name for variable in staged.updates] == ["w", "v"]
    assert (staged.num_args, staged.num_results) == (1, 1)
    assert len(staged.program.inputs) == 3
    x, _, _ = staged.program.inputs
    cut, addition, _ = staged.program.equations
    assert (cut.primitive.name, cut.inputs) == ("stop_gradient", (x,))
    assert staged.program.outputs[1:] == (x, addition.output)
    np.testing.assert_array_equal(np.zeros(3), v)


def test_reading_twice_is_one_input_and_gives_what_was_assigned():
    v = Variable(np.zeros(3, np.float32))

    def f(x):
        first = v.read()
        assert first is v.read()
        v.assign(x)
        return [v.read() + first]

    staged = stage(f, [VECTOR])

    cut, addition = staged.program.equations
    assert cut.inputs == staged.program.inputs[:1]
    assert addition.inputs == (cut.output, staged.program.inputs[1])


def test_operands_and_assign_go_with_the_program():
    v = Variable(np.array([1, 2, 3], np.float32))
    w = vector(10, 20, 30)

    def f(x):
        old = v.read()
        v.assign_add(x * w)
        return [old]

    staged = stage(f, [VECTOR])
    outputs = staged.program(vector(1, 1, 1), *staged.operands())
    results = staged.assign([as_value(y) for y in outputs])

    assert [x.tolist() for x in results] == [[1.0, 2.0, 3.0]]
    assert v.tolist() == [11.0, 22.0, 33.0]


def test_a_failed_trace_leaves_variables_alone():
    v = Variable(np.zeros(3, np.float32))

    def f(x):
        v.assign(x)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        stage(f, [VECTOR])

    assert v.tolist() == [0.0, 0.0, 0.0]


def test_unify_gives_bodies_one_interface():
    v, w = Variable(np.zeros(3, np.float32), name="v"), Variable(np.ones(3, np.float32), name="w")
    c = vector(1, 2, 3)

    def assigns(x):
        v.assign(x)
        return [x]

    def reads(x):
        return [x + w + c]

    first, second = unify([stage(assigns, [VECTOR]), stage(reads, [VECTOR])])

    for staged in (first, second):
        assert [variable.name for variable in staged.reads] == ["w", "v"]
        assert [variable.name for variable in staged.updates] == ["v"]
        assert (c,) == tuple(x for x in staged.captures if x is c)
        assert staged.program.input_types == (VECTOR,) * 4
        assert staged.program.output_types == (VECTOR,) * 2
    assert first.program.outputs[1] is first.program.inputs[0]
    assert second.program.outputs[1] is second.program.inputs[2]


def test_unify_carry_makes_updates_inputs():
    v = Variable(np.zeros(3, np.float32))

    def assigns(x):
        v.assign(x)
        return [x]

    (plain,) = unify([stage(assigns, [VECTOR])])
    (carried,) = unify([stage(assigns, [VECTOR])], carry=True)

    assert plain.reads == ()
    assert (v,) == tuple(x for x in carried.reads if x is v)
    assert isinstance(carried.program.inputs[1], Var)


@pytest.mark.parametrize(
    ("use", "error", "suggestion"),
    [
        (bool, TracerBoolError, "pullback.where"),
        (int, TracerIntegerError, "static_argnums"),
        (range, TracerIntegerError, "fori_loop"),
        (float, TracerArrayError, "outside|in place of `math`"),
        (np.asarray, TracerArrayError, "function of the same name|return the value"),
        (np.sin, TracerArrayError, "function of the same name"),
        (lambda x: np.add.reduce(x), TracerArrayError, "function of the same name"),
        (lambda x: x.item(), TracerArrayError, "take `.item\\(\\)` outside"),
    ],
)
def test_a_tracer_has_no_value(use, error, suggestion):
    with pytest.raises(error, match=suggestion):
        stage(lambda x: [use(x)], [ArrayType((), int32)])


def test_shape_mismatch_names_the_users_line():
    with pytest.raises(ShapeError, match=r"f32\[3\].*f32\[4\]") as caught:
        stage(lambda x, y: [Add()(x, y)], [VECTOR, ArrayType((4,), float32)])

    assert any(__file__ in note for note in caught.value.__notes__)


def test_dtype_mismatch_names_the_users_line():
    with pytest.raises(DTypeError, match=r"f32\[3\].*bool\[3\]") as caught:
        stage(lambda x, y: [Add()(x, y)], [VECTOR, ArrayType((3,), bool_)])

    assert any(__file__ in note for note in caught.value.__notes__)


def test_a_leaked_tracer_is_refused():
    leaked = []

    def f(x):
        leaked.append(x)
        return [x]

    stage(f, [VECTOR])

    with pytest.raises(LeakedTracerError, match=r"f32\[3\]"):
        Sin()(leaked[0])
    with pytest.raises(LeakedTracerError):
        stage(lambda x: [x + leaked[0]], [VECTOR])
    with pytest.raises(LeakedTracerError):
        stage(lambda x: [leaked[0]], [VECTOR])


def test_a_leaked_tracer_is_refused_by_the_public_functions() -> None:
    leaked: list[Any] = []

    def leak(x):
        leaked.append(x)
        return x

    f = pb.jit(leak)
    f(np.array([1.0], np.float32))

    with pytest.raises(LeakedTracerError):
        f(leaked[0])
    with pytest.raises(LeakedTracerError):
        pb.grad(lambda x: x * x)(leaked[0])


def test_a_wide_program_is_staged_in_order():
    contract = Dot(((1,), (0,)), ((), ()))

    def f(x):
        for _ in range(300):
            x = contract(x, x)
        return [x]

    program = stage(f, [ArrayType((2, 2), float32)]).program

    assert len(program.equations) == 300
    assert [*range(300)] == [eqn.key for eqn in program.equations]
