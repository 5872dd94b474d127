"""Which hooks of batches the callbacks of a run have: whether each batch must be reported.

Imports Keras alone; ``trainer`` uses it. Start at ``needs_each_batch``.
"""

from __future__ import annotations

from typing import Any

from keras.src import callbacks as keras_callbacks
from keras.src.utils.python_utils import is_default


def needs_each_batch(callbacks: Any, kind: str) -> bool:
    """Whether a callback asks for every batch.

    Args:
        callbacks: A ``CallbackList`` whose ``on_train_begin`` or ``on_test_begin`` was called.
        kind: ``"train"`` or ``"test"``.
    """
    return any(
        not (is_default(hook) or _is_idle(callback, hook))
        for callback in callbacks.callbacks
        for hook in _hooks(callback, kind)
    )


def stops_on_nan(callbacks: Any, kind: str) -> bool:
    """Whether a callback asks for the first batch after which the loss is not finite."""
    return kind == "train" and any(map(_is_for_nan, callbacks.callbacks))


def _hooks(callback: Any, kind: str) -> list[Any]:
    names = [f"on_{kind}_batch_begin", f"on_{kind}_batch_end"]
    if kind == "train":
        names += ["on_batch_begin", "on_batch_end"]
    return [getattr(callback, name) for name in names]


def _is_idle(callback: Any, hook: Any) -> bool:
    """Whether a hook that is not the default one loses nothing if it is called once a chunk.

    That depends on the function, since a subclass may bring one of its own, and on how the
    callback was set up.
    """
    if not getattr(hook, "__module__", "").startswith("keras.src.callbacks."):
        return False
    if isinstance(callback, keras_callbacks.ProgbarLogger) or _is_for_nan(callback):
        return True
    if isinstance(callback, keras_callbacks.TensorBoard):
        return (
            callback.update_freq == "epoch"
            and not callback.write_steps_per_second
            and not callback._should_trace
        )
    return getattr(callback, "save_freq", None) == "epoch"


def _is_for_nan(callback: Any) -> bool:
    """Whether a callback looks for a loss that is not finite, as Keras's does."""
    own = keras_callbacks.TerminateOnNaN
    return isinstance(callback, own) and type(callback).on_batch_end is own.on_batch_end
