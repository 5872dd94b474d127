"""The referee itself: how ``tools/keras_suite.py`` reads, counts and compares outcomes."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent.parent / "tools"


@pytest.fixture
def suite(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("keras_suite")


@pytest.fixture
def plugin(suite):
    return importlib.import_module("keras_suite_plugin")


def _record(outcome, message=""):
    return {"outcome": outcome, "seconds": 0.0, "message": message}


def _journal(path, *lines):
    text = [json.dumps({"node": node, **_record(outcome)}) for node, outcome in lines]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


def test_worst_outcome_of_a_test_counts_and_a_test_without_end_is_an_error(suite, tmp_path):
    journal = _journal(
        tmp_path / "journal",
        ("a", "started"), ("a", "passed"), ("a", "errors"),  # its teardown broke
        ("b", "started"), ("b", "failed"), ("b", "passed"),  # a subtest failed
        ("c", "started"),
        ("d", "started"), ("d", "passed"),
    )  # fmt: skip

    found = suite.read_journal(journal)

    outcomes = {node: record["outcome"] for node, record in found.items()}
    assert outcomes == {"a": "errors", "b": "failed", "c": "errors", "d": "passed"}
    assert found["c"]["message"] == "its process ended while it ran"
    assert suite.read_journal(tmp_path / "none") == {}


def test_status_fails_with_failures_and_when_nothing_passed(suite, capsys):
    assert suite.conclude({"a": _record("passed"), "b": _record("skipped")}, 1.0) == 0
    assert suite.conclude({"a": _record("passed"), "b": _record("failed")}, 1.0) == 1
    assert suite.conclude({"a": _record("passed"), "b": _record("errors")}, 1.0) == 1
    assert suite.conclude({"b": _record("skipped")}, 1.0) == 1
    assert suite.conclude({}, 1.0) == 1
    capsys.readouterr()

    suite.conclude({**{str(i): _record("passed") for i in range(99)}, "x": _record("excluded")}, 1)
    assert "excluded: 1.00% of 100" in capsys.readouterr().out


def test_comparison_lists_what_passes_there_and_not_here(suite, plugin, capsys, monkeypatch):
    listed = [plugin.Exclusion(re.compile("c"), "no such")]
    monkeypatch.setattr(suite, "exclusions", lambda: listed)
    about = {"about": {"backend": "jax"}}, {"about": {"backend": "pullback"}}
    theirs = {**about[0], "tests": {node: _record("passed") for node in "abcdfg"}}
    theirs["tests"]["e"] = _record("failed")
    ours = {**about[1], "tests": {"a": _record("passed"), "b": _record("failed", "boom")}}
    ours["tests"] |= {node: _record("skipped", "no sparse tensors") for node in "fg"}

    status = suite.compare(theirs, ours)
    lines = capsys.readouterr().out.splitlines()

    assert status == 1
    assert lines == [
        "excluded  c: absent: no such",
        "NOT HERE  b: failed: boom",
        "NOT HERE  d: absent:",
        "skipped   2: no sparse tensors",
        "pass on jax: 6; of these not on pullback: 2, 1 excluded, 2 skipped by Keras",
    ]
    ours["tests"] |= {"b": _record("passed"), "d": _record("passed")}
    assert suite.compare(theirs, ours) == 0


def test_exclusions_need_a_reason_and_match_whole_names(plugin, tmp_path):
    path = tmp_path / "exclusions.txt"
    path.write_text("# a comment\nops/a_test.py::*test_x  # why\nsaving  # there\n", "utf-8")
    listed = plugin.exclusions(path)

    assert plugin.reason_for("ops/a_test.py::Case::test_x", listed) == "why"
    assert plugin.reason_for("ops/a_test.py::Case::test_x_2", listed) == "why"
    assert plugin.reason_for("ops/a_test.py::Case::test_xy", listed) is None
    assert plugin.reason_for("saving/b_test.py::Case::test_x", listed) == "there"
    assert plugin.reason_for("savings/b_test.py", listed) is None
    path.write_text("ops/a_test.py\n", "utf-8")
    with pytest.raises(ValueError, match=r"exclusions\.txt:1: no reason"):
        plugin.exclusions(path)


def test_every_exclusion_of_ours_has_a_reason_and_names_an_existing_file(plugin, suite):
    root = suite.source()

    for line in plugin.EXCLUSIONS.read_text("utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name = line.partition("  #")[0].partition("::")[0].strip()
            assert (root / name).exists(), line
    assert len(plugin.exclusions()) > 10


def test_rows_are_folders_and_unknown_names_are_refused(suite):
    root = suite.source()

    rows = suite.targets(root, ["losses", "ops/core_test.py::CoreOpsTest"])

    assert list(rows) == ["losses", "ops/core_test.py"]
    assert "losses/loss_test.py" in rows["losses"]
    assert rows["ops/core_test.py"] == ["ops/core_test.py::CoreOpsTest"]
    with pytest.raises(SystemExit, match="no test file or folder of Keras: loses"):
        suite.targets(root, ["loses"])
