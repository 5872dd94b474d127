"""The law of compiled code for lower targets than this processor's: a sample, or with slow, all."""

from __future__ import annotations

import pytest
from case import Case
from cases import CASES
from test_compiled import check_compiled
from test_laws import cases

from pullback import config
from pullback.backend.llvm.target import REQUIRED_FEATURES, host_features

TARGETS = [
    name
    for name in ("avx2", "generic")
    if name == "generic" or host_features().issuperset(REQUIRED_FEATURES[name])
]
SAMPLE = {id(case) for case in CASES[::24]}


@pytest.mark.parametrize("target", TARGETS)
@cases(lambda case: id(case) in SAMPLE)
def test_sample_on_target(target, case: Case):
    with config.override(target=target):
        check_compiled(case)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@cases(lambda case: id(case) not in SAMPLE)
def test_others_on_target(target, case: Case):
    with config.override(target=target):
        check_compiled(case)
