"""``ops.math`` against NumPy and central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.testing import check_vjp

pytest.importorskip("keras")

from keras_pullback.src.ops import math

#: A short one, a power of two, composites, a prime below and one above the longest direct prime.
LENGTHS = (1, 2, 7, 64, 65, 97, 120, 256, 521)


@pytest.mark.parametrize("n", LENGTHS)
def test_fft_equals_numpy(rng: np.random.Generator, n: int) -> None:
    real, imaginary = rng.normal(size=(2, 3, n))

    found = math.fft((real, imaginary))

    expected = np.fft.fft(real + 1j * imaginary)
    np.testing.assert_allclose(np.asarray(found[0]), expected.real, atol=1e-10)
    np.testing.assert_allclose(np.asarray(found[1]), expected.imag, atol=1e-10)


@pytest.mark.parametrize("n", LENGTHS)
def test_rfft_and_irfft_equal_numpy(rng: np.random.Generator, n: int) -> None:
    x = rng.normal(size=(2, n))

    real, imaginary = math.rfft(x)

    expected = np.fft.rfft(x)
    np.testing.assert_allclose(np.asarray(real), expected.real, atol=1e-10)
    np.testing.assert_allclose(np.asarray(imaginary), expected.imag, atol=1e-10)
    np.testing.assert_allclose(np.asarray(math.irfft((real, imaginary), n)), x, atol=1e-10)


@pytest.mark.parametrize("length", [5, 8, 12])
def test_rfft_cuts_and_fills(rng: np.random.Generator, length: int) -> None:
    x = rng.normal(size=(2, 8))
    spectrum = np.fft.rfft(rng.normal(size=(2, 9)))

    real, imaginary = math.rfft(x, length)
    back = math.irfft((spectrum.real, spectrum.imag), length)

    expected = np.fft.rfft(x, length)
    np.testing.assert_allclose(np.asarray(real), expected.real, atol=1e-10)
    np.testing.assert_allclose(np.asarray(imaginary), expected.imag, atol=1e-10)
    np.testing.assert_allclose(np.asarray(back), np.fft.irfft(spectrum, length), atol=1e-10)


def test_fft2_and_its_inverse(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 6, 10)), rng.normal(size=(2, 6, 10))

    found = math.fft2(x)
    back = math.ifft2(found)

    expected = np.fft.fft2(x[0] + 1j * x[1])
    np.testing.assert_allclose(np.asarray(found[0]), expected.real, atol=1e-10)
    for part, given in zip(back, x, strict=True):
        np.testing.assert_allclose(np.asarray(part), given, atol=1e-10)


@pytest.mark.parametrize("n", [6, 70])
def test_transforms_differentiate(rng: np.random.Generator, n: int) -> None:
    check_vjp(lambda x, y: math.fft((x, y)), *rng.normal(size=(2, 2, n)), order=1)
    check_vjp(lambda x: math.rfft(x), rng.normal(size=(2, n)), order=1)
    check_vjp(lambda x, y: math.irfft((x, y)), *rng.normal(size=(2, 2, n)), order=1)


@pytest.mark.parametrize("x", [np.ones(3), (np.ones(3),), (np.ones(3), np.ones(2))])
def test_fft_refuses_what_is_no_pair(x: Any) -> None:
    with pytest.raises(ValueError, match="tuple of two tensors"):
        math.fft(x)


@pytest.mark.parametrize("window", ["hann", "hamming", None])
def test_istft_inverts_stft(rng: np.random.Generator, window: str | None) -> None:
    x = rng.normal(size=(2, 256))

    pair = math.stft(x, 32, 8, 32, window=window)
    back = np.asarray(math.istft(pair, 32, 8, 32, window=window))

    # Keras leaves frames without a window unscaled: each element counts as often as it occurs.
    scale = 1 if window else 4
    np.testing.assert_allclose(back, scale * x, atol=1e-10)


def test_stft_equals_numpy(rng: np.random.Generator) -> None:
    x = rng.normal(size=40)

    real, imaginary = math.stft(x, 8, 4, 16, window=None, center=False)

    frames = np.stack([x[i : i + 16] for i in range(0, 25, 4)])
    expected = np.fft.rfft(frames)
    np.testing.assert_allclose(np.asarray(real), expected.real, atol=1e-10)
    np.testing.assert_allclose(np.asarray(imaginary), expected.imag, atol=1e-10)


def test_stft_refuses_other_windows() -> None:
    with pytest.raises(ValueError, match="hamming"):
        math.stft(np.ones(32), 8, 4, 8, window="square")
    with pytest.raises(ValueError, match="shape of `window`"):
        math.stft(np.ones(32), 8, 4, 8, window=np.ones(3))
    with pytest.raises(TypeError, match="float64"):
        math.stft(np.ones(32, "int32"), 8, 4, 8)


def test_extract_sequences_cuts_frames() -> None:
    frames = math.extract_sequences(np.arange(10).reshape(1, 10), 4, 3)

    assert np.asarray(frames).tolist() == [[[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]]


@pytest.mark.parametrize(
    ("name", "ufunc", "empty"),
    [
        ("segment_sum", np.add, 0),
        ("segment_max", np.maximum, -np.inf),
        ("segment_min", np.minimum, np.inf),
        ("segment_prod", np.multiply, 1),
    ],
)
def test_segments_leave_out_what_is_outside(
    rng: np.random.Generator, name: str, ufunc: np.ufunc, empty: float
) -> None:
    data, ids = rng.normal(size=(7, 2)), np.array([0, 1, 1, -1, 5, 3, 0])

    found = np.asarray(getattr(math, name)(data, ids, 4))

    for i in range(4):
        chosen = data[ids == i]
        expected = ufunc.reduce(chosen) if len(chosen) else np.full(2, empty)
        np.testing.assert_allclose(found[i], expected, rtol=1e-14)


def test_segments_are_counted_where_values_are_known() -> None:
    data, ids = np.ones(3, "float32"), np.array([0, 2, 2])

    assert np.asarray(math.segment_sum(data, ids)).tolist() == [1, 0, 2]
    with pytest.raises(ValueError, match="num_segments"):
        pb.jit(lambda ids: math.segment_sum(data, ids))(pb.asarray(ids))


def test_segments_differentiate(rng: np.random.Generator) -> None:
    ids = np.array([0, 1, 1, 0, 2])
    for reduce in (math.segment_sum, math.segment_max, math.segment_min):
        check_vjp(lambda x, f=reduce: f(x, ids, 3), rng.normal(size=(5, 2)), order=1)


def test_logsumexp_is_stable() -> None:
    x = np.array([[1000.0, 1000.0], [-np.inf, -np.inf], [0.0, np.inf]])

    assert np.asarray(math.logsumexp(x, axis=1)).tolist() == [
        1000 + np.log(2),
        -np.inf,
        np.inf,
    ]
    assert math.logsumexp(x, keepdims=True).shape == (1, 1)
    assert math.logsumexp(x).shape == ()


def test_top_k_and_in_top_k() -> None:
    x = np.array([[0.1, 0.9, 0.5], [0.3, 0.2, np.nan]], "float32")

    values, places = math.top_k(x[:1], 2)

    assert np.asarray(places).tolist() == [[1, 2]]
    np.testing.assert_array_equal(np.asarray(values), x[:1, [1, 2]])
    assert np.asarray(math.in_top_k(np.array([2, 2]), x, 2)).tolist() == [True, False]


def test_special_functions(rng: np.random.Generator) -> None:
    x = rng.uniform(0.1, 0.9, size=(3, 3))
    y = rng.normal(size=(2, 3))

    np.testing.assert_allclose(np.asarray(math.rsqrt(x)), x**-0.5, rtol=1e-14)
    np.testing.assert_allclose(np.asarray(math.erf(math.erfinv(x))), x, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(math.erfc(x)), 1 - np.asarray(math.erf(x)), atol=1e-14)
    np.testing.assert_allclose(np.asarray(math.logdet(x)), np.linalg.slogdet(x)[1], rtol=1e-10)
    distances = np.linalg.norm(x[:, None] - y[None], axis=-1)
    np.testing.assert_allclose(np.asarray(math.cdist(x, y)), distances, rtol=1e-12)


@pytest.mark.parametrize("name", ["rsqrt", "erf", "erfc", "erfinv"])
def test_special_functions_take_integers(name: str) -> None:
    assert str(getattr(math, name)(np.array([0, 1])).dtype) == "float32"
