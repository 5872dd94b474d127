"""The error of an export. Imports nothing but ``pullback.errors``."""

from __future__ import annotations

from pullback.errors import PullbackError


class ExportError(PullbackError, ValueError):
    """A program cannot be written as ONNX. The message names the operation and where it is."""
