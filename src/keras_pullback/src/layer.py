"""The mixin of every Keras layer: nothing is needed here."""

from __future__ import annotations


class BackendLayer:
    """Base of Keras's ``Layer`` with this backend."""
