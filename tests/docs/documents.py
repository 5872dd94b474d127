"""Reads Markdown: fenced blocks, and pairs of an example and the output it shows."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "tutorial"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FENCE = re.compile(r"^(`{3,})([^\n`]*)\n(.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL)
#: Frames of code from "<...>" are nobody's source lines: programs print as they do in a console.
RUNNER = """
import contextlib, io, json, sys
name, blocks = json.load(sys.stdin)
namespace, outputs = {"__name__": "__main__"}, []
for line, code in blocks:
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        exec(compile("\\n" * line + code, f"<{name}>", "exec"), namespace)
    outputs.append(written.getvalue())
json.dump(outputs, sys.stdout)
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    text: str
    line: int
    start: int
    end: int


@dataclass(frozen=True)
class Example:
    """A block of Python and the output shown right behind it; None where none is shown."""

    code: Block
    output: Block | None


def documents() -> list[Path]:
    """Every document of the project, by hand or in docs/."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def pages_of(example: Path) -> tuple[Path, Path]:
    """The English and the Chinese page of a program in examples/."""
    return PAGES / f"{example.stem}.md", PAGES / "zh" / f"{example.stem}.md"


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a document, in order."""
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start(3))
        yield Block(match[2].strip(), match[3], line, match.start(), match.end())


def examples(text: str) -> list[Example]:
    """The blocks marked ``python``, each with the block marked ``text`` that follows at once."""
    found: list[Block | None] = [*blocks(text), None]
    pairs = []
    for block, following in itertools.pairwise(found):
        if block is not None and block.language == "python":
            is_output = (
                following is not None
                and following.language == "text"
                and not text[block.end : following.start].strip()
            )
            pairs.append(Example(block, following if is_output else None))
    return pairs


def run(path: Path) -> list[str]:
    """What each example of a document prints, run in order in one new process.

    Raises:
        AssertionError: an example fails; the message is its traceback.
    """
    given = [(e.code.line, e.code.text) for e in examples(path.read_text(encoding="utf-8"))]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUNNER],
        input=json.dumps([path.name, given]),
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, f"an example of {path.name} fails:\n{done.stderr}"
    outputs: list[str] = json.loads(done.stdout)
    return outputs
