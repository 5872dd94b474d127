"""``model.export`` to SavedModel is TensorFlow's: refused by name."""

from __future__ import annotations

from typing import Any


class SavedModelExportArchive:
    """Stands where Keras expects an exporter to SavedModel; using it raises an error."""

    def track(self, resource: Any) -> None:
        """Refused."""
        raise _refusal()

    def add_endpoint(self, name: str, fn: Any, input_signature: Any = None, **kwargs: Any) -> None:
        """Refused."""
        raise _refusal()

    def track_and_add_endpoint(
        self, name: str, resource: Any, input_signature: Any, **kwargs: Any
    ) -> None:
        """Refused."""
        raise _refusal()


def _refusal() -> NotImplementedError:
    return NotImplementedError(
        "the pullback backend writes no SavedModel, which is TensorFlow's format: save the model "
        'with `model.save("model.keras")` and export it with Keras on TensorFlow'
    )
