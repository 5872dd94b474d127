"""The programs in examples/: each runs, prints what its two pages show, and draws its picture."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.docs.documents import EXAMPLES, PAGES, ROOT, blocks, pages_of

PICTURES = PAGES / "pictures"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PICTURE_BYTES = range(5_000, 80_000)
PICTURE = re.compile(r"^!\[([^\]]+)\]\(([^)]+)\)$", re.MULTILINE)
CHINESE = re.compile(r"[\u4e00-\u9fff]")
LISTED = re.compile(r"^- \[`(\w+)\.py`\]\((\w+)\.py\): \S.*\.$", re.MULTILINE)
#: Pages that teach with blocks of their own, which test_documents runs.
WITHOUT_EXAMPLE = {"first_network"}
THREADS = "2"
AT_ONCE = 2


def name_of(path: Path) -> str:
    return path.stem


def test_every_example_has_its_pages_and_every_page_its_example():
    names = {path.stem for path in EXAMPLES}

    assert len(names) > 5
    assert {path.stem for path in PAGES.glob("*.md")} - WITHOUT_EXAMPLE == names
    assert {path.stem for path in PAGES.glob("zh/*.md")} == names
    assert {path.stem for path in PICTURES.iterdir()} == names


def test_readme_of_the_examples_lists_each():
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")

    listed = LISTED.findall(text)

    assert all(name == target for name, target in listed)
    assert sorted(name for name, _ in listed) == [path.stem for path in EXAMPLES]


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_pages_show_the_program_and_its_picture(example):
    program = example.read_text(encoding="utf-8")

    for page in pages_of(example):
        text = page.read_text(encoding="utf-8")
        found = [block for block in blocks(text) if block.language in {"python", "text"}]
        assert [block.language for block in found] == ["python", "text"], page
        assert found[0].text == program, f"{page} shows another program"
        ((shows, place),) = PICTURE.findall(text)
        assert (page.parent / place).resolve() == PICTURES / f"{example.stem}.png"
        assert len(shows) > 10
        outside = text.replace(found[0].text, "").replace(found[1].text, "")
        assert len(re.findall(r"^# ", outside, re.MULTILINE)) == 1
        if page.parent.name == "zh":
            assert len(CHINESE.findall(outside)) > 100, f"{page} is not Chinese"


@pytest.fixture(scope="module")
def run(request, tmp_path_factory):
    """What runs an example, once: its process as it ended, and its folder.

    The examples of the tests that were chosen are begun at once, ``AT_ONCE`` at a time; under
    pytest-xdist, where this worker may get few of them, each when it is asked for.
    """
    begun: dict[Path, tuple[Future[subprocess.CompletedProcess[str]], Path]] = {}
    pool = ThreadPoolExecutor(AT_ONCE)

    def begin(example: Path) -> None:
        if example not in begun:
            folder = tmp_path_factory.mktemp(example.stem)
            begun[example] = pool.submit(run_example, example, folder), folder

    def ended(example: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
        begin(example)
        process, folder = begun[example]
        return process.result(), folder

    if not hasattr(request.config, "workerinput"):
        for item in request.session.items:
            if "run" in item.fixturenames and item.path == Path(__file__):
                begin(item.callspec.params["example"])
    yield ended
    pool.shutdown(cancel_futures=True)


def run_example(example: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run an example in a process of its own, in another folder; a warning is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(example), str(folder / "pictures")],
        cwd=folder,
        env={**os.environ, "PULLBACK_THREADS": THREADS, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_example_prints_what_its_pages_show(example, run):
    """It writes its picture, and nothing else."""
    done, folder = run(example)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for page in pages_of(example):
        text = page.read_text(encoding="utf-8")
        (shown,) = (block.text for block in blocks(text) if block.language == "text")
        assert done.stdout.splitlines() == shown.splitlines(), page
    (picture,) = (path for path in folder.rglob("*") if path.is_file())
    assert picture == folder / "pictures" / f"{example.stem}.png"
    for path in (picture, PICTURES / picture.name):
        data = path.read_bytes()
        assert data.startswith(PNG_SIGNATURE), path
        assert len(data) in PICTURE_BYTES, f"{path} has {len(data)} bytes"
