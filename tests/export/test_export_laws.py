"""Every case of the primitives' laws, exported and run, against the NumPy rule.

What is not there, and what ONNX leaves open, is listed here by name, with the reason.
"""

from __future__ import annotations

import numpy as np
import pytest
from case import Case, case_id
from cases import CASES
from checks import check_close, evaluated
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel
from tests.export.onnx_run import run

from pullback.export.errors import ExportError
from pullback.export.model import build_model
from pullback.export.symbolic import Input
from pullback.export.translate import is_translated
from pullback.primitives.cast import Convert
from pullback.program.primitive import REGISTRY
from pullback.types import FLOAT8, ArrayType, bfloat16, float32, type_of

#: NumPy and onnxruntime do not share these: such operands are converted inside the model.
NOT_SHARED = FLOAT8 | {bfloat16}

#: Primitives that no rule translates, by why.
REFUSED = {
    "ONNX has no such operation, and no short way to compose it": {
        "bitcast", "cofactors", "cholesky", "det", "digamma", "eigh", "eigvalsh", "erfinv", "inv",
        "lgamma", "nextafter", "pinv", "polygamma", "popcount", "qr", "slogdet", "solve", "svd",
        "svdvals", "triangular_solve",
    },
    "shifts by more than the width are not defined": {
        "shift_left", "shift_right_arithmetic", "shift_right_logical",
    },
    "inference draws no random numbers": {"random_bits", "random_fold_in"},
    "a Python function": {"host_call"},
}  # fmt: skip

#: Primitives that move elements, or find them: each has a case of both dtypes of 8 bits.
MOVES = [
    "arg_max", "arg_min", "broadcast", "concatenate", "dynamic_slice", "dynamic_update_slice",
    "gather", "pad", "reshape", "reverse", "scatter", "slice", "sort", "transpose",
]  # fmt: skip

#: Cases that a rule refuses, by a part of the message: how many there are of each primitive.
REFUSED_CASES = {
    "no indices of 64 bits": {"dynamic_slice": 1, "gather": 2, "scatter": 5},
    "addresses no axis": {"gather": 4},
    "batch axes, or addresses no axis": {"scatter": 20},
    "an axis without elements": {"gather": 1},
    "bit patterns": {"reduce_and": 5, "reduce_or": 5},
    "whole numbers give to a negative power": {"pow": 21},
    "no such operation on 8-bit floats": {**dict.fromkeys(MOVES, 2), "sort": 4},
}

#: Cases whose value ONNX leaves open, or onnxruntime gets less precisely, by a part of their name.
OPEN = {
    "a nan among the numbers: which is largest is left open": [
        "reduce_max-f64[3,3]-special", "reduce_min-f64[3,3]-special", "arg_max-f64[3,4]-special",
        "arg_max-f32[3,4]-special", "arg_max-f16[3,4]-special", "arg_max-bf16[3,4]-special",
        "arg_min-f64[3,4]-special", "arg_min-f32[3,4]-special", "arg_min-f16[3,4]-special",
        "arg_min-bf16[3,4]-special",
    ],
    "whole numbers that overflow in a reduction: onnxruntime saturates": [
        "reduce_sum-i64[2,5]", "reduce_prod-i8[9,2]-i8", "reduce_prod-u8[9,2]-u8",
        "reduce_prod-i32[9,2]-i32",
    ],
    "onnxruntime's float64 sigmoid is precise to 1e-16, not relatively": [
        "sigmoid-f64[11]-tails", "sigmoid-f64[4]-saturated",
    ],
}  # fmt: skip

#: Absolute distances where no relative one holds.
DISTANCES = {
    "erfc": 2e-7,  # 1 - erf(x): the tail has no relative precision
    "tanh": 1e-43,  # subnormal numbers
    "expm1": 1e-43,
}
#: Units in the last place.
ULP = {"cbrt": 128.0, "cos": 16.0}


def named(primitive: str) -> list[Case]:
    return [case for case in CASES if case.primitive.name == primitive]


def outside(type_: ArrayType) -> ArrayType:
    """The type at the border of the model."""
    return type_.with_dtype(float32) if type_.dtype in NOT_SHARED else type_


def export_and_run(case: Case) -> list[np.ndarray]:
    args = case.args()
    types = [type_of(x) for x in args]

    def f(*xs):
        given = [
            Convert(t.dtype)(x) if t.dtype in NOT_SHARED else x
            for x, t in zip(xs, types, strict=True)
        ]
        results = case.primitive(*given)
        results = results if isinstance(results, tuple) else (results,)
        return [Convert(float32)(y) if y.dtype in NOT_SHARED else y for y in results]

    results = evaluated(case.primitive, args)
    has_float8 = any(x.dtype in FLOAT8 for x in (*args, *results))
    borders = [outside(t) for t in types]
    inputs = [Input(f"x{i}", t.shape, t.dtype) for i, t in enumerate(borders)]
    outputs = [f"y{i}" for i in range(len(results))]
    model = build_model(f, inputs, outputs, opset=19 if has_float8 else None)
    return run(model, *(x.astype(t.dtype) for x, t in zip(args, borders, strict=True)))


def check_exported(case: Case) -> None:
    """Require that the exported case gives what ``evaluate`` gives."""
    name = case.primitive.name
    expected = evaluated(case.primitive, case.args())
    for actual, y in zip(export_and_run(case), expected, strict=True):
        assert actual.dtype == outside(type_of(y)).dtype
        check_close(
            actual.astype(y.dtype),
            y,
            y.dtype,
            ulp=max(8.0, 2 * case.ulp, ULP.get(name, 0.0)),
            atol=max(case.atol, DISTANCES.get(name, 0.0)),
        )


def is_open(case: Case) -> bool:
    return any(part in case_id(case) for parts in OPEN.values() for part in parts)


#: What onnxruntime has no kernel for on processors: the file is right, another runtime may run it.
MISSING_FLOAT64 = {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cosh", "erf", "erfc", "sinh",
    "tan",
}  # fmt: skip


def lacks_kernel(case: Case) -> bool:
    dtypes = {x.dtype for x in (*case.args(), *evaluated(case.primitive, case.args()))}
    is_wide = np.dtype(np.float64) in dtypes and case.primitive.name in MISSING_FLOAT64
    return is_wide or np.dtype(np.uint64) in dtypes


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_exported_cases_give_what_the_interpreter_gives(name):
    refusals: dict[str, int] = {}
    for case in named(name):
        if not is_translated(type(case.primitive)):
            with pytest.raises(ExportError, match=rf"`{name}` of .*cannot be exported to ONNX"):
                export_and_run(case)
            continue
        try:
            if not is_open(case):
                check_exported(case)
        except NoKernel:
            assert lacks_kernel(case), case_id(case)
        except ExportError as error:
            reasons = [reason for reason in REFUSED_CASES if reason in str(error)]
            reason = max(reasons, key=len, default=str(error))
            refusals[reason] = refusals.get(reason, 0) + 1
        except AssertionError as error:
            error.add_note(case_id(case))
            raise
    expected = {r: counts[name] for r, counts in REFUSED_CASES.items() if name in counts}
    assert refusals == expected


def test_the_lists_of_exceptions_name_what_there_is():
    """A name that no longer matches anything would excuse nothing, and hide that it does not."""
    untranslated = {name for name, cls in REGISTRY.items() if not is_translated(cls)}
    names = [case_id(case) for case in CASES]

    assert set().union(*REFUSED.values()) == untranslated
    for part in (part for parts in OPEN.values() for part in parts):
        assert any(part in name for name in names), part


def test_the_tester_sees_a_wrong_translation(monkeypatch):
    from pullback.export import elementwise
    from pullback.primitives.transcendental import Exp

    monkeypatch.setitem(
        elementwise._WRITERS, Exp, lambda g, dtype, xs: g.op("Mul", g.op("Exp", *xs), *xs)
    )

    with pytest.raises(AssertionError):
        check_exported(
            next(case for case in named("exp") if case_id(case) == "exp-f32[19]-special")
        )
