"""The errors of pullback, one class a kind, each with the user's line behind its message.

Each docstring shows the mistake and the mend. Imports nothing of pullback. What concerns one
argument alone is one of Python's own errors: an index out of range is an ``IndexError``, a number
or a word that is none of those expected a ``ValueError``.
"""

from __future__ import annotations

import sys
from types import FrameType

#: Packages whose lines are not the user's, and modules of Python's that call back.
_NOT_USERS = frozenset(
    {"pullback", "keras_pullback", "keras", "numpy", "contextlib", "functools", "threading"}
)


class PullbackError(Exception):
    """Base of these errors. A note, which Python prints behind the message, has the user's line."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        frame = _users_frame()
        if frame is not None:
            self.add_note(_line_of(frame))


def _users_frame() -> FrameType | None:
    """The innermost frame that is neither pullback's nor of what it is called through."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in _NOT_USERS and not frame.f_code.co_filename.startswith("<"):
            return frame
        frame = frame.f_back
    return None


def _line_of(frame: FrameType) -> str:
    import linecache  # costs a millisecond, and most programs need it never

    file = frame.f_code.co_filename
    text = linecache.getline(file, frame.f_lineno, frame.f_globals).strip()
    return f"at {file}:{frame.f_lineno}" + (f": {text}" if text else "")


class ShapeError(PullbackError, ValueError):
    """Shapes do not fit: what was given, as ``f32[3,4]``, what was expected, and a suggestion."""


class DTypeError(PullbackError, TypeError):
    """A dtype is not supported, or not by this operation. Cast with ``x.astype(...)``."""


class TracerBoolError(PullbackError, TypeError):
    """A traced value was used as a Python ``bool``, for example in ``if x > 0:``.

    While ``jit`` traces a function, arrays have a type but no value. Use ``pullback.where`` to
    choose between values, ``pullback.cond`` to choose between computations, or mark the argument
    static with ``static_argnums`` if it is a plain Python value.
    """


class TracerIntegerError(PullbackError, TypeError):
    """A traced value was used as a Python ``int``, for example in ``range(n)`` or as a shape.

    Mark the argument static with ``static_argnums``, or loop with ``pullback.fori_loop``.
    """


class TracerArrayError(PullbackError, TypeError):
    """A traced value was used as a NumPy array or a Python float, for example ``np.sin(x)``.

    Use the function of the same name in ``pullback``, or return the value from the ``jit``
    function and convert it outside.
    """


#: What tells that a function needs values while it is traced: it cannot be compiled, but can run.
NEEDS_VALUES = (TracerArrayError, TracerBoolError, TracerIntegerError)


class LeakedTracerError(PullbackError, RuntimeError):
    """A traced value was used after the function that traced it had returned.

    It was probably stored in a global, an attribute or a list. Return it instead.
    """


class StaticArgumentError(PullbackError, TypeError):
    """A static argument is not hashable. Pass a tuple in place of a list, or trace it."""


class DifferentiationError(PullbackError, TypeError):
    """A derivative was asked for that is not defined. The message names the operation."""


class TreeError(PullbackError, ValueError):
    """Two trees that must have the same structure do not, or a leaf is of an unsupported type."""


class UnsupportedTargetError(PullbackError, RuntimeError):
    """``PULLBACK_TARGET`` names a target that this processor or LLVM cannot run."""


class VerificationError(PullbackError, AssertionError):
    """A program or kernel breaks an invariant. This is a defect in pullback: please report it."""


class ParseError(PullbackError, ValueError):
    """Text is not a program. The message names the line and what was expected."""


class CompilationError(PullbackError, RuntimeError):
    """LLVM refused the generated code. This is a defect in pullback: please report it."""


class ConfigurationError(PullbackError, ValueError):
    """A setting has a value outside its range. The message names the setting and the range."""


class RegistrationError(PullbackError, TypeError):
    """A primitive, pass or tree class was registered twice, or is not of the right form."""
