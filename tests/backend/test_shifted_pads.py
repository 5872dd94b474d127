"""Sums of one array padded in several ways: what gradients of overlapping windows are made of.

LLVM's ``new_gvn`` made wrong code of them (found with LLVM 22.1): a value that a lane outside the
array must not see was taken from the lane inside. It is not among the passes any more.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import pullback as pb
from pullback import config
from pullback.backend.llvm.jit import PASSES

ROWS, COLUMNS = [(0, 2), (1, 1), (2, 0)], [(0, 1), (1, 0)]
PLACES = [*itertools.product(ROWS, COLUMNS)]


@pytest.mark.parametrize("target", ["auto", "generic"])
@pytest.mark.parametrize("shape", [(1, 2, 2, 2), (1, 5, 7, 3)])
@pytest.mark.parametrize("places", [*itertools.permutations(PLACES, 3)][::11], ids=str)
def test_sums_of_shifted_pads_are_those_of_numpy(target, shape, places):
    x = np.arange(1.0, np.prod(shape) + 1, dtype=np.float32).reshape(shape)

    @pb.jit
    def total(x):
        doubled = x * 2.0
        return sum(pb.pad(doubled, [(0, 0), rows, columns, (0, 0)]) for rows, columns in places)

    expected = sum(np.pad(x * 2, [(0, 0), rows, columns, (0, 0)]) for rows, columns in places)
    with config.override(target=target, threads=1, cache_dir="off"):
        np.testing.assert_array_equal(np.asarray(total(x)), expected)


def test_the_pass_that_made_wrong_code_is_not_used():
    assert "new_gvn" not in PASSES
