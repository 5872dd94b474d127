"""Methods and properties of values: each agrees with the function of its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from agreement import traced

import pullback as pb
from pullback.errors import LeakedTracerError, TracerArrayError, TracerBoolError
from pullback.program.value import METHODS, PROPERTIES

X = np.arange(6, dtype=np.float32).reshape(2, 3)
CALLS: dict[str, tuple[Any, ...] | None] = {
    "all": (),
    "any": (1,),
    "argmax": (0,),
    "argmin": (),
    "argsort": (),
    "astype": (np.int32,),
    "clip": (1, 3),
    "conj": (),
    "cumprod": (1,),
    "cumsum": (0,),
    "diagonal": (),
    "dot": (X.T,),
    "flatten": (),
    "matmul": (X.T,),
    "max": (1,),
    "mean": (0,),
    "min": (),
    "nonzero": (),
    "prod": (),
    "ptp": (),
    "ravel": (),
    "repeat": (2,),
    "reshape": ((3, 2),),
    "round": (),
    "searchsorted": None,
    "sort": (),
    "squeeze": (),
    "std": (1,),
    "sum": (1,),
    "swapaxes": (0, 1),
    "take": (np.array([0, 1]),),
    "trace": (),
    "transpose": ((1, 0),),
    "var": (),
}


@pytest.mark.parametrize("name", sorted(n for n, args in CALLS.items() if args is not None))
def test_methods_agree_with_functions(name):
    args = CALLS[name]
    assert args is not None

    found = getattr(pb.asarray(X), name)(*args)
    expected = getattr(pb, name)(pb.asarray(X), *args)

    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    if name != "nonzero":
        (again,) = traced(lambda x: getattr(x, name)(*args), (X,), {})
        np.testing.assert_array_equal(again, np.asarray(found))


def test_every_method_is_tried_here():
    tried_elsewhere = {
        *("T", "mT", "at", "device", "itemsize", "nbytes", "real", "imag", "copy", "view"),
        *("to_device", "block_until_ready", "numpy", "__getitem__", "__array_namespace__"),
    }
    operators = set(pb.primitives.operators.OPERATORS)

    assert set(METHODS) - operators == set(CALLS) | tried_elsewhere


def test_properties():
    x = pb.asarray(X)

    assert x.T.shape == x.mT.shape == (3, 2)
    assert (x.nbytes, x.itemsize, x.size, x.ndim, x.shape) == (24, 4, 6, 2, (2, 3))
    assert x.device == "cpu"
    assert x.real is x
    assert x.imag.tolist() == [[0] * 3] * 2
    assert x.block_until_ready() is x
    assert x.copy().tolist() == x.tolist()
    assert x.view(pb.int32).dtype == np.int32
    assert set(METHODS) >= PROPERTIES


def test_reshape_and_transpose_take_loose_numbers():
    x = pb.asarray(X)

    assert x.reshape(3, 2).shape == x.reshape((3, -1)).shape == (3, 2)
    assert x.reshape(-1).shape == (6,)
    assert x.transpose(1, 0).shape == x.transpose().shape == x.transpose([1, 0]).shape == (3, 2)


def test_conversion_to_python():
    assert float(pb.asarray(1.5)) == pb.asarray(1.5).item() == 1.5
    assert int(pb.asarray(3)) == 3
    assert bool(pb.asarray(True))
    assert complex(pb.asarray(2.0)) == 2
    assert [10, 20, 30][pb.asarray(1)] == 20
    assert f"{pb.asarray(0.5):.2f}" == "0.50"
    assert pb.asarray([1, 2]).tolist() == [1, 2]
    assert isinstance(pb.asarray([1.5]).numpy(), np.ndarray)
    assert isinstance(pb.asarray(1.5).numpy(), np.float32)
    with pytest.raises(TypeError, match="unhashable"):
        hash(pb.asarray(1))
    with pytest.raises(ValueError, match="ambiguous"):
        bool(pb.asarray([True, False]))


def test_in_place_operators_make_new_arrays():
    x = y = pb.asarray([1.0, 2.0])

    x += 1
    x *= 2

    assert x.tolist() == [4, 6]
    assert y.tolist() == [1, 2]


def test_divmod_and_powers():
    x = pb.asarray([7.0, -7.0])

    assert [v.tolist() for v in divmod(x, 2)] == [[3, -4], [1, 1]]
    assert (2 ** pb.asarray([1, 3])).tolist() == [2, 8]
    assert (x**2).tolist() == [49, 49]
    assert (-x).tolist() == (0 - x).tolist()
    assert abs(x).tolist() == [7, 7]
    assert (+x).tolist() == x.tolist()
    assert (~pb.asarray([True])).tolist() == [False]


def test_traced_values_refuse_python() -> None:
    def use(function):
        return traced(function, (X,), {})

    with pytest.raises(TracerBoolError, match=r"f32\[2,3\].*pullback.where"):
        use(lambda x: -x if x else x)
    with pytest.raises(TracerArrayError, match="Use the function of the same name"):
        use(lambda x: pb.asarray(np.sin(x)))
    with pytest.raises(TracerArrayError, match="Use the function of the same name"):
        use(lambda x: pb.asarray(x.numpy()))
    with pytest.raises(TracerArrayError, match="item"):
        use(lambda x: x.item())
    kept: list[Any] = []

    def leak(x):
        kept.append(x)
        return x

    use(leak)
    with pytest.raises(LeakedTracerError, match="return it instead"):
        kept[0] + 1


def test_unknown_attributes_are_attribute_errors():
    assert not hasattr(pb.asarray(1), "no_such_thing")
    assert not hasattr(pb.asarray(1), "__no_such_thing__")


@pytest.mark.parametrize(
    "name", ["mean", "sum", "max", "min", "prod", "std", "var", "argmax", "cumsum", "all", "any"]
)
def test_numpy_functions_reach_the_method(name):
    """NumPy passes ``out=None`` and ``dtype=None`` on to the method of that name."""
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)

    result = getattr(np, name)(pb.asarray(x), axis=0)

    np.testing.assert_allclose(np.asarray(result), getattr(np, name)(x, axis=0), rtol=1e-6)
