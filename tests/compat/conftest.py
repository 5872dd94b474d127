"""Each test has a graph of its own, and one thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import pullback.compat.v1 as tf
from pullback import config


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    """The default graph of the test."""
    with config.override(threads=1), tf.Graph().as_default() as graph:
        yield graph
