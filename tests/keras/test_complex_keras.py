"""Complex tensors of the Keras backend: NumPy's results outside programs, errors inside."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import pullback as pb
from keras_pullback.src.ops.complex_arrays import FUNCTIONS, ComplexArray, ComplexOperandError
from pullback.testing import check_vjp

UNARY = [
    *("abs", "absolute", "negative", "square", "sqrt", "reciprocal", "exp", "log", "sin", "cos"),
    *("tan", "sinh", "cosh", "tanh", "real", "imag", "conj", "conjugate", "angle", "isreal"),
    *("isfinite", "isinf", "isnan", "logical_not", "sum", "mean", "prod", "transpose", "ravel"),
    *("copy", "zeros_like", "ones_like"),
]
BINARY = [
    *("add", "subtract", "multiply", "divide", "true_divide", "power", "matmul", "vdot", "dot"),
    *("inner", "outer", "equal", "not_equal", "isclose", "logical_and", "logical_or"),
    "logical_xor",
]
Z = np.array([[1 + 2j, -0.5j], [3.0, 0.25 - 1j]], np.complex64)
W = np.array([[2 - 1j, 1 + 0j], [0.5j, -1.5]], np.complex64)


def _check(found: Any, expected: Any) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_tensor_are_numpys(name: str) -> None:
    _check(getattr(ops, name)(ops.convert_to_tensor(Z)), getattr(np, name)(Z))


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_tensors_are_numpys(name: str) -> None:
    _check(getattr(ops, name)(Z, ops.convert_to_tensor(W)), getattr(np, name)(Z, W))


OTHERS: dict[str, tuple[Callable[[], Any], Any]] = {
    "allclose": (lambda: ops.all(ops.isclose(Z, Z)), True),
    "tensordot": (lambda: ops.tensordot(Z, W, axes=1), np.tensordot(Z, W, 1)),
    "einsum": (lambda: ops.einsum("ij,kj->ik", Z, W), np.einsum("ij,kj->ik", Z, W)),
    "reshape": (lambda: ops.reshape(Z, (4, 1)), Z.reshape(4, 1)),
    "moveaxis": (lambda: ops.moveaxis(Z, 0, 1), Z.T),
    "swapaxes": (lambda: ops.swapaxes(Z, 0, 1), Z.T),
    "expand_dims": (lambda: ops.expand_dims(Z, 1), Z[:, None]),
    "squeeze": (lambda: ops.squeeze(Z[None], 0), Z),
    "flip": (lambda: ops.flip(Z, 0), Z[::-1]),
    "concatenate": (lambda: ops.concatenate([Z, ops.ones((1, 2))]), np.vstack([Z, [[1, 1]]])),
    "stack": (lambda: ops.stack([ops.convert_to_tensor(Z), W], 1), np.stack([Z, W], 1)),
    "zeros": (lambda: ops.zeros((2,), "complex64"), np.zeros(2, "complex64")),
    "ones": (lambda: ops.ones((2,), "complex128"), np.ones(2, "complex128")),
    "full": (lambda: ops.full((2,), 1j, "complex64"), np.full(2, 1j, "complex64")),
    "full_like": (lambda: ops.full_like(Z, 2j), np.full_like(Z, 2j)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_functions_with_other_arguments_are_numpys(name: str) -> None:
    found, expected = OTHERS[name]

    np.testing.assert_allclose(np.asarray(found()), expected, rtol=1e-6)


def test_every_function_with_complex_operands_is_tested() -> None:
    assert {*UNARY, *BINARY, *OTHERS} == {*FUNCTIONS}


def test_promotion_is_keras_and_not_numpys() -> None:
    """NumPy makes complex128 of complex64 and int32."""
    z = ops.convert_to_tensor(Z)

    for other in (ops.ones((2, 2), "int32"), ops.ones((2, 2), "bfloat16"), 2, 0.5, 1j, True):
        assert ops.add(z, other).dtype == ops.multiply(other, z).dtype == np.complex64
    assert ops.add(z, np.ones((2, 2))).dtype == np.complex128
    assert ops.multiply(ops.ones(2), 1j).dtype == np.complex64
    # Compared as complex64, which has 24 bits, like in JAX.
    assert ops.equal(np.array(2**24, "complex64"), np.array(2**24 + 1, "int32"))


def test_operators_and_indexing_take_tensors_of_both_kinds() -> None:
    z, ones = ops.convert_to_tensor(Z), ops.ones((2, 2))

    for found in (z + ones, ones + z, 1 + z, z - ones * -1):
        assert isinstance(found, ComplexArray)
        _check(found, Z + 1)
    _check(ones - z, 1 - Z)
    _check(z @ ones, Z @ np.ones((2, 2), "complex64"))
    _check(z[:, 0], Z[:, 0])
    assert (len(z), z.size, z.ndim, z.shape) == (2, 4, 2, (2, 2))
    assert complex(z[0, 0]) == 1 + 2j
    assert isinstance(z == z, pb.Array)
    assert repr(z[0]) == "ComplexArray([ 1.+2.j , -0.-0.5j], complex64)"


def test_tensors_never_change() -> None:
    data = Z.copy()
    z = ops.convert_to_tensor(data)
    data[:] = 0

    _check(z, Z)
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(z)[0] = 0


def test_casts_both_ways_and_pairs() -> None:
    parts = np.stack([Z.real, Z.imag], -1)

    _check(ops.view_as_complex(parts), Z)
    _check(ops.view_as_real(ops.convert_to_tensor(Z)), parts)
    _check(ops.cast(ops.convert_to_tensor(Z), "float32"), Z.real)
    _check(ops.cast(ops.convert_to_tensor(Z), "complex128"), Z.astype("complex128"))
    _check(ops.cast(ops.ones(2), "complex64"), np.ones(2, "complex64"))
    _check(ops.convert_to_tensor([1j, 2]), np.array([1j, 2], "complex64"))
    _check(ops.polar(ops.ones(2), ops.zeros(2)), np.ones(2, "complex64"))
    assert ops.is_tensor(ops.convert_to_tensor(Z))


def test_variables_hold_assign_copy_and_pickle() -> None:
    v = keras.Variable(Z, dtype="complex64")

    v.assign(W)
    v.assign_add(ops.ones((2, 2)))
    _check(v.value, W + 1)
    _check(v * v, (W + 1) ** 2)
    clone, loaded = copy.deepcopy(v), pickle.loads(pickle.dumps(v))
    v.assign(Z)
    _check(clone.value, W + 1)
    _check(loaded.value, W + 1)


class Rotation(keras.layers.Layer):
    """Multiplies by a complex weight."""

    def build(self, _: Any) -> None:
        self.turn = self.add_weight(shape=(), dtype="complex64", initializer="ones")

    def compute_output_shape(self, shape: Any) -> Any:
        return shape  # a symbolic call would trace

    def call(self, x: Any) -> Any:
        return ops.real(ops.cast(x, "complex64") * self.turn)


def test_a_model_with_complex_weights_sees_assigned_values_and_does_not_train() -> None:
    x = np.array([[1.0, 2.0]], "float32")
    model = keras.Sequential([keras.layers.Dense(2), Rotation()])
    outputs = [np.asarray(model(x)) for _ in range(3)]  # the third would be compiled

    model.layers[1].turn.assign(-1.0)

    _check(model(x), -outputs[2])
    model.compile("sgd", "mse")
    # Before 3.14, Keras wraps what comes out of the first, symbolic call.
    with pytest.raises((ComplexOperandError, RuntimeError), match=r"exist .* outside of compiled"):
        model.fit(x, x, verbose=0)


@pytest.mark.parametrize(
    ("run", "given"),
    [
        (lambda x: ops.real(ops.cast(x, "complex64")), r"f32\[2\], to be cast"),
        (lambda x: x + ops.real(keras.Variable(Z, dtype="complex64")), r"complex64\[2,2\]"),
        (lambda x: ops.multiply(x, 1j), r"f32\[2\]"),
        (lambda x: ops.cast(x, "float32") + ops.real(ops.ones(2, "complex64") * x), r"f32\[2\]"),
    ],
    ids=["cast", "variable", "number", "operator"],
)
def test_programs_and_derivatives_refuse_complex_numbers(
    run: Callable[[Any], Any], given: str
) -> None:
    x = np.ones(2, "float32")

    with pytest.raises(Exception, match=given):
        pb.jit(run)(x)
    if "2,2" not in given:  # a variable is no constant in a program, and is one in a derivative
        with pytest.raises(Exception, match=given):
            pb.grad(lambda x: ops.sum(run(x)))(x)


def test_a_tape_refuses_what_would_lose_the_derivative() -> None:
    with pb.GradientTape() as tape:
        x = pb.ones(2)
        tape.watch(x)
        with pytest.raises(ComplexOperandError, match=r"f32\[2\]"):
            ops.cast(x * 2, "complex64")
        y = ops.sum(x * ops.real(ops.convert_to_tensor([2j, 3.0])))

    _check(tape.gradient(y, x), np.array([0.0, 3.0], "float32"))


@pytest.mark.parametrize("name", ["sort", "maximum", "relu", "floor", "cumsum"])
def test_functions_without_a_complex_meaning_name_what_they_got(name: str) -> None:
    z = ops.convert_to_tensor(Z)

    with pytest.raises(ComplexOperandError, match=r"got complex64\[2,2\]"):
        getattr(ops, name)(*[z] * (2 if name == "maximum" else 1))


def test_the_real_functions_stay_differentiable() -> None:
    """What a complex operand turns to NumPy must not do so without one."""
    check_vjp(lambda x: ops.sum(ops.square(ops.real(x)) * ops.abs(x)), (np.array([0.5, -2.0]),))
