"""Loop nests: what the compiler makes of a program. Start at ``schedule``, then ``fuse``."""
