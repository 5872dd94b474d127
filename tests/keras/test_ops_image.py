"""``ops.image`` against definitions in NumPy, known images and central differences."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.testing import check_vjp

pytest.importorskip("keras")

from keras_pullback.src.ops import image

FORMATS = ("channels_last", "channels_first")
KERNELS = ("bilinear", "bicubic", "lanczos3", "lanczos5")
IDENTITY = np.array([1.0, 0, 0, 0, 1, 0, 0, 0])


def in_format(images: np.ndarray, data_format: str) -> np.ndarray:
    """Return ``[batch, height, width, channels]`` in the format."""
    return images if data_format == "channels_last" else np.moveaxis(images, -1, 1)


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.random((2, 6, 8, 3))


@pytest.mark.parametrize("data_format", FORMATS)
def test_colors_equal_colorsys(images: np.ndarray, data_format: str) -> None:
    given = in_format(images, data_format)

    hsv = image.rgb_to_hsv(given, data_format)
    back = image.hsv_to_rgb(hsv, data_format)

    pixels = [colorsys.rgb_to_hsv(*pixel) for pixel in images.reshape(-1, 3)]
    expected = in_format(np.reshape(pixels, images.shape), data_format)
    np.testing.assert_allclose(np.asarray(hsv), expected, atol=1e-12)
    np.testing.assert_allclose(np.asarray(back), given, atol=1e-12)


def test_grayscale_weighs_channels(images: np.ndarray) -> None:
    grey = np.asarray(image.rgb_to_grayscale(images, "channels_last"))

    np.testing.assert_allclose(grey[..., 0], images @ [0.2989, 0.587, 0.114], rtol=1e-12)
    whole = image.rgb_to_grayscale((255 * images).astype("uint8"), "channels_last")
    assert (str(whole.dtype), whole.shape) == ("uint8", (2, 6, 8, 1))


@pytest.mark.parametrize("function", [image.rgb_to_grayscale, image.rgb_to_hsv, image.hsv_to_rgb])
def test_colors_refuse_other_channels_and_ranks(function: Any) -> None:
    with pytest.raises(ValueError, match="channel size"):
        function(np.ones((4, 4, 2)), "channels_last")
    with pytest.raises(ValueError, match="rank"):
        function(np.ones((4, 3)), "channels_last")


@pytest.mark.parametrize("interpolation", [*KERNELS, "nearest"])
@pytest.mark.parametrize("antialias", [False, True])
def test_resize_keeps_constants_and_equal_sizes(
    images: np.ndarray, interpolation: str, antialias: bool
) -> None:
    options: dict[str, Any] = {"interpolation": interpolation, "antialias": antialias}
    options["data_format"] = "channels_last"

    constant = image.resize(np.full((5, 7, 1), 3.0), (9, 4), **options)
    same = image.resize(images, (6, 8), **options)

    np.testing.assert_allclose(np.asarray(constant), np.full((9, 4, 1), 3.0), rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(same), images)


def test_resize_interpolates_linearly() -> None:
    x = np.array([0.0, 4.0]).reshape(1, 2, 1)

    found = np.asarray(image.resize(x, (1, 4), data_format="channels_last"))

    assert found.ravel().tolist() == [0.0, 1.0, 3.0, 4.0]


def test_resize_averages_with_antialias() -> None:
    x = np.arange(8.0).reshape(1, 8, 1)

    sharp = image.resize(x, (1, 2), antialias=False, data_format="channels_last")
    smooth = image.resize(x, (1, 2), antialias=True, data_format="channels_last")

    np.testing.assert_allclose(np.asarray(sharp).ravel(), [1.5, 5.5], rtol=1e-6)
    weights = np.maximum(1 - np.abs(np.arange(8) - 1.5) / 4, 0)
    first = weights @ np.arange(8) / weights.sum()
    np.testing.assert_allclose(np.asarray(smooth).ravel(), [first, 7 - first], rtol=1e-6)


def test_resize_of_integers_is_not_rounded() -> None:
    """Keras rounds, and clips to the dtype, what the backend returns."""
    x = np.array([0, 255, 255, 0], "uint8").reshape(1, 4, 1)

    found = image.resize(x, (1, 9), interpolation="bicubic", data_format="channels_last")
    nearest = image.resize(x, (1, 9), interpolation="nearest", data_format="channels_last")

    assert (str(found.dtype), str(nearest.dtype)) == ("float32", "uint8")
    assert np.asarray(found).max() > 255


@pytest.mark.parametrize("data_format", FORMATS)
def test_resize_keeps_the_aspect_ratio(images: np.ndarray, data_format: str) -> None:
    given = in_format(images, data_format)

    cropped = image.resize(
        given, (3, 3), "nearest", crop_to_aspect_ratio=True, data_format=data_format
    )
    padded = image.resize(
        given,
        (8, 8),
        "nearest",
        pad_to_aspect_ratio=True,
        fill_value=2.0,
        data_format=data_format,
    )

    expected = in_format(images[:, 1::2, 2:7:2], data_format)
    np.testing.assert_array_equal(np.asarray(cropped), expected)
    framed = np.pad(images, [(0, 0), (1, 1), (0, 0), (0, 0)], constant_values=2.0)
    np.testing.assert_array_equal(np.asarray(padded), in_format(framed, data_format))


@pytest.mark.parametrize("interpolation", KERNELS)
def test_resize_differentiates(images: np.ndarray, interpolation: str) -> None:
    def resized(x: Any) -> Any:
        return image.resize(x, (4, 5), interpolation, data_format="channels_last")

    check_vjp(resized, images, order=1)


@pytest.mark.parametrize("method", ["linear", "cubic", "lanczos3"])
def test_scale_and_translate_equals_resize(images: np.ndarray, method: str) -> None:
    scale, shape = np.array([1.5, 0.5], "float32"), (2, 9, 4, 3)
    names = {"linear": "bilinear", "cubic": "bicubic"}

    found = pb.jit(
        lambda x, s: image.scale_and_translate(x, shape, s, np.zeros(2), (1, 2), method)
    )(pb.asarray(images), pb.asarray(scale))

    expected = image.resize(
        images, (9, 4), names.get(method, method), antialias=True, data_format="channels_last"
    )
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=1e-5)


@pytest.mark.parametrize("mode", ["constant", "nearest", "wrap", "mirror", "reflect"])
def test_coordinates_outside(mode: str) -> None:
    pads: dict[str, Any] = {"nearest": "edge", "mirror": "reflect", "reflect": "symmetric"}
    x = np.array([1.0, 3.0, 7.0, 4.0])
    places = np.arange(-6, 10)

    found = np.asarray(image.map_coordinates(x, places[None], 1, mode, fill_value=9.0))

    options: dict[str, Any] = {"constant_values": 9.0} if mode == "constant" else {}
    expected = np.pad(x, 6, mode=pads.get(mode, mode), **options)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_coordinates_between(images: np.ndarray) -> None:
    plane = images[0, :, :, 0]
    y, x = np.array([1.25, 3.0]), np.array([2.5, 4.75])

    linear = np.asarray(image.map_coordinates(plane, np.stack([y, x]), 1))
    nearest = np.asarray(image.map_coordinates(plane, np.stack([y, x]), 0))

    first = 0.75 * plane[1, 2:4].mean() + 0.25 * plane[2, 2:4].mean()
    second = 0.25 * plane[3, 4] + 0.75 * plane[3, 5]
    np.testing.assert_allclose(linear, [first, second], rtol=1e-12)
    np.testing.assert_array_equal(nearest, [plane[1, 3], plane[3, 5]])


def test_coordinates_differentiate(rng: np.random.Generator) -> None:
    plane, places = rng.random((4, 5)), rng.uniform(0.1, 2.9, size=(2, 6))

    check_vjp(lambda x, c: image.map_coordinates(x, c, 1, "reflect"), plane, places, order=1)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_affine_transform_moves(images: np.ndarray, data_format: str, interpolation: str) -> None:
    move = IDENTITY.copy()
    move[[2, 5]] = 1, -2  # from one to the right and two above

    found = image.affine_transform(
        in_format(images, data_format), move, interpolation, data_format=data_format
    )

    expected = np.zeros_like(images)
    expected[:, 2:, :-1] = images[:, :-2, 1:]
    np.testing.assert_allclose(np.asarray(found), in_format(expected, data_format), atol=1e-12)


@pytest.mark.parametrize("data_format", FORMATS)
def test_perspective_transform_moves(images: np.ndarray, data_format: str) -> None:
    end = np.array([[0.0, 0.0], [0, 5], [7, 0], [7, 5]])

    found = image.perspective_transform(
        in_format(images, data_format), end + np.array([1, 0]), end, data_format=data_format
    )

    expected = np.zeros_like(images)
    expected[:, :, :-1] = images[:, :, 1:]
    np.testing.assert_allclose(np.asarray(found), in_format(expected, data_format), atol=1e-5)


def test_elastic_transform_repeats_and_vanishes(images: np.ndarray) -> None:
    still = image.elastic_transform(images, 0.0, 1.0, seed=1, data_format="channels_last")
    first, again, other = (
        np.asarray(image.elastic_transform(images, 5.0, 1.0, seed=s, data_format="channels_last"))
        for s in (1, 1, 2)
    )

    np.testing.assert_allclose(np.asarray(still), images, atol=1e-12)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("data_format", FORMATS)
def test_gaussian_blur_weighs_neighbours(data_format: str) -> None:
    dot = np.zeros((1, 7, 7, 1))
    dot[0, 3, 3] = 1.0

    found = image.gaussian_blur(in_format(dot, data_format), (5, 3), (1.5, 0.5), data_format)

    across, down = np.exp(-0.5 * (np.arange(-2, 3) / 1.5) ** 2), np.exp(-2.0 * np.array([1, 0, 1]))
    expected = np.outer(down / down.sum(), across / across.sum())
    values = np.asarray(found).reshape(7, 7)
    np.testing.assert_allclose(values[2:5, 1:6], expected, atol=1e-12)
    np.testing.assert_allclose(values.sum(), 1, rtol=1e-12)


@pytest.mark.parametrize("data_format", FORMATS)
def test_sobel_edges_of_a_ramp(data_format: str) -> None:
    ramp = np.broadcast_to(np.arange(6.0)[None, None, :, None], (1, 5, 6, 1))

    edges = np.asarray(image.sobel_edges(in_format(ramp, data_format), data_format))

    inner = edges.reshape(5, 6, 2)[1:-1, 1:-1]
    assert np.all(inner[..., 0] == 0)
    assert np.all(inner[..., 1] == 8)
