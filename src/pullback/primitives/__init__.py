"""All primitives, one file a family; importing this fills ``REGISTRY`` and the operators.

Imports ``program`` only, so that a rule can be read knowing nothing else. Start at ``elementwise``.
"""

from pullback.primitives import bitwise as bitwise
from pullback.primitives import cast as cast
from pullback.primitives import comparison as comparison
from pullback.primitives import control as control
from pullback.primitives import cumulative as cumulative
from pullback.primitives import custom as custom
from pullback.primitives import dot as dot
from pullback.primitives import elementwise as elementwise
from pullback.primitives import factorizations as factorizations
from pullback.primitives import indexing as indexing
from pullback.primitives import linalg as linalg
from pullback.primitives import operators as operators
from pullback.primitives import random as random
from pullback.primitives import reduce as reduce
from pullback.primitives import scatter as scatter
from pullback.primitives import shape as shape
from pullback.primitives import sort as sort
from pullback.primitives import special as special
from pullback.primitives import transcendental as transcendental
