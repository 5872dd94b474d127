"""The mixin of every Keras layer, which counts how often a layer was changed.

Imports nothing; ``optimizer`` counts alike, ``model_calls`` and ``structure`` read the counts.
"""

from __future__ import annotations

from typing import Any, Final

#: Under this name a layer's ``__dict__`` has how often its attributes were changed.
CHANGES = "_pullback_changes"

_MISSING = object()


class Total:
    """How often attributes of any layer or optimizer were changed.

    Attributes:
        changes: The number; it only grows.
    """

    def __init__(self) -> None:
        self.changes = 0


TOTAL: Final = Total()

#: Attributes that training sets and no call of a layer reads; ``_trainable`` is looked at anew.
NOT_OF_CALLS = frozenset(
    {
        "_called",
        "_compile_config",
        "_compile_loss",
        "_compile_metrics",
        "_compiled_trainable_state",
        "_compute_loss_has_training_arg",
        "_eval_epoch_iterator",
        "_initial_epoch",
        "_jit_compile",
        "_label_ranges",
        "_lock",
        "_loss_tracker",
        "_run_eagerly",
        "_structure",
        "_test_loops",
        "_train_loops",
        "_trainable",
        "compiled",
        "history",
        "loss",
        "optimizer",
        "predict_function",
        "steps_per_execution",
        "stop_evaluating",
        "stop_predicting",
        "stop_training",
        "test_function",
        "train_function",
    }
)


def count_change(owner: Any, name: str, value: Any) -> None:
    """Count in ``owner.__dict__[CHANGES]`` that an attribute is about to become another object."""
    known = owner.__dict__
    if known.get(name, _MISSING) is not value and (
        # What a property's setter changes comes here under a name of its own.
        name in known or not isinstance(getattr(type(owner), name, None), property)
    ):
        known[CHANGES] = known.get(CHANGES, 0) + 1
        TOTAL.changes += 1


class BackendLayer:
    """Base of Keras's ``Layer`` with this backend."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in NOT_OF_CALLS:
            count_change(self, name, value)
        super().__setattr__(name, value)
