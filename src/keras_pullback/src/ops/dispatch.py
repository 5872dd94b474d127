"""Functions that turn to another form of theirs when an operand is no array of the engine.

Imports ``complex_arrays`` and ``sparse_arrays``; ``ops.numpy`` alone uses it. Dense real operands
cost nothing here: conversion raises an error where an operand is something else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from keras_pullback.src.ops.complex_arrays import ComplexOperandError, evaluate
from keras_pullback.src.ops.sparse_arrays import SparseOperandError


def with_forms(
    function: Callable[..., Any],
    complex_form: Callable[..., Any] | None,
    sparse_form: Callable[..., Any] | None,
) -> Any:
    """Return ``function`` with other forms for complex and for sparse operands.

    Args:
        function: Takes dense real tensors; conversion of others raises.
        complex_form: NumPy's function of that meaning, or None.
        sparse_form: Takes the same arguments, one of them sparse, or None.
    """
    if complex_form is None and sparse_form is None:
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ComplexOperandError:
            if complex_form is None:
                raise
            return evaluate(complex_form, *args, **kwargs)
        except SparseOperandError:
            if sparse_form is None:
                raise
        # After the error, so that one of the sparse form is not said to come from it.
        return sparse_form(*args, **kwargs)

    return call
