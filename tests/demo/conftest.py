"""Keras on this backend, with settings of its own: neither the user's are read nor written."""

from __future__ import annotations

import os
import tempfile

if "KERAS_HOME" not in os.environ:
    # A directory for the whole run: tests in other processes must find it as well.
    os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="pullback-keras-home-")

import pullback.keras  # noqa: F401  # chooses the backend
