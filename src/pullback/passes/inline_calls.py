"""Calls are replaced by the equations of what they call.

Imports ``passes.base`` and the primitives with one program. Start at ``inline_calls``.
"""

from __future__ import annotations

from dataclasses import replace

from pullback.passes.base import PassLog, changed, program_pass, substitute, substitute_atoms
from pullback.primitives.control import Call
from pullback.primitives.custom import Checkpoint, CustomVjp
from pullback.program.core import Atom, Equation, NDArray, Program, Var
from pullback.program.primitive import Primitive
from pullback.program.source import Origin


@program_pass("inline-calls")
def inline_calls(program: Program, log: PassLog) -> Program:
    """Put the equations of called programs in the place of calls.

    Once nothing is differentiated any more, ``call``, ``checkpoint`` and ``custom_vjp`` are
    function calls. The equations get new keys; origins that name equations of the called program
    follow them.

    rewrite:
        %1 = call(program=(%0) { %1 = exp %0; return %1 }) %0      ->      %1 = exp %0
        return %1                                                          return %1
    """
    inliner = _Inliner(program)
    for eqn in program.equations:
        eqn = substitute(eqn, inliner.atoms)
        called = _called_program(eqn.primitive)
        if called is None:
            inliner.equations.append(eqn)
        else:
            inliner.inline(eqn, called)
            log.record("inline-calls", eqn)
    outputs = substitute_atoms(program.outputs, inliner.atoms)
    inlined = changed(program, inliner.equations, outputs)
    if len(inliner.constants) > len(program.constants):
        inlined = replace(inlined, constants=tuple(inliner.constants.values()))
    return inlined


def _called_program(primitive: Primitive) -> Program | None:
    match primitive:
        case Call() | Checkpoint():
            return primitive.program
        case CustomVjp():
            return primitive.primal
    return None


class _Inliner:
    def __init__(self, program: Program) -> None:
        self.next_key = program.next_key()
        self.equations: list[Equation] = []
        self.atoms: dict[Var, Atom] = {}
        self.constants: dict[int, tuple[Var, NDArray]] = {}
        for var, array in program.constants:
            self.constants[id(var)] = (var, array)
        #: For each call, by its key, the new keys of the equations that it called.
        self.moved: dict[int, dict[int, int]] = {}

    def inline(self, call: Equation, called: Program) -> None:
        env: dict[Var, Atom] = dict(zip(called.inputs, call.inputs, strict=True))
        env.update((var, self.constant(var, array)) for var, array in called.constants)
        moved = self.moved.setdefault(call.key, {})
        for eqn in called.equations:
            moved[eqn.key] = self.next_key
            outputs = tuple(Var(var.type) for var in eqn.outputs)
            self.equations.append(
                Equation(
                    eqn.primitive,
                    substitute_atoms(eqn.inputs, env),
                    outputs,
                    self.next_key,
                    eqn.source or call.source,
                    self.origin(eqn, call),
                )
            )
            env.update(zip(eqn.outputs, outputs, strict=True))
            self.next_key += 1
        results = substitute_atoms(called.outputs, env)
        self.atoms.update(zip(call.outputs, results, strict=True))

    def constant(self, var: Var, array: NDArray) -> Var:
        """Return the variable of a constant of a called program, one for all its calls."""
        return self.constants.setdefault(id(var), (Var(var.type), array))[0]

    def origin(self, eqn: Equation, call: Equation) -> Origin | None:
        """Return where an equation of a called program comes from, in terms of the new keys.

        Its origin names an equation of the same program or, if a transformation made the call from
        another one, of the program which that one calls.
        """
        origin = eqn.origin
        if origin is None:
            return call.origin
        key = self.moved[call.key].get(origin.key)
        if key is not None:
            return replace(origin, key=key)
        if call.origin is None:
            return replace(origin, key=call.key)
        key = self.moved.get(call.origin.key, {}).get(origin.key, call.origin.key)
        return replace(origin, key=key)
