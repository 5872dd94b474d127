"""The inspection chapter, the names of the standard, and their signatures."""

from __future__ import annotations

import inspect

import array_api_strict as strict
import numpy as np
import pytest
from exceptions import MISSING, REASONS

import pullback as pb
from pullback.types import bfloat16, float16


def standard_names():
    """Names of the 2024.12 edition, as array-api-strict has them."""
    strict.set_array_api_strict_flags(api_version="2024.12")
    newer = {"isin", "broadcast_shapes", "linalg.eig", "linalg.eigvals"}
    own = {
        "ArrayAPIStrictFlags",
        "Device",
        "get_array_api_strict_flags",
        "reset_array_api_strict_flags",
        "set_array_api_strict_flags",
    }
    names = {n for n in strict.__all__ if n not in own}
    names |= {f"linalg.{n}" for n in strict.linalg.__all__}
    names |= {f"fft.{n}" for n in strict.fft.__all__} | {"fft"}
    return sorted(names - newer)


def found(namespace, name):
    for part in name.split("."):
        namespace = getattr(namespace, part, None)
    return namespace


@pytest.mark.parametrize("name", standard_names())
def test_every_name_of_the_standard_is_there(name):
    """Or is listed in ``exceptions`` with a reason."""
    is_there = found(pb, name) is not None or name == "newaxis"

    assert is_there != (name in MISSING), MISSING.get(name, "missing without a reason")


def test_exceptions_name_their_groups():
    assert set(MISSING.values()) <= set(REASONS)
    assert all(len(reason) > 20 for reason in REASONS.values())


def functions():
    return [
        n
        for n in standard_names()
        if callable(found(pb, n)) and inspect.isfunction(found(strict, n))
    ]


@pytest.mark.parametrize("name", functions())
def test_signatures_take_what_the_standard_does(name):
    """Each parameter can be passed as the standard allows: by position, by keyword, or both."""
    ours = inspect.signature(found(pb, name)).parameters
    theirs = inspect.signature(inspect.unwrap(found(strict, name))).parameters
    by_position = [
        p for p in ours.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    variadic = any(p.kind == p.VAR_POSITIONAL for p in ours.values())

    for place, parameter in enumerate(theirs.values()):
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            assert variadic or place < len(by_position), parameter
            if parameter.default is not parameter.empty and place < len(by_position):
                assert by_position[place].default is not inspect.Parameter.empty, parameter
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            same = ours.get(parameter.name)
            if parameter.kind == parameter.KEYWORD_ONLY:
                assert same is not None, parameter
                assert same.kind != same.POSITIONAL_ONLY, parameter


def test_namespace_of_arrays():
    x = pb.zeros(2)

    assert x.__array_namespace__() is pb
    assert x.__array_namespace__(api_version="2024.12") is pb
    with pytest.raises(ValueError, match=r"'2099.12' of the Array API"):
        x.__array_namespace__(api_version="2099.12")
    assert pb.__array_api_version__ == "2024.12"


def test_constants():
    assert (pb.e, pb.pi, pb.inf, pb.newaxis) == (np.e, np.pi, np.inf, None)
    assert np.isnan(pb.nan)


def test_info():
    info = pb.__array_namespace_info__()
    theirs = strict.__array_namespace_info__()

    assert info.capabilities() == theirs.capabilities()
    assert info.default_device() in info.devices() == ["cpu"]
    assert info.default_dtypes()["real floating"] == pb.asarray(1.0).dtype
    assert info.default_dtypes(device="cpu")["integral"] == pb.asarray(1).dtype
    assert info.default_dtypes()["indexing"] == pb.argmax(pb.zeros(2)).dtype


@pytest.mark.parametrize(
    "kind", [None, "bool", "signed integer", "integral", "real floating", ("bool", "integral")]
)
def test_info_lists_dtypes(kind):
    found = pb.__array_namespace_info__().dtypes(kind=kind)

    expected = strict.__array_namespace_info__().dtypes(kind=kind)
    assert set(found) == {name for name in expected if "complex" not in name}
    assert all(getattr(pb, name) == dtype for name, dtype in found.items())
    assert not {float16, bfloat16} & set(found.values())


def test_info_refuses_unknown_kinds():
    with pytest.raises(ValueError, match="no kind 'floats'"):
        pb.__array_namespace_info__().dtypes(kind="floats")


def test_exported_names_exist():
    """And each public function has a docstring with what it takes."""
    for name in pb.ops.__all__:
        value = getattr(pb, name)
        if inspect.isfunction(value):
            assert value.__doc__, name
