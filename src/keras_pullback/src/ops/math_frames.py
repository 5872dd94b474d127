"""Short-time Fourier transforms: signals cut into windows that overlap, and put together again.

Imports ``math_fourier``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import pullback as pb
from keras_pullback.src.ops.core import real_tensor
from keras_pullback.src.ops.math_fourier import as_pair, irfft, rfft


def _places(count: int, length: int, stride: int) -> Any:
    """Return ``[count, length]``: where the elements of each frame are in the signal."""
    return np.arange(count)[:, None] * stride + np.arange(length)


def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> Any:
    """Cut the last axis into sequences ``[..., count, sequence_length]``."""
    x = real_tensor(x)
    count = max(0, (x.shape[-1] - sequence_length) // sequence_stride + 1)
    places = _places(count, sequence_length, sequence_stride).astype(np.int32)
    return pb.take(x, pb.asarray(places), axis=-1)


def _window(window: Any, sequence_length: int, fft_length: int, dtype: Any) -> np.ndarray | Any:
    """Return the window ``[fft_length]``, in the middle of zeros; None stands for ones."""
    left = (fft_length - sequence_length) // 2
    right = fft_length - sequence_length - left
    if window is None:
        return pb.ones((fft_length,), dtype=dtype)
    if isinstance(window, str):
        if window not in {"hann", "hamming"}:
            raise ValueError(
                "If a string is passed to `window`, it must be one of "
                f'`"hann"`, `"hamming"`. Received: window={window}'
            )
        offset = 0.5 if window == "hann" else 0.54
        turn = 2 * np.pi * np.arange(sequence_length) / sequence_length
        window = offset - (1 - offset) * np.cos(turn) if sequence_length > 1 else np.ones(1)
    values = real_tensor(window, dtype=dtype)
    if values.shape != (sequence_length,):
        raise ValueError(
            "The shape of `window` must be equal to [sequence_length]. "
            f"Received: window shape={values.shape}"
        )
    return pb.pad(values, [(left, right)])


def stft(
    x: Any,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    window: Any = "hann",
    center: bool = True,
) -> tuple[Any, Any]:
    """Fourier transforms of windows of a signal: ``[..., count, fft_length // 2 + 1]``."""
    x = real_tensor(x)
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"Invalid input type. Expected `float32` or `float64`. Received: input type={x.dtype}"
        )
    if fft_length < sequence_length:
        raise ValueError(
            "`fft_length` must equal or larger than `sequence_length`. Received: "
            f"sequence_length={sequence_length}, fft_length={fft_length}"
        )
    values = _window(window, sequence_length, fft_length, x.dtype)
    if center:
        half = fft_length // 2
        x = pb.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)], mode="reflect")
    return rfft(extract_sequences(x, fft_length, sequence_stride) * values, fft_length)


def istft(
    x: Any,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    length: int | None = None,
    window: Any = "hann",
    center: bool = True,
) -> Any:
    """Signal whose windows have given Fourier transforms, in the sense of least squares."""
    real, imaginary = as_pair(x)
    if real.ndim < 2:
        raise ValueError(f"Input `x` must have at least 2 dimensions. Received shape: {real.shape}")
    values = _window(window, sequence_length, fft_length, real.dtype)
    frames = irfft((real, imaginary), fft_length) * values
    count = real.shape[-2]
    total = fft_length + sequence_stride * (count - 1)
    places = _places(count, fft_length, sequence_stride)
    signal = pb.zeros((*real.shape[:-2], total), dtype=real.dtype).at[..., places].add(frames)
    squares = pb.broadcast_to(pb.square(values), places.shape)
    weight = pb.zeros((total,), dtype=real.dtype).at[places].add(squares)
    signal = signal / pb.where(weight > 1e-10, weight, 1.0)
    if window is None:
        # Keras leaves frames without a window unscaled.
        signal = signal * (fft_length / sequence_stride)
    start = fft_length // 2 if center else 0
    if length is not None:
        stop = min(start + length, total)
    else:
        stop = total - fft_length // 2 if center else total
    return signal[..., start:stop]
