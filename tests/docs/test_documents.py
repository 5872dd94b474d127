"""The documents tell the truth: examples run and print what is shown, names and files exist."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from tests.docs.documents import EXAMPLES, ROOT, blocks, documents, examples, pages_of, run

import pullback as pb
from pullback import config
from pullback.errors import DTypeError
from pullback.kernels.core import LoopStep
from pullback.kernels.schedule import lower_program
from pullback.passes.pipeline import run_pipeline
from pullback.program.primitive import Trait
from pullback.program.value import METHODS, PROPERTIES
from pullback.types import SHORT_NAMES, DType, promote_types

#: Pages of a program in examples/ are test_examples's.
WITH_EXAMPLES = [
    path
    for path in documents()
    if path not in {page for example in EXAMPLES for page in pages_of(example)}
    and examples(path.read_text(encoding="utf-8"))
]
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|md|toml|txt|cff))`")
#: Names in the documents of files that a run makes, or that are somewhere else.
NOT_HERE = {"output/", "output/digits.png", "output/loss.png", "output/model.keras"} | {
    "docs/_build/html",
    ".ci/run",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=name_of)
def test_examples_run_and_print_what_is_shown(path):
    shown = examples(path.read_text(encoding="utf-8"))

    printed = run(path)

    for example, output in zip(shown, printed, strict=True):
        where = f"{name_of(path)}, line {example.code.line}"
        expected = example.output.text if example.output is not None else ""
        assert lines(expected) == lines(output), where


def test_readme_has_its_example_and_outputs():
    """The harness finds what it should."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    assert sum(e.output is not None for e in examples(text)) >= 2
    assert "test accuracy: 0.9" in text


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_links_lead_to_files(path):
    text = path.read_text(encoding="utf-8")

    targets = [t for t in LINK.findall(text) if not re.match(r"\w+:", t)]

    assert [t for t in targets if not (path.parent / t).exists()] == []


@pytest.mark.parametrize(
    "path", [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", ROOT / "README.md"], ids=name_of
)
def test_files_that_are_named_exist(path):
    """A path in backticks is one of the repository or of the package."""
    text = path.read_text(encoding="utf-8")
    for block in blocks(text):
        text = text.replace(block.text, "")

    named = set(PATH.findall(text)) - NOT_HERE

    places = (ROOT, ROOT / "src" / "pullback", ROOT / "src" / "keras_pullback" / "src")
    assert sorted(n for n in named if not any((p / n).exists() for p in places)) == []
    if path.name == "ARCHITECTURE.md":
        assert len(named) > 20


def test_architecture_names_every_folder_of_the_package():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")

    folders = [p.parent.name for p in (ROOT / "src" / "pullback").glob("*/__init__.py")]

    assert [name for name in folders if f"`{name}/`" not in text] == []


def test_readme_lists_the_settings():
    """Each setting, its variable, its default, and nothing else."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    rows = {
        cells[1].strip("` "): cells
        for line in text.splitlines()
        if (cells := line.split("|")) and line.startswith("| `PULLBACK_")
    }

    names = list(config.Settings.__dataclass_fields__)
    assert list(rows) == [f"PULLBACK_{name.upper()}" for name in names]
    for name, row in zip(names, rows.values(), strict=True):
        given = re.fullmatch(rf" `{name}=(.+)` ", row[2])
        assert given is not None, row[2]
        value = eval(given[1])
        with config.override(**{name: value}) as settings:
            assert str(getattr(settings, name)) == str(value)
        assert row[4].strip(" `") == config._DEFAULTS[name]
    assert {t.strip("`") for t in re.findall(r"`\w+`", rows["PULLBACK_TARGET"][3])} == set(
        config.TARGETS
    )
    assert str(config.MAX_THREADS) in rows["PULLBACK_THREADS"][3]


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its header."""
    section = text.split(f"{heading}\n", 1)[1]
    rows = []
    for line in section.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip(" `") for cell in line.strip("|").split("|")])
        elif rows:
            break
    return rows[:1] + rows[2:]


def test_promotion_table_is_the_code_s():
    text = (ROOT / "docs" / "explanation" / "numerics.md").read_text(encoding="utf-8")

    header, *rows = table(text, "## Promotion")

    dtypes = list(SHORT_NAMES)
    assert header[1:] == [SHORT_NAMES[d] for d in dtypes]
    expected = [[SHORT_NAMES[x], *(promoted(x, y) for y in dtypes)] for x in dtypes]
    assert rows == expected


def promoted(x: DType, y: DType) -> str:
    """The table's cell: a short name, or ``-`` where there is no common dtype."""
    try:
        return SHORT_NAMES[promote_types(x, y)]
    except DTypeError:
        return "-"


def test_method_tables_are_the_code_s():
    text = (ROOT / "docs" / "reference" / "array.md").read_text(encoding="utf-8")

    named = set(re.findall(r"`(\w+)`", text.split("## Methods\n", 1)[1]))

    expected = {name for name in METHODS if not name.startswith("__")}
    assert expected - named == set()
    assert named >= PROPERTIES


def test_traits_are_explained():
    text = (ROOT / "docs" / "explanation" / "primitives.md").read_text(encoding="utf-8")

    assert [t.name for t in Trait if t and f"`{t.name}`" not in text] == []


def test_contributing_fits_a_screen():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

    assert len(text.splitlines()) <= 60


def test_layers_are_the_contract_s():
    text = (ROOT / "docs" / "explanation" / "layers.md").read_text(encoding="utf-8")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    described = [
        set(re.findall(r"`(\w+)`", line.split("|")[1]))
        for line in text.splitlines()
        if line.startswith("| `")
    ]

    (contract,) = (c for c in settings["tool"]["importlinter"]["contracts"] if "layers" in c)
    assert [set(re.findall(r"\w+", layer)) for layer in contract["layers"]] == described


def test_changelog_fragments_have_a_kind():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    kinds = {kind["directory"] for kind in settings["tool"]["towncrier"]["type"]}

    names = [path.name for path in (ROOT / "changelog.d").iterdir()]

    assert [n for n in names if not re.fullmatch(rf"\w[\w-]*\.({'|'.join(kinds)})\.md", n)] == []


def test_locked_files_name_no_place():
    """No index, no path of a machine: whoever installs uses theirs."""
    for path in ROOT.glob("requirements-*.txt"):
        text = path.read_text(encoding="utf-8")

        assert not re.search(r"https?:|file:|\s/\w", text), path.name


def test_a_step_without_keras_is_as_few_kernels_as_architecture_says():
    example = importlib.import_module("examples.engine_only")
    (x, y), _ = pb.datasets.mnist10k()
    images, digits = example.as_arrays(x[:64], y[:64])
    order = pb.asarray(np.arange(64, dtype=np.int32).reshape(2, 32))
    program = pb.jit(example.epoch).program(example.initial_state(0), images, digits, order)

    lowered = lower_program(run_pipeline(program)[0])

    (loop,) = (step for step in lowered.block.steps if isinstance(step, LoopStep))
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    claim = re.search(r"is fewer than (\d+) kernels", text)
    assert claim is not None
    assert len(loop.body.steps) < int(claim[1])
