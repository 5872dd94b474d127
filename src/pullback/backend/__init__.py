"""Backends: what turns kernels into something that runs. ``executable`` is the way in."""
