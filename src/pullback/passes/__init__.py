"""Program to program: named passes, each a pure function with a promise, one file each.

Start at ``pipeline``. A pass rewrites whole programs (``base``), a rule a few equations
(``rewrite``; ``rules`` has the algebra).
"""
