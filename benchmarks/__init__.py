"""Benchmarks: programs that compare pullback with its peers side by side. Run by ``make bench``."""
