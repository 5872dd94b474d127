"""The main job: train a classifier of handwritten digits in Keras and show what came of it.

Uses pullback as any program would; nothing imports it. Run ``python -m pullback.demo``; read
``train``.
"""
