"""Cases of contractions: the reference is ``einsum`` in long double or Python integers."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from case import Case, integers, normal, short, uniform
from cases_reduce import exact, wrapped

from pullback.primitives.dot import Dot
from pullback.types import float32, float64, int32, int64

BF16 = ml_dtypes.bfloat16
MATRIX = (((1,), (0,)), ((), ()))


def sums(subscripts, dtype=None):
    def reference(x, y):
        total = np.einsum(subscripts, exact(x), exact(y))
        return wrapped(total, np.zeros((), dtype or x.dtype))

    return reference


FORMS = {
    "matrix": (MATRIX, "ij,jk->ik", (3, 4), (4, 2)),
    "vectors": ((((0,), (0,)), ((), ())), "i,i->", (5,), (5,)),
    "outer": ((((), ()), ((), ())), "i,j->ij", (3,), (2,)),
    "scalars": ((((), ()), ((), ())), ",->", (), ()),
    "batch": ((((2,), (1,)), ((0,), (0,))), "bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    "batch-inside": ((((0,), (2,)), ((2,), (1,))), "jib,kbj->bik", (4, 3, 2), (5, 2, 4)),
    "two-contracted": ((((3, 1), (0, 2)), ((), ())), "aibj,jkic->abkc", (2, 3, 2, 4), (4, 2, 3, 1)),
    "two-batches": ((((1,), (1,)), ((3, 0), (0, 2))), "bjic,cjb->cbi", (2, 3, 4, 5), (5, 3, 2)),
    "all-batch": ((((), ()), ((0, 1), (0, 1))), "ab,ab->ab", (2, 3), (2, 3)),
    "crossed": ((((0, 1), (1, 0)), ((), ())), "ij,ji->", (2, 3), (3, 2)),
    "nothing-summed": (MATRIX, "ij,jk->ik", (3, 0), (0, 2)),
    "no-rows": (MATRIX, "ij,jk->ik", (0, 4), (4, 2)),
    "no-batch": ((((2,), (1,)), ((0,), (0,))), "bij,bjk->bik", (0, 3, 4), (0, 4, 5)),
    "ones": (MATRIX, "ij,jk->ik", (1, 1), (1, 1)),
}

CASES = [
    *(
        Case(Dot(*roles), uniform(0.5, 2, x, y), sums(subscripts), ulp=4, label=label)
        for label, (roles, subscripts, x, y) in FORMS.items()
    ),
    Case(Dot(*MATRIX), normal((2, 3), (3, 2)), sums("ij,jk->ik"), ulp=4, atol=1e-15),
    Case(
        Dot(*MATRIX), uniform(0.5, 2, (3, 30), (30, 4), dtype=np.float32), sums("ij,jk->ik"), ulp=15
    ),
    *(
        # 3000 ones stop at 2048 or 256 unless they are added up in float32.
        Case(Dot(*MATRIX), uniform(1, 1, (1, 3000), (3000, 1), dtype=d), sums("ij,jk->ik"), ulp=0.5)
        for d in (np.float16, BF16)
    ),
    *(
        Case(
            Dot(*MATRIX),
            integers(50, 127, (3, 9), (9, 2), dtype=d),
            sums("ij,jk->ik"),
            label=short(d),
        )
        for d in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)
    ),
    Case(Dot(*MATRIX), integers(2**61, 2**62, (2, 9), (9, 2), dtype=np.int64), sums("ij,jk->ik")),
    *(
        Case(
            Dot(*MATRIX, dtype=wide),
            integers(-60, 60, (3, 9), (9, 2), dtype=narrow),
            sums("ij,jk->ik", wide),
            label=f"{short(narrow)}-to-{short(wide)}",
        )
        for narrow, wide in (
            (np.int8, int32),
            (np.int32, int64),
            (np.float16, float32),
            (BF16, float32),
            (np.float32, float64),
        )
    ),
]
