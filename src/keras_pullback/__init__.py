"""The Keras 3 backend of pullback; Keras imports ``keras_pullback.src``, users ``pullback.keras``."""
