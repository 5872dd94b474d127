"""LLVM IR text in parts that are compiled side by side.

Imports ``records``. Start at ``split``. Each function is in one part, and is declared in
those that call it; the loader links them.
"""

from __future__ import annotations

import re
from typing import Final

from pullback.records import dataclass

_DEFINITION: Final = re.compile(
    r"define (?:(?:internal|private|linkonce_odr|hidden|dso_local) )*"
    r'(?P<signature>[^@\n]*(?P<name>@(?:"[^"]+"|[-\w.$]+))\(.*) \{\n'
)
_NAME: Final = re.compile(r'@(?:"[^"]+"|[-\w.$]+)')
#: So many instructions take LLVM as long as one more basic block does.
_BLOCK_LINES: Final = 24
#: What may be in several parts at once: a table that is only read.
_TABLE: Final = re.compile(r"@\S+ = private unnamed_addr constant ")


@dataclass(frozen=True, eq=False)
class _Function:
    """A definition: its first line without linkage, the lines after it, all names in it."""

    signature: str
    body: str
    names: frozenset[str]

    @property
    def cost(self) -> int:
        """How long LLVM will take, in a unit of its own."""
        return self.body.count("\n") + _BLOCK_LINES * self.body.count(":\n")


def split(text: str, count: int) -> list[str]:
    """Return the text in ``count`` parts that cost about the same, or in fewer.

    All functions are seen from outside then. Text that has anything beside functions, read-only
    tables, declarations and metadata stays in one part, as it is.

    Cost: 1 ms for each 100 KB.
    """
    head, *definitions = re.split(r"^(?=define )", text, flags=re.MULTILINE)
    count = min(count, len(definitions))
    common = _common_lines(head)
    found = [_DEFINITION.match(definition) for definition in definitions]
    if count < 2 or common is None or None in found:
        return [text]
    functions = {
        match["name"]: _Function(
            match["signature"], definition[match.end() :], frozenset(_NAME.findall(definition))
        )
        for match, definition in zip(found, definitions, strict=True)
        if match
    }
    return [_part(names, functions, common) for names in _shares(functions, count)]


def _common_lines(head: str) -> dict[str, str] | None:
    """What parts share, by name; metadata by its whole line. None if there is anything else."""
    lines: dict[str, str] = {}
    for line in filter(None, head.split("\n")):
        if line.startswith("!"):
            lines[line] = line
        elif line.startswith("declare ") or _TABLE.match(line):
            lines[_NAME.findall(line)[0]] = line
        else:
            return None
    return lines


def _shares(functions: dict[str, _Function], count: int) -> list[set[str]]:
    """Names of functions in groups that cost about the same: the dearest are dealt out first."""
    shares: list[set[str]] = [set() for _ in range(count)]
    sums = [0] * count
    costs = {name: function.cost for name, function in functions.items()}
    for name in sorted(costs, key=lambda name: -costs[name]):
        least = sums.index(min(sums))
        shares[least].add(name)
        sums[least] += costs[name]
    return shares


def _part(names: set[str], functions: dict[str, _Function], common: dict[str, str]) -> str:
    used = frozenset[str]().union(*(functions[name].names for name in names))
    lines = [line for name, line in common.items() if name in used or name.startswith("!")]
    for name, function in functions.items():
        if name in names:
            lines.append(f"define {function.signature} {{\n{function.body}")
        elif name in used:
            lines.append(f"declare {function.signature}")
    return "\n".join(lines) + "\n"
