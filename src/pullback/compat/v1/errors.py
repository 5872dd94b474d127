"""Errors of running a graph, under TensorFlow's names. Imports ``pullback.errors`` alone."""

from __future__ import annotations

from pullback.errors import PullbackError


class FailedPreconditionError(PullbackError, RuntimeError):
    """A variable was read before it had a value.

    Run ``sess.run(tf.global_variables_initializer())`` first, after the whole graph is made.
    """


class InvalidArgumentError(PullbackError, ValueError):
    """A placeholder was needed and not fed. The message names it and the line that made it."""


class GraphError(PullbackError, ValueError):
    """What was asked for is not of this graph, is made wrongly, or the session is closed."""
