"""Runs a program with the NumPy ``evaluate`` rules: eager mode's twin and every test's oracle.

Imports ``core`` and ``errors``. Start at ``interpret``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.errors import DTypeError, ShapeError, VerificationError
from pullback.program.core import Atom, Equation, NDArray, Program, Var
from pullback.program.value import Value
from pullback.types import ArrayType, type_of


def interpret(program: Program, *arrays: Any) -> tuple[NDArray, ...]:
    """Evaluate ``program`` on NumPy arrays, one equation after the other.

    An intermediate value is freed after the last equation that reads it.

    Args:
        program: What to run; it must verify.
        arrays: One array for each input, of exactly the input's type.

    Returns:
        One array for each output. It may share memory with an argument, and is read-only where
        it shares memory with a constant of the program.

    Raises:
        ShapeError: there are too few or too many arrays, or one has another shape.
        DTypeError: an array has another dtype. Nothing is converted.
        VerificationError: a primitive's ``evaluate`` gave another shape than its ``infer``.

    Cost: that of the NumPy rules, plus a few microseconds an equation.
    """
    values = _bind_arguments(program, arrays)
    last_use = _last_uses(program)
    with np.errstate(all="ignore"):
        for position, eqn in enumerate(program.equations):
            operands = tuple(_read(values, atom) for atom in eqn.inputs)
            values.update(zip(eqn.outputs, _evaluate(eqn, operands), strict=True))
            del operands
            for var in last_use.get(position, ()):
                del values[var]
    return tuple(_read(values, atom) for atom in program.outputs)


def _bind_arguments(program: Program, arrays: tuple[Any, ...]) -> dict[Var, NDArray]:
    if len(arrays) != len(program.inputs):
        raise ShapeError(
            f"program {program.name!r} takes {len(program.inputs)} arrays, got {len(arrays)}"
        )
    values = {var: _read_only(array) for var, array in program.constants}
    for position, (var, x) in enumerate(zip(program.inputs, arrays, strict=True)):
        array = np.asarray(x.read() if isinstance(x, Value) else x)
        check_argument(f"input {position} of program {program.name!r}", var.type, array)
        values[var] = array
    return values


def check_argument(what: str, expected: ArrayType, array: NDArray) -> None:
    """Raise ShapeError or DTypeError, naming ``what``, unless ``array`` has the expected type."""
    given = type_of(array)
    if given.dtype != expected.dtype:
        raise DTypeError(
            f"{what} is {expected}, got {given}. Convert it with `.astype({expected.dtype.name})`."
        )
    if given.shape != expected.shape:
        raise ShapeError(f"{what} is {expected}, got {given}")


def _read_only(array: NDArray) -> NDArray:
    view = array.view()
    view.flags.writeable = False
    return view


def _read(values: dict[Var, NDArray], atom: Atom) -> NDArray:
    return values[atom] if isinstance(atom, Var) else np.asarray(atom.value)


def _last_uses(program: Program) -> dict[int, list[Var]]:
    """Return, for each position in the program, the variables that nothing reads after it."""
    last: dict[Var, int] = {}
    for position, eqn in enumerate(program.equations):
        last.update(dict.fromkeys(eqn.outputs, position))
        last.update((atom, position) for atom in eqn.inputs if isinstance(atom, Var))
    kept = {atom for atom in program.outputs if isinstance(atom, Var)}
    uses: dict[int, list[Var]] = {}
    for var, position in last.items():
        if var not in kept:
            uses.setdefault(position, []).append(var)
    return uses


def _evaluate(eqn: Equation, operands: tuple[NDArray, ...]) -> tuple[NDArray, ...]:
    try:
        result = eqn.primitive.evaluate(*operands)
    except Exception as error:
        where = "" if eqn.source is None else f" ({eqn.source})"
        error.add_note(f"while evaluating equation #{eqn.key} {eqn.primitive.name}{where}")
        raise
    results = result if isinstance(result, tuple) else (result,)
    if len(results) != len(eqn.outputs):
        raise VerificationError(
            f"equation #{eqn.key} {eqn.primitive.name} has {len(eqn.outputs)} outputs, "
            f"its evaluate rule gave {len(results)}"
        )
    arrays = []
    for var, value in zip(eqn.outputs, results, strict=True):
        array = np.asarray(value, var.type.dtype)
        if array.shape != var.type.shape:
            raise VerificationError(
                f"equation #{eqn.key} {eqn.primitive.name} has the type {var.type}, "
                f"its evaluate rule gave {type_of(array)}"
            )
        arrays.append(array)
    return tuple(arrays)
