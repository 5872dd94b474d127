"""Lines of code of each package against its budget: ``python tools/size.py``.

A line of code holds a token that is neither comment nor docstring. Exits with 1 when a file of the
package has more than ``FILE_LINES`` lines in all; budgets are a guide, and what exceeds one is
marked. Reads the sources alone.
"""

from __future__ import annotations

import ast
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "pullback"
FILE_LINES = 600

#: Lines of code that each part of the package was given when it was designed. ``ops`` includes
#: ``random``; the modules beside the folders (``api``, ``jit``, ``control``, ...) count as one.
BUDGETS = {
    "program": 1200,
    "primitives": 2800,
    "trace": 500,
    "ops": 1500,
    "random": 500,
    "sparse": 1400,
    "autodiff": 900,
    "passes": 1500,
    "kernels": 1500,
    "backend": 2500,
    "demo": 300,
    "datasets": 50,
    "compat": 4000,
    "export": 1900,
    "(modules)": 2000,
    "keras_pullback": 4500,
    "pullback_hook": 400,
}
_LAYOUT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip


def package_of(path: Path) -> str:
    """The row that a file belongs to: a folder of ``pullback``, or a package beside it."""
    package, *parts = path.relative_to(SOURCE.parent).parts
    if package != SOURCE.name:
        return package
    return parts[0] if len(parts) > 1 else "(modules)"


def main() -> int:
    """Print the table; return the exit status."""
    sizes: dict[str, list[tuple[int, int, Path]]] = defaultdict(list)
    for path in sorted(SOURCE.parent.rglob("*.py")):
        total = len(path.read_bytes().splitlines())
        sizes[package_of(path)].append((code_lines(path), total, path))
    say(f"{'package':<14} {'files':>5} {'code':>7} {'budget':>7}  {'longest file':<40}")
    for package, files in sizes.items():
        _, longest, path = max(files, key=lambda file: file[1])
        code, budget = sum(file[0] for file in files), BUDGETS.get(package)
        over = f"  over by {code - budget:,}" if budget is not None and code > budget else ""
        name = f"{path.relative_to(SOURCE.parent)} ({longest})"
        say(f"{package:<14} {len(files):>5} {code:>7,} {budget or '-':>7}  {name:<40}{over}")
    files = [file for package in sizes.values() for file in package]
    code = sum(file[0] for file in files)
    say(f"{'all':<14} {len(files):>5} {code:>7,} {sum(BUDGETS.values()):>7,}")
    unknown = sizes.keys() - BUDGETS.keys()
    long = [(total, path) for _, total, path in files if total > FILE_LINES]
    for package in sorted(unknown):
        say(f"no budget: {package}; give it one in tools/size.py")
    for total, path in long:
        say(f"too long: {path.relative_to(ROOT)} has {total} lines, at most {FILE_LINES}")
    return 1 if long or unknown else 0


def code_lines(path: Path) -> int:
    """Lines with code: neither blank, nor comment, nor docstring."""
    with path.open("rb") as file:
        lines = {
            number
            for token in tokenize.tokenize(file.readline)
            if token.type not in _LAYOUT
            for number in range(token.start[0], token.end[0] + 1)
        }
    return len(lines - set(docstring_lines(path)))


def docstring_lines(path: Path) -> Iterator[int]:
    """The numbers of the lines of docstrings."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield from range(first.lineno, (first.end_lineno or first.lineno) + 1)


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text.rstrip() + "\n")


if __name__ == "__main__":
    sys.exit(main())
