"""The Keras 3 backend: Keras imports ``keras_pullback.src``, users ``pullback.keras``."""
