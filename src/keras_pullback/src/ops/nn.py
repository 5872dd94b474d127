"""Neural-network operations: what Keras reads as ``backend.nn``.

Exports its families ``nn_*`` by name; nothing is defined here. Start at ``nn_activations``.
"""

from keras_pullback.src.ops.nn_activations import *  # noqa: F403
from keras_pullback.src.ops.nn_attention import *  # noqa: F403
from keras_pullback.src.ops.nn_conv import *  # noqa: F403
from keras_pullback.src.ops.nn_ctc import *  # noqa: F403
from keras_pullback.src.ops.nn_losses import *  # noqa: F403
from keras_pullback.src.ops.nn_normalization import *  # noqa: F403
from keras_pullback.src.ops.nn_pool import *  # noqa: F403
