"""Reverse mode: the backward pass. This page is the idea of the whole library.

A *vjp rule* takes the cotangent of an equation's output to those of its inputs. The backward pass
applies the rules to the equations in reverse order and sums where a variable was used twice. It
computes with values, so it serves arrays (a tape), tracers (inside ``jit``) and programs
(``vjp_program``) alike; what it computes can be differentiated again. Start at ``backward_pass``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from pullback.autodiff.cotangents import add, is_floating, sum_to, zeros
from pullback.errors import DifferentiationError
from pullback.program.builder import Builder
from pullback.program.core import Atom, Equation, Literal, NDArray, Program, Var
from pullback.program.primitive import Cotangents, Primitive
from pullback.program.source import Origin, provenance
from pullback.program.value import Array, Tracer, Value

Read = Callable[[Atom], Value]


def backward_pass(
    equations: Sequence[Equation],
    read: Read,
    cotangents: Iterable[tuple[Atom, Value | None]],
    wanted: Collection[Atom],
) -> list[Value | None]:
    """Carry cotangents of outputs back to inputs.

    Args:
        equations: What was computed, in order.
        read: Gives the primal value of an atom.
        cotangents: Outputs and their cotangents; None is a zero.
        wanted: The variables whose cotangents are asked for; also intermediate ones.

    Returns:
        One cotangent for each of ``wanted``; None where nothing depends on it.

    Raises:
        DifferentiationError: a rule refuses. A note says which equation, and the user's line.
    """
    active, influenced = influence(equations, wanted)
    kept = frozenset(wanted)
    sums: dict[Atom, Value] = {}
    for output, ct in cotangents:
        if output in active and ct is not None:
            sums[output] = add(sums.get(output), ct)
    for eqn in reversed(influenced):
        if sums.keys().isdisjoint(eqn.outputs):
            continue
        with differentiating(eqn, "vjp"):
            found = _apply_rule(eqn, sums, read, active)
            for x, ct in zip(eqn.inputs, found, strict=True):
                if x in active and ct is not None:
                    sums[x] = add(sums.get(x), sum_to(ct, x.type))
        for output in eqn.outputs:
            if output not in kept:
                sums.pop(output, None)
    return [sums.get(x) for x in wanted]


def influence(
    equations: Sequence[Equation], wanted: Collection[Atom]
) -> tuple[set[Atom], list[Equation]]:
    """Variables that ``wanted`` influences differentiably, and the equations that carry this on."""
    active: set[Atom] = {x for x in wanted if isinstance(x, Var)}
    influenced = []
    for eqn in equations:
        if any(
            x in active and eqn.primitive.is_differentiable(i, x.type)
            for i, x in enumerate(eqn.inputs)
        ):
            influenced.append(eqn)
            active.update(v for v in eqn.outputs if is_floating(v.type))
    return active, influenced


def _apply_rule(
    eqn: Equation, sums: dict[Atom, Value], read: Read, active: Collection[Atom]
) -> Cotangents:
    """One cotangent an operand, by the vjp rule of the equation's primitive."""
    primals = [read(x) for x in eqn.inputs]
    outs = tuple(read(v) for v in eqn.outputs)
    cts = tuple(sums.get(v) for v in eqn.outputs)
    partial = getattr(eqn.primitive, "partial_vjp", None)
    if partial is not None:  # a primitive that holds programs: leaves out what nobody asks for
        result = partial(cts, outs, primals, [x in active for x in eqn.inputs])
    elif is_single(eqn):
        result = eqn.primitive.vjp(cts[0], outs[0], *primals)
    else:
        full = tuple(zeros(v.type) if ct is None else ct for v, ct in zip(outs, cts, strict=True))
        result = eqn.primitive.vjp(full, outs, *primals)
    if len(result) != len(primals):
        raise DifferentiationError(
            f"the vjp rule of {eqn.primitive.name} gave {len(result)} cotangents for "
            f"{len(primals)} operands: this is a defect of the rule"
        )
    return tuple(
        ct if eqn.primitive.is_differentiable(i, x.type) else None
        for i, (x, ct) in enumerate(zip(primals, result, strict=True))
    )


def is_single(eqn: Equation) -> bool:
    """Whether the rules of the equation take its output bare and not in a tuple."""
    if len(eqn.outputs) != 1:
        return False
    kind = type(eqn.primitive)
    if kind not in _BARE:
        _BARE[kind] = not isinstance(eqn.primitive.infer(*(x.type for x in eqn.inputs)), tuple)
    return _BARE[kind]


#: Whether a class of primitives gives its output bare when it is the only one.
_BARE: dict[type[Primitive], bool] = {}


@contextlib.contextmanager
def differentiating(eqn: Equation, rule: str) -> Iterator[None]:
    """Name ``eqn`` in what is made inside the block: in equations, and in errors."""
    name = eqn.primitive.name
    try:
        with provenance(Origin(rule, eqn.key, name), eqn.source):
            yield
    except Exception as error:
        where = f" ({eqn.source})" if eqn.source else ""
        error.add_note(f"while differentiating equation {eqn.key} {name}{where}")
        raise


def vjp_program(
    program: Program, wanted: Sequence[int] | None = None, *, keep_outputs: bool = True
) -> Program:
    """Return the program that computes ``program`` and its cotangents.

    Args:
        program: What to differentiate.
        wanted: Positions of the inputs whose cotangents are asked for. Default: all floating ones.
        keep_outputs: Whether the outputs of ``program`` are outputs too.

    Returns:
        A program whose inputs are those of ``program``, then one cotangent for every *floating*
        output; and whose outputs are those of ``program`` (if kept), then one cotangent for every
        wanted input. Equations of ``program`` keep their keys, sources and origins.

    Raises:
        DifferentiationError: a rule refuses, or an input in ``wanted`` is not floating.
    """
    inputs = [program.inputs[i] for i in differentiable_positions(program, wanted)]
    b = extend(program)
    with b:
        cts = [(y, b.input(y.type)) for y in program.outputs if is_floating(y.type)]
        results = backward_pass(program.equations, reader(b), cts, inputs)
        filled = [
            zeros(v.type) if ct is None else ct for v, ct in zip(inputs, results, strict=True)
        ]
        kept = [reader(b)(y) for y in program.outputs] if keep_outputs else []
        return close(b, b.finish([*kept, *filled], program.name), program.constants)


def differentiable_positions(program: Program, wanted: Sequence[int] | None) -> list[int]:
    """Return ``wanted``, by default the positions of all floating inputs.

    Raises:
        DifferentiationError: an input asked for is not floating.
    """
    if wanted is None:
        return [i for i, v in enumerate(program.inputs) if is_floating(v.type)]
    for i in wanted:
        if not is_floating(program.inputs[i].type):
            raise DifferentiationError(
                f"input {i} of program {program.name} is {program.inputs[i].type}: only floating "
                "inputs have a derivative"
            )
    return [*wanted]


def extend(program: Program) -> Builder:
    """A builder that begins with the inputs and equations of ``program``."""
    b = Builder(program.next_key())
    b.inputs.extend(program.inputs)
    b.equations.extend(program.equations)
    return b


def reader(b: Builder) -> Read:
    """Reads atoms of the builder's own program as tracers."""
    return lambda atom: Tracer(b, atom) if isinstance(atom, Var) else literal_value(atom)


def literal_value(literal: Literal) -> Array:
    """A literal as a value."""
    return Array(np.asarray(literal.value))


def close(b: Builder, program: Program, constants: tuple[tuple[Var, NDArray], ...] = ()) -> Program:
    """Turn arrays that rules brought along into constants of ``program``, beside ``constants``."""
    count = len(program.inputs) - len(b.captures)
    captured = zip(program.inputs[count:], b.captures, strict=True)
    found = [(v, x.data) for v, x in captured if isinstance(x, Array)]
    if len(found) != len(b.captures):
        raise DifferentiationError("a vjp rule used a traced value that is not its argument")
    return replace(program, inputs=program.inputs[:count], constants=(*constants, *found))
