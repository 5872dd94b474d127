"""Variables: assignment and its checks, use as arrays, and who may write their memory."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback import Variable
from pullback.errors import DTypeError, LeakedTracerError, PullbackError, ShapeError
from pullback.program.value import Array, as_value
from pullback.trace.variable import exclusive, put, take


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def test_a_variable_has_type_name_and_flag():
    v = Variable(ones(2, 3), trainable=False, name="kernel")

    assert (v.name, v.trainable) == ("kernel", False)
    assert ((2, 3), np.dtype(np.float32), 2, 6) == (v.shape, v.dtype, v.ndim, v.size)
    assert "Variable('kernel', f32[2,3]" in repr(v)


def test_names_are_made_where_none_is_given():
    assert Variable(1.0).name != Variable(1.0).name


def test_initial_value_is_copied():
    data = ones(2)
    v = Variable(data)

    data[:] = 5

    assert v.tolist() == [1.0, 1.0]


def test_dtype_converts_the_initial_value():
    assert np.float64 == Variable([1, 2], dtype="float64").dtype
    assert np.float32 == Variable(1.0).dtype


def test_assign_changes_the_value_but_no_array_read_before():
    v = Variable(ones(2))
    before = v.value

    returned = v.assign(as_value(np.array([2, 3], np.float32)))

    assert returned is v
    assert before.tolist() == [1.0, 1.0]
    assert v.value.tolist() == [2.0, 3.0]


def test_assign_copies_memory_of_the_caller():
    data = ones(2)
    v = Variable(ones(2)).assign(data)

    data[:] = 7

    assert v.tolist() == [1.0, 1.0]


def test_assign_add_and_sub():
    v = Variable(ones(2))

    v.assign_add(2.0)
    v.assign_sub(np.array([1, 0.5], np.float32))

    assert v.tolist() == [2.0, 2.5]


def test_assign_takes_python_scalars_of_any_kind():
    v = Variable(np.float64(0))

    assert float(v.assign(3)) == 3.0
    assert np.float64 == v.dtype


def test_assign_refuses_another_shape():
    v = Variable(ones(2), name="v")

    with pytest.raises(ShapeError, match=r"'v' is f32\[2\], but f32\[3\] was assigned") as caught:
        v.assign(ones(3))

    assert any(__file__ in note for note in caught.value.__notes__)


def test_assign_refuses_another_dtype():
    v = Variable(ones(2), name="v")

    with pytest.raises(DTypeError, match=r"f64\[2\] was assigned: cast it.*'float32'"):
        v.assign(np.ones(2))


def test_a_variable_stands_for_its_value():
    v = Variable(np.array([1, 4], np.float32))

    assert (v + 1).tolist() == [2.0, 5.0]
    assert (2 * v).tolist() == [2.0, 8.0]
    assert float(v[1]) == 4.0
    assert np.asarray(v).sum() == 5.0
    assert (v > 2).tolist() == [False, True]
    assert [float(x) for x in v] == [1.0, 4.0]
    assert len(v) == 2


def test_a_scalar_variable_is_a_number():
    v = Variable(3)

    assert int(v) == 3
    assert float(v) == 3.0
    assert v.item() == 3
    assert bool(v)
    assert [*range(v)] == [0, 1, 2]
    assert f"{Variable(3.0):.2f}" == "3.00"


def test_dlpack_gives_the_value():
    v = Variable(ones(2))

    np.testing.assert_array_equal(ones(2), np.from_dlpack(v))


def test_a_tracer_is_no_initial_value():
    with pytest.raises(LeakedTracerError, match="create the variable outside"):
        pb.make_program(lambda x: Variable(x))(ones(2))


def test_a_tracer_cannot_be_assigned_outside() -> None:
    v = Variable(ones(2))
    leaked: list[Any] = []

    def leak(x):
        leaked.append(x)
        return x

    pb.make_program(leak)(ones(2))

    with pytest.raises(LeakedTracerError):
        v.assign(leaked[0])


def test_take_gives_memory_that_nobody_else_sees():
    v = Variable(ones(2))

    taken = take([v])
    memory = exclusive(taken, 0)
    put([v], taken)

    assert memory is taken[0].data


@pytest.mark.parametrize("hold", ["array", "numpy", "view"])
def test_take_copies_memory_that_somebody_sees(hold):
    v = Variable(ones(2))
    held = {"array": v.value, "numpy": np.asarray(v), "view": np.asarray(v.value)[:1]}[hold]

    taken = take([v])
    memory = exclusive(taken, 0)
    memory[:] = 9
    put([v], taken)

    assert float(np.asarray(held)[0]) == 1.0


def test_a_taken_variable_cannot_be_used_by_the_same_thread():
    v = Variable(ones(2), name="v")
    taken = take([v])

    for use in (v.read, lambda: v.assign(ones(2)), lambda: take([v])):
        with pytest.raises(PullbackError, match="'v' was used by a host callback"):
            use()

    put([v], taken)
    assert v.tolist() == [1.0, 1.0]


def test_another_thread_waits_for_a_taken_variable():
    v = Variable(ones(2))
    taken = take([v])
    seen = []
    thread = threading.Thread(target=lambda: seen.append(v.tolist()))

    thread.start()
    time.sleep(0.1)  # the reader must not have got through
    assert seen == []
    put([v], [Array(np.array([5, 6], np.float32))])
    thread.join(5)

    assert seen == [[5.0, 6.0]]
    del taken
