"""``ops.nn`` against definitions in NumPy loops, known values and central differences."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.testing import check_vjp

pytest.importorskip("keras")

from keras_pullback.src.ops import nn

FORMATS = ("channels_last", "channels_first")


def in_format(x: np.ndarray, data_format: str) -> np.ndarray:
    """Return an array with channels last in the format."""
    return x if data_format == "channels_last" else np.moveaxis(x, -1, 1)


def windows(x: np.ndarray, sizes: Any, strides: Any, dilation: int = 1) -> Any:
    """Yield each window's place and its elements ``[batch, *sizes, channels]``."""
    spatial = x.shape[1:-1]
    reach = [(k - 1) * dilation + 1 for k in sizes]
    counts = [(n - r) // s + 1 for n, r, s in zip(spatial, reach, strides, strict=True)]
    for place in itertools.product(*map(range, counts)):
        starts = [i * s for i, s in zip(place, strides, strict=True)]
        cut = tuple(slice(i, i + r, dilation) for i, r in zip(starts, reach, strict=True))
        yield place, x[(slice(None), *cut)]


def convolved(x: np.ndarray, kernel: np.ndarray, strides: Any, dilation: int = 1) -> np.ndarray:
    """Return the valid convolution in groups, channels last."""
    *sizes, fan_in, filters = kernel.shape
    groups = x.shape[-1] // fan_in
    result: dict[Any, np.ndarray] = {}
    for place, w in windows(x, sizes, strides, dilation):
        parts = [
            np.tensordot(w[..., g * fan_in : (g + 1) * fan_in], k, w.ndim - 1)
            for g, k in enumerate(np.split(kernel, groups, axis=-1))
        ]
        result[place] = np.concatenate(parts, axis=-1)
    counts = [i + 1 for i in max(result)]
    stacked = np.stack(list(result.values()), axis=1)
    return stacked.reshape(x.shape[0], *counts, filters)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (2, 1), (3, 1), (1, 2)])
@pytest.mark.parametrize(("channels", "fan_in"), [(1, 1), (4, 4), (4, 2), (3, 1), (20, 20)])
def test_conv_is_the_sum_over_windows(
    rng: np.random.Generator,
    data_format: str,
    strides: int,
    dilation: int,
    channels: int,
    fan_in: int,
) -> None:
    for spatial, sizes in [((9,), (3,)), ((7, 8), (3, 2)), ((5, 4, 6), (2, 2, 3))]:
        x = rng.normal(size=(2, *spatial, channels))
        kernel = rng.normal(size=(*sizes, fan_in, 12))
        every = (strides,) * len(sizes)

        y = nn.conv(in_format(x, data_format), kernel, strides, "valid", data_format, dilation)

        expected = in_format(convolved(x, kernel, every, dilation), data_format)
        np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-10)


def test_same_padding_keeps_the_length_divided_by_the_stride(rng: np.random.Generator) -> None:
    x, kernel = rng.normal(size=(2, 8, 3)), rng.normal(size=(3, 3, 4))

    y = nn.conv(x, kernel, 2, "same", "channels_last")

    padded = np.pad(x, ((0, 0), (0, 1), (0, 0)))
    np.testing.assert_allclose(y, convolved(padded, kernel, (2,)), rtol=1e-10)


def test_conv_without_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="empty output"):
        nn.conv(np.ones((1, 2, 2, 1)), np.ones((3, 3, 1, 1)), data_format="channels_last")


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("fan_in", [1, 2, 4])
def test_gradients_of_conv(rng: np.random.Generator, strides: int, fan_in: int) -> None:
    x, kernel = rng.normal(size=(1, 5, 6, 4)), rng.normal(size=(3, 2, fan_in, 4))

    check_vjp(lambda x, k: nn.conv(x, k, strides, "same", "channels_last"), x, kernel)


def test_separable_conv_is_depthwise_then_pointwise(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 5, 5, 3))
    depthwise, pointwise = rng.normal(size=(2, 2, 3, 2)), rng.normal(size=(1, 1, 6, 4))

    y = nn.separable_conv(x, depthwise, pointwise, data_format="channels_last")

    channels = [convolved(x[..., c : c + 1], depthwise[:, :, c : c + 1], (1, 1)) for c in range(3)]
    expected = np.concatenate(channels, axis=-1) @ pointwise[0, 0]
    np.testing.assert_allclose(y, expected, rtol=1e-10)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(
    ("strides", "dilation", "sizes"),
    [((1, 1), 1, (3, 2)), ((2, 2), 1, (3, 2)), ((2, 3), 1, (4, 2)), ((1, 1), 2, (2, 3))],
)
def test_conv_transpose_is_the_transposition_of_conv(
    rng: np.random.Generator, data_format: str, strides: Any, dilation: int, sizes: Any
) -> None:
    kernel = rng.normal(size=(*sizes, 3, 5))
    x = rng.normal(size=(2, 4, 3, 5))

    y = nn.conv_transpose(
        in_format(x, data_format), kernel, strides, "valid", 0, data_format, dilation
    )
    y = np.asarray(y) if data_format == "channels_last" else np.moveaxis(np.asarray(y), 1, -1)

    other = rng.normal(size=y.shape)
    forward = convolved(other, kernel, strides, dilation)
    np.testing.assert_allclose((y * other).sum(), (forward * x).sum(), rtol=1e-10)


def test_gradients_of_conv_transpose(rng: np.random.Generator) -> None:
    x, kernel = rng.normal(size=(1, 3, 4, 2)), rng.normal(size=(3, 2, 3, 2))

    check_vjp(
        lambda x, k: nn.conv_transpose(x, k, 2, "same", data_format="channels_last"), x, kernel
    )


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(("size", "strides"), [(2, None), (3, 1), (3, 2), (2, 3)])
def test_pools_are_statistics_of_windows(
    rng: np.random.Generator, data_format: str, size: int, strides: int | None
) -> None:
    for spatial in [(9,), (7, 8), (5, 6, 7)]:
        x = rng.normal(size=(2, *spatial, 3))
        n, step = len(spatial), strides or size
        inside = tuple(range(1, n + 1))

        pools: list[tuple[Any, Any]] = [(nn.max_pool, np.max), (nn.average_pool, np.mean)]
        for pool, reduce in pools:
            y = np.asarray(pool(in_format(x, data_format), size, strides, "valid", data_format))

            for place, w in windows(x, (size,) * n, (step,) * n):
                got = y[(slice(None), *place)] if data_format == FORMATS[0] else y[(..., *place)]
                np.testing.assert_allclose(got, reduce(w, axis=inside), rtol=1e-12)


def test_average_pool_does_not_count_padding() -> None:
    y = nn.average_pool(np.ones((1, 5, 5, 1)), 2, 2, "same", "channels_last")

    np.testing.assert_array_equal(y, np.ones((1, 3, 3, 1)))


def test_max_pool_gives_the_gradient_to_the_first_of_equal_elements() -> None:
    x = pb.asarray(np.array([[1.0, 3.0, 3.0, 2.0, 3.0, 3.0]]).reshape(1, 6, 1))

    gradient = pb.grad(lambda x: pb.sum(nn.max_pool(x, 3, 3, "valid", "channels_last")))(x)

    np.testing.assert_array_equal(np.asarray(gradient).ravel(), [0, 1, 0, 0, 1, 0])


def test_max_pool_keeps_nan() -> None:
    for i in range(3):
        x = np.arange(3.0).reshape(1, 3, 1)
        x[0, i] = np.nan
        assert np.isnan(np.asarray(nn.max_pool(x, 3, data_format="channels_last"))).all()


@pytest.mark.parametrize("strides", [1, 2, 3])
def test_gradients_of_pools(rng: np.random.Generator, strides: int) -> None:
    x = rng.permutation(2 * 7 * 6).astype("float64").reshape(1, 7, 6, 2)

    check_vjp(lambda x: nn.max_pool(x, 3, strides, "same", "channels_last"), x)
    check_vjp(lambda x: nn.average_pool(x, 3, strides, "same", "channels_last"), x)


@pytest.mark.parametrize("results", [1, 2, 3, 4, 7, 9])
def test_adaptive_pools_share_the_axis(rng: np.random.Generator, results: int) -> None:
    x = rng.normal(size=(2, 7, 3))

    means = nn.adaptive_average_pool(x, results, "channels_last")
    largest = nn.adaptive_max_pool(x, results, "channels_last")

    for i in range(results):
        w = x[:, i * 7 // results : -(-(i + 1) * 7 // results)]
        np.testing.assert_allclose(means[:, i], w.mean(1), rtol=1e-12)
        np.testing.assert_array_equal(largest[:, i], w.max(1))


def log_softmax(x: np.ndarray) -> Any:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_crossentropies_from_logits_at_any_scale(rng: np.random.Generator, scale: float) -> None:
    logits, labels = rng.normal(size=(5, 7)) * scale, rng.integers(0, 7, 5)
    hot = np.eye(7)[labels]

    sparse = nn.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    dense = nn.categorical_crossentropy(hot, logits, from_logits=True)
    binary = nn.binary_crossentropy(hot, logits, from_logits=True)

    expected = -(hot * log_softmax(logits)).sum(-1)
    np.testing.assert_allclose(sparse, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dense, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(binary, np.logaddexp(0, logits) - hot * logits, atol=1e-9)


def test_crossentropies_of_probabilities_are_bounded(rng: np.random.Generator) -> None:
    sure, labels = np.eye(3), np.array([0, 1, 0])
    hot = np.eye(3)[labels]
    bound = -np.log(1e-7)

    sparse = nn.sparse_categorical_crossentropy(labels, sure)
    dense = nn.categorical_crossentropy(hot, sure)
    binary = nn.binary_crossentropy(hot, sure)

    np.testing.assert_allclose(sparse, [1e-7, 1e-7, bound], rtol=1e-5)
    np.testing.assert_allclose(dense, [1e-7, 1e-7, bound], rtol=1e-5)
    np.testing.assert_allclose(np.asarray(binary)[2], [bound, 1e-7, bound], rtol=1e-5)


def test_a_label_that_names_no_class_costs_nothing(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(3, 4))
    for from_logits in (False, True):
        loss = nn.sparse_categorical_crossentropy([-1, 4, 2], abs(logits), from_logits)
        assert np.asarray(loss)[:2].tolist() == [0, 0]
        assert np.asarray(loss)[2] > 0


def test_gradients_of_crossentropies(rng: np.random.Generator) -> None:
    logits, shares = rng.normal(size=(5, 7)), rng.uniform(0.1, 0.9, size=(5, 7))
    labels = rng.integers(0, 7, 5)
    for from_logits, x in ((True, logits), (False, shares)):
        check_vjp(lambda t, x, f=from_logits: nn.categorical_crossentropy(t, x, f), shares, x)
        check_vjp(lambda t, x, f=from_logits: nn.binary_crossentropy(t, x, f), shares, x)
        check_vjp(lambda x, f=from_logits: nn.sparse_categorical_crossentropy(labels, x, f), x)


def test_one_hot_and_multi_hot() -> None:
    np.testing.assert_array_equal(nn.one_hot([0, 2, -1], 3), [[1, 0, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(nn.multi_hot([[0, 2], [1, 1]], 3), [[1, 0, 1], [0, 1, 0]])


def test_batch_normalization_by_the_moments_standardizes(rng: np.random.Generator) -> None:
    x, scale, offset = rng.normal(size=(6, 4, 5)) + 3, rng.normal(size=5), rng.normal(size=5)

    mean, variance = nn.moments(x, (0, 1))
    y = np.asarray(nn.batch_normalization(x, mean, variance, -1, offset, scale, 0.0))

    np.testing.assert_allclose(y.mean((0, 1)), offset, atol=1e-12)
    np.testing.assert_allclose(y.std((0, 1)), abs(scale), rtol=1e-10)


def test_moments_of_half_precision_do_not_overflow() -> None:
    mean, variance = nn.moments(np.array([60000, -60000], dtype="float16"), 0)

    assert (float(mean), float(variance)) == (0.0, 65504.0)


def test_sparsemax_is_the_nearest_point_of_the_simplex() -> None:
    y = nn.sparsemax(np.array([[0.1, 0.3, 0.2], [2.0, 0.0, 1.5]]), axis=-1)

    np.testing.assert_allclose(y, [[0.7 / 3, 1.3 / 3, 1 / 3], [0.75, 0, 0.25]], rtol=1e-12)


def alignments(log_p: np.ndarray, labels: Any, blank: int) -> float:
    """Return the logarithm of the total probability of the paths that collapse to ``labels``."""
    total = -np.inf
    for path in itertools.product(range(log_p.shape[1]), repeat=len(log_p)):
        collapsed = [c for c, _ in itertools.groupby(path) if c != blank]
        if collapsed == list(labels):
            total = np.logaddexp(total, sum(log_p[t, c] for t, c in enumerate(path)))
    return float(total)


def test_ctc_loss_sums_over_alignments(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(4, 5, 3))
    labels, lengths = [[1, 2, 1], [1, 1, 0], [2, 0, 0], [0, 0, 0]], [3, 2, 1, 0]
    steps = [5, 4, 5, 3]

    loss = nn.ctc_loss(labels, logits, lengths, steps)

    expected = [
        -alignments(log_softmax(x)[:t], row[:n], 0)
        for x, row, n, t in zip(logits, labels, lengths, steps, strict=True)
    ]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    check_vjp(lambda x: nn.ctc_loss(labels, x, lengths, steps), logits)


def test_ctc_beam_search_finds_the_most_probable_labels(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(2, 4, 3))

    paths, scores = nn.ctc_decode(logits, [4, 3], "beam_search", top_paths=2, mask_index=0)

    for i, steps in enumerate((4, 3)):
        log_p = log_softmax(logits[i])[:steps]
        every = [p for n in range(steps + 1) for p in itertools.product((1, 2), repeat=n)]
        totals = sorted(((alignments(log_p, p, 0), p) for p in every), reverse=True)
        for j in range(2):
            found = [c for c in np.asarray(paths)[j, i].tolist() if c >= 0]
            assert tuple(found) == totals[j][1]
            np.testing.assert_allclose(np.asarray(scores)[i, j], totals[j][0], rtol=1e-5)


def test_ctc_greedy_decoding_merges_repeats_and_drops_blanks() -> None:
    best = np.array([[1, 1, 0, 1, 2, 2]])

    paths, scores = nn.ctc_decode(np.eye(3)[best], [5], "greedy", mask_index=0)

    np.testing.assert_array_equal(paths, [[[1, 1, 2, -1, -1, -1]]])
    np.testing.assert_array_equal(scores, [[-5]])


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("heads", [4, 2, 1])
def test_attention_is_a_weighted_mean(
    rng: np.random.Generator, is_causal: bool, heads: int
) -> None:
    q = rng.normal(size=(2, 3, 4, 5))
    k, v = rng.normal(size=(2, 2, 3, heads, 5))
    mask = rng.random((2, 1, 3, 3)) > 0.3
    mask[..., 0] = True

    y = nn.dot_product_attention(q, k, v, mask=mask, is_causal=is_causal, flash_attention=True)

    k, v = (np.repeat(x, 4 // heads, axis=2) for x in (k, v))
    logits = np.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(5)
    allowed = mask & np.tri(3, dtype=bool) if is_causal else mask
    weights = np.exp(log_softmax(np.where(allowed, logits, -1e30)))
    np.testing.assert_allclose(y, np.einsum("bnts,bsnh->btnh", weights, v), rtol=1e-9)


@pytest.mark.parametrize(
    ("size", "dilation", "padding", "stride"),
    [(2, 1, 0, 1), (3, 1, 1, 2), ((2, 3), (2, 1), (1, 0), (1, 2)), (2, 1, 0, 3)],
)
def test_fold_is_the_transposition_of_unfold(
    rng: np.random.Generator, size: Any, dilation: Any, padding: Any, stride: Any
) -> None:
    x = rng.normal(size=(2, 3, 8, 7))

    patches = np.asarray(nn.unfold(x, size, dilation, padding, stride))
    other = rng.normal(size=patches.shape)
    images = np.asarray(nn.fold(other, (8, 7), size, dilation, padding, stride))

    np.testing.assert_allclose((patches * other).sum(), (images * x).sum(), rtol=1e-10)


@pytest.mark.parametrize("data_format", FORMATS)
def test_space_and_depth_are_inverse(rng: np.random.Generator, data_format: str) -> None:
    x = in_format(rng.normal(size=(2, 4, 6, 3)), data_format)

    deep = nn.space_to_depth(x, 2, data_format)

    np.testing.assert_array_equal(nn.depth_to_space(deep, 2, data_format), x)


def test_psnr_of_a_known_error() -> None:
    assert float(nn.psnr(np.zeros(4), np.full(4, 0.1), 1.0)) == pytest.approx(20.0)
