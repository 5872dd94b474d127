"""The LLVM backend: machine code for this processor. Start at ``build``."""
