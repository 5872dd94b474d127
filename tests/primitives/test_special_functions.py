"""Error and gamma functions against numbers of 22 digits, computed once with mpmath."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pullback import digamma, jit
from pullback.primitives import special_functions

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "erf": special_functions.erf,
    "erfc": special_functions.erfc,
    "erfinv": special_functions.erfinv,
    "lgamma": special_functions.lgamma,
    "digamma": special_functions.digamma,
    "polygamma1": functools.partial(special_functions.polygamma, 1),
    "polygamma2": functools.partial(special_functions.polygamma, 2),
    "polygamma4": functools.partial(special_functions.polygamma, 4),
}
#: Units in the last place, as the docstrings say.
BOUNDS = {"erf": 1, "erfc": 3, "erfinv": 4, "lgamma": 5, "digamma": 6}

KNOWN = {
    "erf": [
        (1e-12, "1.128379167095512551201e-12"),
        (0.25, "0.2763263901682369329851"),
        (1.5, "0.966105146475310727067"),
        (-3.0, "-0.9999779095030014145586"),
    ],
    "erfc": [
        (-1.5, "1.966105146475310727067"),
        (0.25, "0.7236736098317630670149"),
        (4.0, "1.541725790028001885216e-8"),
        (26.0, "5.663192408856142846476e-296"),
    ],
    "erfinv": [
        (1e-09, "8.862269254527580690767e-10"),
        (0.3, "0.2724627147267543450247"),
        (-0.75, "-0.8134198475976185416903"),
        (0.9999, "2.751063905712079691743"),
        (0.9999999999999999, "5.863584748755167927208"),
    ],
    "lgamma": [
        (1e-08, "18.42068073818020888445"),
        (0.25, "1.288022524698077457371"),
        (1.001, "-0.0005763935982833061515192"),
        (1.4375, "-0.1212024271990226589706"),
        (1.999, "-0.0004224618006921072841757"),
        (2.75, "0.4752146669149371303131"),
        (7.5, "7.534364236758732955158"),
        (33.0, "81.5579594561150371785"),
        (10000000000.0, "220258509288.81058147"),
        (-0.5, "1.265512123484645396489"),
        (-3.75, "-1.31726794244636367385"),
    ],
    "digamma": [
        (0.001, "-1000.575571931810279655"),
        (0.5, "-1.963510026021423479441"),
        (1.0, "-0.5772156649015328606065"),
        (3.5, "1.103156640645243187226"),
        (25.0, "3.198742512851974008528"),
        (100000000.0, "18.42068073895236546381"),
        (-0.25, "2.914139120213527830373"),
        (-7.5, "2.080090817579420121403"),
    ],
    "polygamma1": [
        (0.125, "65.38813344498803447314"),
        (1.0, "1.644934066848226436472"),
        (4.5, "0.2487251030390103751769"),
        (100.0, "0.01005016666333357139525"),
        (-0.75, "18.97510693228488851705"),
    ],
    "polygamma2": [
        (0.125, "-1025.753338118135682596"),
        (1.0, "-2.404113806319188570799"),
        (4.5, "-0.06155682132102769454893"),
        (100.0, "-0.0001010049998333499970008"),
        (-0.75, "-124.5869991967961795926"),
    ],
    "polygamma4": [
        (0.125, "-786445.9854310637857932"),
        (1.0, "-24.88626612344087823195"),
        (30.0, "-0.000007914941340181024041851"),
        (-0.75, "-24483.23958616879793109"),
    ],
}


@pytest.mark.parametrize(
    ("name", "x", "digits"), [(name, *row) for name, rows in KNOWN.items() for row in rows]
)
def test_value_is_within_its_bound(name, x, digits):
    expected = np.longdouble(digits)
    bound = BOUNDS.get(name, 8)

    with np.errstate(all="ignore"):
        actual = FUNCTIONS[name](np.array([x]))[0]

    assert abs(actual - expected) <= bound * np.spacing(abs(float(expected)))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(), (0,), (1, 2)], ids=str)
def test_shape_and_dtype_are_kept(name, shape):
    with np.errstate(all="ignore"):
        out = FUNCTIONS[name](np.full(shape, 0.5))

    assert isinstance(out, np.ndarray)
    assert out.shape == shape
    assert out.dtype == np.float64


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_gives_nan(name):
    with np.errstate(all="ignore"):
        assert np.isnan(FUNCTIONS[name](np.array([np.nan]))[0])


def test_gamma_functions_of_large_negative_numbers_keep_their_digits():
    """The whole part is taken away before the sine: x = -1e6 - 1/4 is exact."""
    x = np.array([-1e6 - 0.25])

    y = -x[0]
    expected = np.log(np.pi / np.sin(np.pi * 0.25)) - np.log(y) - special_functions.lgamma(-x)[0]
    assert special_functions.lgamma(x)[0] == pytest.approx(expected, rel=1e-15)
    assert special_functions.digamma(x)[0] == pytest.approx(
        special_functions.digamma(1 - x)[0] + np.pi, rel=1e-12
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_digamma_at_its_poles_eager_and_compiled(dtype):
    x = np.array([0.0, -0.0, -1.0, -2.0, np.inf], dtype)
    expected = [-np.inf, np.inf, np.nan, np.nan, np.inf]

    np.testing.assert_array_equal(np.asarray(digamma(x)), expected)
    np.testing.assert_array_equal(np.asarray(jit(digamma)(x)), expected)
