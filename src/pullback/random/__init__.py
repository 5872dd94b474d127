"""Random arrays from explicit keys, with the names, conventions and bits of ``jax.random``.

Imports ``primitives``; ranks with ``ops``. Start at ``key`` and ``split``: a function of a key is
pure, so equal keys give equal numbers, inside ``jit`` and out. Use every key once.
"""

from pullback.random.discrete import bernoulli as bernoulli
from pullback.random.discrete import categorical as categorical
from pullback.random.discrete import choice as choice
from pullback.random.discrete import permutation as permutation
from pullback.random.discrete import randint as randint
from pullback.random.floats import exponential as exponential
from pullback.random.floats import gumbel as gumbel
from pullback.random.floats import normal as normal
from pullback.random.floats import truncated_normal as truncated_normal
from pullback.random.floats import uniform as uniform
from pullback.random.keys import PRNGKey as PRNGKey
from pullback.random.keys import bits as bits
from pullback.random.keys import fold_in as fold_in
from pullback.random.keys import key as key
from pullback.random.keys import split as split

__all__ = [
    "PRNGKey",
    "bernoulli",
    "bits",
    "categorical",
    "choice",
    "exponential",
    "fold_in",
    "gumbel",
    "key",
    "normal",
    "permutation",
    "randint",
    "split",
    "truncated_normal",
    "uniform",
]
