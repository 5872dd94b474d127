"""Keras's ``ops.image``: what its private modules ``image_*`` define, under one name.

Colours are in ``image_colors``, blur and edges in ``image_filters``, new sizes in ``image_resize``,
and what moves elements in ``image_transforms``.
"""

from keras_pullback.src.ops.image_colors import hsv_to_rgb, rgb_to_grayscale, rgb_to_hsv
from keras_pullback.src.ops.image_filters import gaussian_blur, sobel_edges
from keras_pullback.src.ops.image_resize import resize, scale_and_translate
from keras_pullback.src.ops.image_transforms import (
    affine_transform,
    compute_homography_matrix,
    elastic_transform,
    map_coordinates,
    perspective_transform,
)

__all__ = [
    "affine_transform",
    "compute_homography_matrix",
    "elastic_transform",
    "gaussian_blur",
    "hsv_to_rgb",
    "map_coordinates",
    "perspective_transform",
    "resize",
    "rgb_to_grayscale",
    "rgb_to_hsv",
    "scale_and_translate",
    "sobel_edges",
]
