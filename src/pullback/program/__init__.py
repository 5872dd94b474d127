"""The program: equations over typed variables, and what reads, writes, checks and runs it.

Start at ``core``. ``primitive`` says what an operation is, ``value`` what user code computes with,
``builder`` records; ``printer``, ``parser``, ``verify`` and ``interpret`` are the tools.
"""
