"""``COO``: an array of which only some elements are stored, each with its place.

Imports ``ops``, ``tree`` and ``types``. What can be done with such an array is in the other modules
of this package, which fill ``METHODS``; start at ``COO``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

import numpy as np

from pullback import tree
from pullback.errors import DTypeError, ShapeError
from pullback.ops.arguments import ArrayLike, as_array, as_shape
from pullback.ops.dtypes import strong
from pullback.ops.elementwise import clip
from pullback.primitives import operators
from pullback.program.value import UFUNC_OPERATORS, Array, Value
from pullback.types import INTEGER, SHORT_NAMES, SIGNED, ArrayType, DType, int32

#: Operators and methods by name, filled by ``sparse.methods``.
METHODS: dict[str, Callable[..., Any]] = {}

#: Largest length of an axis that is sparse: indices are int32, and the length itself marks padding.
MAX_LENGTH = int(np.iinfo(np.int32).max)


@final
class COO:
    """An array ``T[d0..dn]`` of which ``nse`` elements, or slices, are stored; all others are 0.

    The first ``sparse_ndim`` axes are sparse: row ``e`` of ``indices`` says where along them
    ``values[e]`` stands. The other axes are dense: ``values[e]`` is a whole slice along them.

    Entries at one place mean their sum, for booleans their disjunction. An entry with an index
    outside the array, below 0 or not below the length of its axis, is *padding*: it holds nothing,
    and every function passes over it, whatever its value. With it, a compiled program whose
    ``nse`` is static has room for results whose number of entries depends on data.

    It is a node of trees with the leaves ``values`` and ``indices``: an argument, a result and a
    loop's carry like any array. A derivative with respect to it is one with respect to the values
    that are stored, a ``COO`` with the same indices. It never becomes dense on its own:
    ``to_dense`` does it.

    Args:
        values: Array ``[nse, *shape[sparse_ndim:]]``.
        indices: Array of integers ``[nse, sparse_ndim]``; kept as int32.
        shape: The shape of the whole array. Static.
        is_sorted: Whether the entries are known to be in row-major order, padding last. Not
            checked: what is stated wrongly gives wrong results.
        is_unique: Whether no two entries are known to be at one place. Not checked either.

    Raises:
        DTypeError: ``indices`` are not integers.
        ShapeError: the three do not fit; an axis that is sparse is longer than 2**31 - 1, or the
            array has more than 2**63 - 1 elements.

    Example:
        >>> x = COO([1.0, 2.0], [[0, 2], [1, 0]], (2, 3))
        >>> x.to_dense()
        Array([[0., 0., 1.],
               [2., 0., 0.]], f32)
    """

    __slots__ = ("__weakref__", "indices", "is_sorted", "is_unique", "shape", "values")
    __array_priority__ = 2000
    #: Which leaves have no derivative of their own, but are those of every derivative.
    __pullback_carried__ = (1,)

    values: Value
    indices: Value
    shape: tuple[int, ...]
    is_sorted: bool
    is_unique: bool

    def __init__(
        self,
        values: ArrayLike,
        indices: ArrayLike,
        shape: Sequence[int],
        *,
        is_sorted: bool = False,
        is_unique: bool = False,
    ) -> None:
        self.values = strong(as_array(values))
        self.indices = _as_indices(as_array(indices))
        self.shape = as_shape("COO", shape)
        self.is_sorted = bool(is_sorted)
        self.is_unique = bool(is_unique)
        self._check()
        if not self.sparse_ndim and self.nse > 1:
            self.is_unique = False

    def _check(self) -> None:
        values, indices, shape = self.values.type, self.indices.type, self.shape
        if indices.ndim != 2 or indices.shape[1] > len(shape):
            raise ShapeError(
                f"COO of shape {shape}: indices {indices}; expected [nse, sparse_ndim] with at "
                f"most {len(shape)} columns: one row an entry, one column an axis"
            )
        expected = (indices.shape[0], *shape[indices.shape[1] :])
        if values.shape != expected:
            raise ShapeError(
                f"COO of shape {shape} with indices {indices}: values {values}; expected "
                f"{values.with_shape(expected)}, one item for each row of indices"
            )
        check_lengths(shape, indices.shape[1])

    @property
    def dtype(self) -> DType:
        """Element dtype."""
        return self.values.dtype

    @property
    def type(self) -> ArrayType:
        """The type of the array that this stands for."""
        return ArrayType(self.shape, self.dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements, stored or not."""
        return math.prod(self.shape)

    @property
    def nse(self) -> int:
        """Number of entries that are stored, with duplicates and padding."""
        return int(self.indices.shape[0])

    @property
    def sparse_ndim(self) -> int:
        """Number of leading axes that ``indices`` address."""
        return int(self.indices.shape[1])

    @property
    def dense_ndim(self) -> int:
        """Number of trailing axes along which entries are stored whole."""
        return len(self.shape) - self.sparse_ndim

    @property
    def is_known(self) -> bool:
        """Whether the indices can be looked at now: they are not traced."""
        return isinstance(self.indices, Array)

    def with_values(self, values: Value) -> COO:
        """The same places with other values: ``[nse, *dense axes]``, of any lengths."""
        shape = (*self.shape[: self.sparse_ndim], *values.shape[1:])
        return assemble(values, self.indices, shape, self.is_sorted, self.is_unique)

    def __getattr__(self, name: str) -> Any:
        method = METHODS.get(name)
        if method is None or name.startswith("__"):
            raise AttributeError(
                f"'COO' object has no attribute {name!r}; `x.to_dense()` is an Array, which has all"
            )
        return method(self) if name in PROPERTIES else method.__get__(self)

    def __repr__(self) -> str:
        flags = [name for name in ("is_sorted", "is_unique") if getattr(self, name)]
        dense = [f"dense_ndim={self.dense_ndim}"] if self.dense_ndim else []
        return f"COO({', '.join([str(self.type), f'nse={self.nse}', *dense, *flags])})"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        raise TypeError(
            f"the truth of a sparse array {self.type} is not defined; ask `x.nse`, or "
            "`x.to_dense()`"
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise DTypeError(
            f"a sparse array {self.type} with {self.nse} entries does not become dense on its own: "
            "pass `x.to_dense()`, or use a function of `pullback.sparse`"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        # `numpy_array * x` comes here; `numpy.sin(x)` too, and is refused.
        name = UFUNC_OPERATORS.get(ufunc.__name__)
        if name is None or method != "__call__" or kwargs or name not in _BINARY:
            return self.__array__()
        return METHODS[name](*inputs)

    def __getitem__(self, key: Any) -> Any:
        return METHODS["__getitem__"](self, key)

    def __add__(self, other: Any) -> Any:
        return _binary("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return _binary("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return _binary("subtract", self, other)

    def __rsub__(self, other: Any) -> Any:
        return _binary("subtract", other, self)

    def __mul__(self, other: Any) -> Any:
        return _binary("multiply", self, other)

    def __rmul__(self, other: Any) -> Any:
        return _binary("multiply", other, self)

    def __truediv__(self, other: Any) -> Any:
        return _binary("divide", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _binary("divide", other, self)

    def __pow__(self, other: Any) -> Any:
        return _binary("pow", self, other)

    def __matmul__(self, other: Any) -> Any:
        return _binary("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return _binary("matmul", other, self)

    def __neg__(self) -> COO:
        return self.with_values(operators.negative(self.values))

    def __pos__(self) -> COO:
        return self

    def __abs__(self) -> Any:
        return METHODS["abs"](self)

    def _compare(self, other: Any) -> Any:
        raise DTypeError(
            f"comparing a sparse array {self.type} has a result that is not sparse in general: "
            "compare `x.to_dense()`, or `x.values`"
        )

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _compare
    __hash__ = None  # type: ignore[assignment]  # as Python has it where `==` is not identity


#: Names in ``METHODS`` that are read as attributes, without a call.
PROPERTIES = {"T", "mT"}

_BINARY = frozenset({"add", "subtract", "multiply", "divide", "matmul", "pow"})


def _binary(name: str, x: Any, y: Any) -> Any:
    known = (COO, Value, np.ndarray, np.generic, bool, int, float)
    if not (isinstance(x, known) and isinstance(y, known)):
        return NotImplemented
    return METHODS[name](x, y)


def _as_indices(indices: Value) -> Value:
    """Indices as int32; those that it does not hold stay outside every array."""
    if indices.dtype not in INTEGER:
        if not indices.size:
            return operators.astype(indices, int32)
        accepted = ", ".join(short for d, short in SHORT_NAMES.items() if d in INTEGER)
        raise DTypeError(
            f"COO: indices {indices.type}; expected integers ({accepted}): cast with "
            "`x.astype('int32')`"
        )
    if indices.dtype == int32:
        return indices
    if indices.dtype.itemsize >= 4:
        lowest = -1 if indices.dtype in SIGNED else 0
        indices = clip(indices, lowest, MAX_LENGTH)
    return operators.astype(indices, int32)


def require_sparse(name: str, *xs: Any) -> None:
    """Require that one of ``xs`` is a ``COO``.

    Raises:
        DTypeError: none is.
    """
    if not any(isinstance(x, COO) for x in xs):
        given = " and ".join(str(getattr(x, "type", type(x).__name__)) for x in xs)
        raise DTypeError(
            f"sparse.{name} of {given}; expected a sparse array: make one with "
            f"`sparse.from_dense`, or use what `pullback` has for dense ones"
        )


def check_lengths(shape: tuple[int, ...], sparse_ndim: int) -> None:
    """Require that int32 numbers the places along each sparse axis, and int64 all elements.

    Raises:
        ShapeError: it does not.
    """
    if max(shape[:sparse_ndim], default=0) > MAX_LENGTH:
        raise ShapeError(
            f"COO of shape {shape}: a sparse axis has at most {MAX_LENGTH} places; split it into "
            "two axes"
        )
    if math.prod(shape) > np.iinfo(np.int64).max:
        raise ShapeError(f"COO of shape {shape}: it has more elements than int64 numbers")


def assemble(
    values: Value, indices: Value, shape: tuple[int, ...], is_sorted: bool, is_unique: bool
) -> COO:
    """A ``COO`` of parts that are known to fit, but for the lengths of sparse axes."""
    nse, sparse_ndim = indices.shape
    check_lengths(shape, sparse_ndim)
    # Without a sparse axis all entries are at one place.
    is_unique = is_unique and (sparse_ndim > 0 or nse <= 1)
    return _unflatten((shape, is_sorted, is_unique), (values, indices))


def _flatten(x: COO) -> tuple[Iterable[Any], Any]:
    return (x.values, x.indices), (x.shape, x.is_sorted, x.is_unique)


def _unflatten(meta: Any, children: Sequence[Any]) -> COO:
    """A ``COO`` of any two leaves, which need be no arrays."""
    x = object.__new__(COO)
    x.values, x.indices = children
    x.shape, x.is_sorted, x.is_unique = meta
    return x


tree.register(COO, _flatten, _unflatten)
