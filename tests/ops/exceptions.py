"""Where the namespace departs from the Array API standard, by groups, with the reason of each.

``MISSING`` lists names that are not there; ``test_inspection`` fails if one of them is, or if
another is missing. ``REASONS`` also lists departures of behaviour, which the tests of the chapters
leave out of what they draw.
"""

from __future__ import annotations

COMPLEX = "complex numbers"
FFT = "the fft extension"

REASONS = {
    COMPLEX: (
        "training needs none: the dtypes complex64 and complex128 are not supported anywhere, "
        "`asarray` refuses them by name, `imag` of a real array gives zeros, and "
        "`default_dtypes` has no entry for them"
    ),
    FFT: "an extension is optional; a program that needs it can call NumPy by `pure_callback`",
    "default dtypes": (
        "float32 and int32, as training wants them; also for positions (`argmax`, `nonzero`), "
        "counts, and sums of narrower integers (uint32 for unsigned). array-api-strict has 64 bits"
    ),
    "immutable arrays": (
        "`x[key] = y` is refused, as in JAX: `x.at[key].set(y)` returns a changed copy. "
        "`x += y` binds the name again"
    ),
    "more than the standard": (
        "dtypes of different kinds promote (as in JAX), integers become floating where a function "
        "needs it, booleans can be summed, arguments that the standard takes by keyword only can "
        "be given by position, and NumPy arrays and numbers are operands everywhere"
    ),
    "integer division by zero": "gives 0 (the standard leaves it open), so that it never traps",
    "casts out of range": (
        "floats beyond an integer dtype saturate and nan becomes 0 (the standard leaves it open)"
    ),
    "traced values": (
        "inside `jit` shapes are static: masks as indices, `nonzero`, `unique_*`, `repeat` by an "
        "array raise, and name what to use (`where`, or `size`)"
    ),
    "positions out of range": (
        "raise IndexError where known, read nan or 0 where traced (the standard leaves it open)"
    ),
    "symmetric matrices": (
        "`cholesky`, `eigh` and `eigvalsh` take the symmetric part, NumPy the lower triangle: the "
        "same for symmetric matrices, which the standard requires"
    ),
    "devices": 'the only device is "cpu"; array-api-strict pretends to have more',
}

MISSING = {
    "complex64": COMPLEX,
    "complex128": COMPLEX,
    "fft": FFT,
    **{
        f"fft.{name}": FFT
        for name in (
            *("fft", "ifft", "fftn", "ifftn", "rfft", "irfft", "rfftn", "irfftn", "hfft", "ihfft"),
            *("fftfreq", "rfftfreq", "fftshift", "ifftshift"),
        )
    },
}
