"""Convolution and pooling against loops in NumPy, and their gradients against differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback.compat.v1 as tf
from pullback.errors import ShapeError

Rng = np.random.Generator


def windows(x: Any, size: tuple[int, int], steps: tuple[int, int], padding: str) -> Any:
    """``[n, h', w', kh, kw, c]``, nan outside of the image."""
    counts, before = [], []
    for n, length, step in zip(x.shape[1:3], size, steps, strict=True):
        count = -(-n // step) if padding == "SAME" else (n - length) // step + 1
        missing = max((count - 1) * step + length - n, 0) if padding == "SAME" else 0
        counts.append(count)
        before.append(missing // 2)
    wide = np.pad(x, [(0, 0), (before[0], 9), (before[1], 9), (0, 0)], constant_values=np.nan)
    found = np.zeros((x.shape[0], *counts, *size, x.shape[3]), x.dtype)
    for i, j in np.ndindex(*counts):
        top, left = i * steps[0], j * steps[1]
        found[:, i, j] = wide[:, top : top + size[0], left : left + size[1]]
    return found


SETTINGS = [(p, s) for p in ("SAME", "VALID") for s in ((1, 1), (2, 3))]


@pytest.fixture
def image(rng: Rng) -> Any:
    return rng.normal(size=(2, 7, 8, 3)).astype(np.float32)


@pytest.mark.parametrize(("padding", "steps"), SETTINGS)
def test_windows_are_those_of_loops(
    padding: str, steps: tuple[int, int], image: Any, rng: Rng
) -> None:
    kernel = rng.normal(size=(3, 2, 3, 4)).astype(np.float32)
    x = tf.placeholder(tf.float32, [None, 7, 8, 3])
    four = [1, *steps, 1]
    tensors = [
        tf.nn.conv2d(x, kernel, strides=four, padding=padding),
        tf.nn.max_pool(x, ksize=[1, 3, 2, 1], strides=four, padding=padding),
        tf.nn.avg_pool(x, ksize=[1, 3, 2, 1], strides=four, padding=padding),
    ]

    with tf.Session() as sess:
        found = sess.run(tensors, {x: image})

    parts = windows(image, (3, 2), steps, padding)
    expected = [
        np.einsum("nhwijc,ijcd->nhwd", np.nan_to_num(parts), kernel),
        np.nanmax(parts, (3, 4)),
        np.nanmean(parts, (3, 4)),
    ]
    for tensor, value, reference in zip(tensors, found, expected, strict=True):
        assert tensor.get_shape().as_list() == [None, *reference.shape[1:]]
        np.testing.assert_allclose(value, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: tf.nn.conv2d(x, np.arange(16.0).reshape(2, 2, 1, 4) - 7, 2, "SAME"),
        lambda x: tf.nn.max_pool(x, 2, 2, "VALID"),
        lambda x: tf.nn.avg_pool(x, 2, 1, "SAME"),
    ],
    ids=["conv2d", "max_pool", "avg_pool"],
)
def test_gradients_of_windows_are_differences(make: Callable[[Any], Any], rng: Rng) -> None:
    x = tf.placeholder(tf.float64, [1, 4, 4, 1])
    y = tf.reduce_sum(tf.square(make(x)))
    (gradient,) = tf.gradients(y, x)
    data, direction = rng.normal(size=(2, 1, 4, 4, 1))

    with tf.Session() as sess:
        found = sess.run(gradient, {x: data})
        up, down = (sess.run(y, {x: data + sign * 1e-6 * direction}) for sign in (1, -1))

    np.testing.assert_allclose((found * direction).sum(), (up - down) / 2e-6, rtol=1e-6)


def test_layers_of_windows(image: Any) -> None:
    x = tf.placeholder(tf.float32, [None, 7, 8, 3])
    first = tf.layers.conv2d(x, 5, 3, padding="same", activation=tf.nn.relu)
    second = tf.layers.max_pooling2d(first, 2, 2)
    third = tf.layers.conv2d(second, 2, (2, 3), use_bias=False, name="last")
    fourth = tf.layers.average_pooling2d(third, (2, 1), (1, 1))

    names = ["conv2d/kernel:0", "conv2d/bias:0", "last/kernel:0"]
    assert [v.name for v in tf.trainable_variables()] == names
    assert [t.describe() for t in (first, second, third, fourth)] == [
        *("f32[?,7,8,5]", "f32[?,3,4,5]", "f32[?,2,2,2]", "f32[?,1,2,2]"),
    ]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run(fourth, {x: image}).shape == (2, 1, 2, 2)


def test_what_is_no_image_is_refused() -> None:
    x = tf.zeros([1, 4, 4, 3])
    with pytest.raises(ShapeError, match=r"image f32\[1,4,4,3\] and kernel f32\[2,2,1,4\]"):
        tf.nn.conv2d(x, tf.zeros([2, 2, 1, 4]))
    with pytest.raises(ShapeError, match=r"f32\[1,4,4,3\] has no window of 5 by 5"):
        tf.nn.max_pool(x, 5, 1, "VALID")
    with pytest.raises(ShapeError, match=r"expected \[n, h, w, c\]"):
        tf.nn.max_pool(tf.zeros([4, 4]), 2, 1, "VALID")
    with pytest.raises(tf.errors.GraphError, match="expected 'SAME' or 'VALID'"):
        tf.nn.conv2d(x, tf.zeros([2, 2, 3, 4]), padding="FULL")
    with pytest.raises(tf.errors.GraphError, match="expected 'SAME' or 'VALID', and 'NHWC'"):
        tf.nn.conv2d(x, tf.zeros([2, 2, 3, 4]), data_format="NCHW")
    with pytest.raises(tf.errors.GraphError, match="expected two positive numbers"):
        tf.nn.max_pool(x, [2, 2, 2, 1], 1, "SAME")
    with pytest.raises(tf.errors.GraphError, match="its last length must be known"):
        tf.layers.conv2d(tf.placeholder(tf.float32), 3, 3)
