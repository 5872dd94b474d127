"""What is said about names that are not here.

Imports nothing of the package. ``refuse`` makes the ``__getattr__`` of a module.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from typing import Any, Final

_KERAS: Final = "with `import pullback as tf` use tf.keras"

#: What to use instead of names that tutorials have, by their names below ``tf``.
INSTEAD: Final = {
    "tf.contrib": "use tf.layers and tf.initializers here, or " + _KERAS,
    "tf.data": "feed NumPy arrays, a batch at a time, with feed_dict",
    "tf.keras": _KERAS + ": its layers do not take tensors of a static graph",
    "tf.estimator": _KERAS,
    "tf.summary": "fetch the values with sess.run and write them where you like",
    "tf.image": _KERAS + ".layers, or prepare the images with NumPy",
    "tf.gfile": "use open() and pathlib",
    "tf.app": "call your main() directly",
    "tf.flags": "use argparse",
    "tf.logging": "use the logging module; nothing is logged here",
    "tf.string": "keep text outside the graph; it has numbers alone",
    "tf.complex64": "keep real and imaginary parts in two tensors",
    "tf.GradientTape": "use tf.gradients here, or pullback.GradientTape with eager arrays",
    "tf.function": "a session compiles what it runs; with eager arrays use pullback.jit",
    "tf.while_loop": "loop in Python around sess.run, or use pullback.while_loop with eager arrays",
    "tf.cond": "use tf.where for values, or pullback.cond with eager arrays",
    "tf.map_fn": "write the operation for a whole batch, or use pullback.map with eager arrays",
    "tf.scan": "loop in Python, or use pullback.scan with eager arrays",
    "tf.py_func": "compute with NumPy between two sess.run",
    "tf.Print": "fetch the tensor with sess.run and print it",
    "tf.ConfigProto": "leave `config` out; PULLBACK_THREADS sets the threads",
    "tf.GPUOptions": "leave it out: there are processors only",
    "tf.device": "leave it out: there are processors only",
    "tf.enable_eager_execution": "`import pullback as tf` is eager",
    "tf.nn.conv2d_transpose": _KERAS + ".layers.Conv2DTranspose",
    "tf.nn.rnn_cell": _KERAS + ".layers.LSTM or GRU",
    "tf.nn.dynamic_rnn": _KERAS + ".layers.LSTM or GRU",
    "tf.nn.batch_normalization": "write it with tf.nn.moments, or " + _KERAS,
    "tf.layers.batch_normalization": _KERAS + ".layers.BatchNormalization",
    "tf.train.FtrlOptimizer": "use tf.train.AdagradOptimizer",
    "tf.train.Coordinator": "feed NumPy arrays with feed_dict",
    "tf.train.MonitoredTrainingSession": "use tf.Session and tf.train.Saver",
}


def refuse(module: str, public: str) -> Callable[[str], Any]:
    """Return a ``__getattr__`` that says what is there in place of what is asked for.

    Args:
        module: The module's name.
        public: Its name to users, such as ``tf.nn``.
    """

    def __getattr__(name: str) -> Any:  # it becomes the module's
        message = f"pullback.compat.v1 has no {public}.{name}"
        if not name.startswith("_"):
            message += _suggestion(f"{public}.{name}", name, dir(sys.modules[module]))
        raise AttributeError(message, name=name, obj=sys.modules[module])

    return __getattr__


def _suggestion(full: str, name: str, present: list[str]) -> str:
    if full in INSTEAD:
        return f": {INSTEAD[full]}"
    close = difflib.get_close_matches(name, [x for x in present if not x.startswith("_")], 3)
    found = f"; close to it: {', '.join(close)}" if close else ""
    return f"{found}. docs/reference/compat_v1.md lists what there is"
