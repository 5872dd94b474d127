"""Cases of solving, inverses and determinants: the reference is elimination in long double."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from case import Case, given, normal

from pullback.primitives.linalg import Cofactors, Det, Inv, Pinv, SlogDet, Solve, TriangularSolve

BF16 = ml_dtypes.bfloat16


def eliminated(a, b):
    """Return the solution of ``a x = b`` and the determinant, by Gauss and Jordan's elimination."""
    n = a.shape[-1]
    rows, det = np.concatenate([a, b], axis=1).astype(np.longdouble), np.longdouble(1)
    for i in range(n):
        pivot = i + int(np.argmax(np.abs(rows[i:, i])))
        if rows[pivot, i] == 0:
            return None, np.longdouble(0)
        if pivot != i:
            rows[[i, pivot]] = rows[[pivot, i]]
            det = -det
        det = det * rows[i, i]
        rows[i] = rows[i] / rows[i, i]
        for k in range(n):
            if k != i:
                rows[k] = rows[k] - rows[k, i] * rows[i]
    return rows[:, n:], det


def each(function):
    """Apply a function of matrices to every matrix of a batch, in long double."""

    def reference(*arrays):
        lead = arrays[0].shape[:-2]
        exact = [np.asarray(x).astype(np.float64).astype(np.longdouble) for x in arrays]
        results = [function(*(x[i] for x in exact)) for i in np.ndindex(lead)]
        return np.asarray(results).reshape(lead + np.shape(results[0]))

    return reference


def triangle(lower, transpose, unit_diagonal):
    def solved(a, b):
        t = np.tril(a) if lower else np.triu(a)
        if unit_diagonal:
            np.fill_diagonal(t, 1)
        return eliminated(t.T if transpose else t, b)[0]

    return each(solved)


def minors(x):
    n = len(x)
    result = np.empty((n, n), np.longdouble)
    for i, j in np.ndindex(n, n):
        minor = np.delete(np.delete(x, i, 0), j, 1)
        det = eliminated(minor, np.zeros((n - 1, 0)))[1]
        result[i, j] = det * (-1) ** (i + j)
    return result


def pseudo(x):
    if x.shape[0] < x.shape[1]:
        return pseudo(x.T).T
    return eliminated(x.T @ x, x.T)[0]


det = each(lambda x: eliminated(x, np.zeros((len(x), 0)))[1])
solve = each(lambda a, b: eliminated(a, b)[0])
inverse = each(lambda x: eliminated(x, np.eye(len(x)))[0])


def slogdet(x):
    value = det(x)
    return np.sign(value), np.log(np.abs(value))


def well(*shapes, dtype=np.float64):
    """Make square matrices near the identity times 3, and then any others."""

    def make(rng):
        first, *rest = shapes
        x = rng.normal(size=first) + 3 * np.eye(first[-1])
        return (x.astype(dtype), *(rng.normal(size=s).astype(dtype) for s in rest))

    return make


NEAR = {"atol": 1e-13, "ulp": 64}
SINGLE = {"atol": 1e-5, "ulp": 64}
HALF = {"ulp": 1, "atol": 2e-4, "orders": ()}
FORMS = [(low, turn, unit) for low in (True, False) for turn in (False, True) for unit in (0, 1)]

CASES = [
    Case(Solve(), well((3, 3), (3, 2)), solve, **NEAR),
    Case(Solve(), well((2, 3, 3), (2, 3, 1)), solve, label="batch", **NEAR),
    Case(Solve(), well((1, 1), (1, 1)), solve, label="one", **NEAR),
    Case(Solve(), normal((0, 0), (0, 2)), lambda a, b: b, label="empty"),
    Case(Solve(), well((3, 3), (3, 2), dtype=np.float32), solve, **SINGLE),
    Case(Solve(), well((3, 3), (3, 2), dtype=np.float16), solve, **HALF),
    Case(Solve(), well((3, 3), (3, 2), dtype=BF16), solve, **HALF),
    *(
        Case(
            TriangularSolve(low, turn, bool(unit)),
            well((3, 3), (3, 2)),
            triangle(low, turn, unit),
            label=f"{'lower' if low else 'upper'}{'-T' * turn}{'-unit' * unit}",
            **NEAR,
        )
        for low, turn, unit in FORMS
    ),
    Case(
        TriangularSolve(True),
        lambda rng: (np.eye(150) * 3 + rng.normal(size=(150, 150)) / 20, rng.normal(size=(150, 2))),
        triangle(True, False, False),
        atol=1e-13,
        orders=(),
        label="by-halves",
    ),
    Case(
        TriangularSolve(False),
        lambda rng: (np.eye(150) * 3 + rng.normal(size=(150, 150)) / 20, rng.normal(size=(150, 2))),
        triangle(False, False, False),
        atol=1e-13,
        orders=(),
        label="by-halves",
    ),
    Case(TriangularSolve(True), well((2, 2, 2), (2, 2, 2)), triangle(1, 0, 0), **NEAR),
    Case(
        TriangularSolve(True), well((3, 3), (3, 1), dtype=np.float32), triangle(1, 0, 0), **SINGLE
    ),
    Case(Inv(), well((3, 3)), inverse, **NEAR),
    Case(Inv(), well((2, 2, 2)), inverse, label="batch", **NEAR),
    Case(Inv(), normal((0, 0)), lambda x: x, label="empty"),
    Case(Inv(), well((3, 3), dtype=np.float32), inverse, **SINGLE),
    Case(Inv(), well((3, 3), dtype=BF16), inverse, **HALF),
    Case(Pinv(1e-10), normal((4, 2)), each(pseudo), label="tall", **NEAR),
    Case(Pinv(1e-10), normal((2, 4)), each(pseudo), label="wide", **NEAR),
    Case(Pinv(1e-10), well((2, 3, 3)), each(pseudo), label="batch", **NEAR),
    Case(Pinv(1e-5), normal((4, 2), dtype=np.float32), each(pseudo), **SINGLE),
    Case(
        Pinv(1e-10),
        given([[1, 2], [2, 4.0]]),
        lambda x: x.T / np.sum(x * x),
        orders=(),
        label="rank-1",
        **NEAR,
    ),
    Case(Det(), normal((3, 3)), det, **NEAR),
    Case(Det(), normal((2, 2, 2)), det, label="batch", **NEAR),
    Case(Det(), normal((0, 0)), lambda x: np.ones(()), label="empty"),
    Case(Det(), normal((1, 1)), det, label="one", **NEAR),
    Case(Det(), normal((3, 3), dtype=np.float32), det, **SINGLE),
    Case(Det(), given([[1, 2], [2, 4.0]]), det, atol=1e-13, orders=(1,), label="singular"),
    Case(Cofactors(), normal((3, 3)), each(minors), **NEAR),
    Case(Cofactors(), normal((2, 2, 2)), each(minors), label="batch", **NEAR),
    Case(Cofactors(), normal((0, 0)), lambda x: x, label="empty", orders=()),
    Case(Cofactors(), normal((1, 1)), each(minors), label="one", **NEAR),
    Case(
        Cofactors(),
        given([[1, 2, 3], [2, 4, 6], [0, 1, 1.0]]),
        each(minors),
        atol=1e-13,
        orders=(),
        label="singular",
    ),
    Case(SlogDet(), well((3, 3)), slogdet, **NEAR),
    Case(SlogDet(), well((2, 2, 2)), slogdet, label="batch", **NEAR),
    Case(SlogDet(), well((3, 3), dtype=np.float32), slogdet, **SINGLE),
]
