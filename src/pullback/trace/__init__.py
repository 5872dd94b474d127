"""Python functions to programs: staging, and variables that staged functions read and assign."""
