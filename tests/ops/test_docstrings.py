"""The examples in the docstrings of the namespace are run, and every function has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import math
import pkgutil
import re

import pytest

import pullback as pb

MODULES = sorted(m.name for m in pkgutil.iter_modules(pb.ops.__path__))
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")


class Checker(doctest.OutputChecker):
    """Compares numbers by 1e-6: the last digit depends on the processor."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        if super().check_output(want, got, optionflags):
            return True
        texts = [re.sub(r"\s+", "", NUMBER.sub("#", text)) for text in (want, got)]
        numbers = [list(map(float, NUMBER.findall(text))) for text in (want, got)]
        return texts[0] == texts[1] and all(
            math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6) for a, b in zip(*numbers, strict=True)
        )


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"pullback.ops.{name}")
    runner = doctest.DocTestRunner(Checker(), verbose=False)

    for test in doctest.DocTestFinder().find(module, globs={"pb": pb}):
        runner.run(test, out=lambda text: pytest.fail(text))

    assert runner.summarize(verbose=False).failed == 0


def public_functions():
    spaces = {"": pb.ops, "linalg.": pb.linalg, "nn.": pb.nn}
    return sorted(
        prefix + n
        for prefix, space in spaces.items()
        for n in space.__all__
        if inspect.isfunction(getattr(space, n))
    )


@pytest.mark.parametrize("name", public_functions())
def test_public_functions_are_documented_with_an_example(name):
    space = pb
    for part in name.split("."):
        space = getattr(space, part)

    assert space.__doc__ is not None
    if space.__module__.startswith("pullback.ops"):
        assert ">>> pb." in space.__doc__ or ">>> " in space.__doc__
