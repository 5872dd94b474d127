"""The referee itself: how ``tools/keras_suite.py`` reads, counts and compares outcomes."""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
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


def test_a_run_that_goes_on_runs_what_is_left_and_ends_with_the_whole_table(
    suite, tmp_path, capsys, monkeypatch
):
    path = tmp_path / "ours.json"
    outcomes = {"losses/loss_test.py": "failed", "losses/losses_test.py": "passed"}
    ran = []

    def run(row, nodes, done, options):
        ran.extend(nodes)
        assert set(done) == ({"losses/loss_test.py::test"} if options.resume else set())
        return {f"{node}::test": _record(outcomes[node], "boom") for node in nodes}, True

    monkeypatch.setattr(suite, "run", run)
    keep = ["--json", str(path)]

    assert suite.main(["losses/loss_test.py", *keep]) == 1
    assert suite.main(["losses", *keep, "--resume"]) == 1  # for what failed before
    assert ran == ["losses/loss_test.py", "losses/losses_test.py"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[-4:-2]] == [["losses", "1", "1"], ["all", "1", "1"]]
    assert lines[-1] == "FAILED losses/loss_test.py::test: boom"

    assert suite.main(["losses", *keep, "--resume"]) == 1
    assert len(ran) == 2
    assert capsys.readouterr().out.splitlines()[-4:] == lines[-4:]

    outcomes["losses/loss_test.py"] = "passed"
    assert suite.main([*keep, "--again"]) == 0
    assert ran[2:] == ["losses/loss_test.py"]
    assert suite.main(["losses", *keep, "--resume"]) == 0


def test_a_process_that_cannot_start_is_an_error_of_each_of_its_files(suite, monkeypatch):
    broken = [sys.executable, "-c", "import sys; print('no such module'); sys.exit(3)"]
    monkeypatch.setattr(suite, "_command", lambda nodes, options: broken)
    options = suite._parser().parse_args([])

    found, is_complete = suite.run("losses", ["a_test.py", "b_test.py"], {}, options)

    assert is_complete
    assert list(found) == ["a_test.py", "b_test.py"]
    assert {it["outcome"] for it in found.values()} == {"errors"}
    assert found["b_test.py"]["message"] == "pytest ended: 3: no such module"


def test_tests_whose_names_hold_addresses_run_in_one_process(suite):
    pytest.importorskip("xdist")
    options = suite._parser().parse_args(["-n", "4"])

    for node, count in {"wrappers/sklearn_test.py": "1", "losses/loss_test.py": "4"}.items():
        command = suite._command([node], options)
        assert command[command.index("-n") + 1] == count


def test_exclusions_need_a_reason_and_match_whole_names(plugin, tmp_path):
    path = tmp_path / "exclusions.txt"
    path.write_text("# a comment\nops/a_test.py::*test_x  # why\nsaving  # there\n", "utf-8")
    listed = plugin.exclusions(path)

    assert plugin.reason_for("ops/a_test.py::Case::test_x", listed) == "why"
    assert plugin.reason_for("ops/a_test.py::Case::test_x_2", listed) == "why"
    assert plugin.reason_for("ops/a_test.py::Case::test_xy", listed) is None
    assert plugin.reason_for("saving/b_test.py::Case::test_x", listed) == "there"
    assert plugin.reason_for("savings/b_test.py", listed) is None
    assert [found.is_of_files for found in listed] == [False, True]
    path.write_text("ops/a_test.py\n", "utf-8")
    with pytest.raises(ValueError, match=r"exclusions\.txt:1: no reason"):
        plugin.exclusions(path)


def test_every_exclusion_of_ours_has_a_reason_and_names_an_existing_file(plugin, suite):
    root = suite.source()

    for line in plugin.EXCLUSIONS.read_text("utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name = line.partition("  #")[0].partition("::")[0].strip()
            assert (root / name).exists(), line
    assert plugin.exclusions()


def test_rows_are_folders_and_unknown_names_are_refused(suite):
    root = suite.source()

    rows = suite.targets(root, ["losses", "ops/core_test.py::CoreOpsTest"])

    assert list(rows) == ["losses", "ops/core_test.py"]
    assert "losses/loss_test.py" in rows["losses"]
    assert rows["ops/core_test.py"] == ["ops/core_test.py::CoreOpsTest"]
    with pytest.raises(SystemExit, match="no test file or folder of Keras: loses"):
        suite.targets(root, ["loses"])


def test_tests_that_name_backends_get_our_name_and_jax_steps_are_ours(plugin):
    text = b"""
@skipif(backend.backend() not in ("tensorflow", "jax", "torch"))
def test(others=("tensorflow", "openvino")):
    if backend.backend() == "tensorflow":
        import tensorflow as tf
    elif backend.backend() == "jax":
        import jax
        import jax.numpy as jnp
        step = jax.jit(jnp.sum)
    elif backend.backend() == "torch":
        import torch
    if backend.backend() == "jax":
        import jax.experimental.sparse as jax_sparse
"""

    changed = ast.unparse(plugin._with_our_name(text, "a_test"))

    expected = ast.unparse(ast.parse(text))
    expected = expected.replace("'jax', 'torch')", "'jax', 'torch', 'pullback')")
    step = "elif backend.backend() == '{}':\n        import {}\n        import {}"
    jax = step.format("jax", "jax", "jax.numpy as jnp")
    ours = step.format("pullback", "pullback as jax", "pullback as jnp")
    expected = expected.replace(jax, ours)
    assert expected.count("pullback") == 4
    assert changed == expected


def test_tests_that_make_sparse_tensors_for_jax_make_ours(plugin):
    text = """
import jax.experimental.sparse as jax_sparse
def test(adapter):
    if backend.backend() == "jax":
        import jax
        x = jax_sparse.BCOO(jax.numpy.take(y, 0, axis=0), shape=(2, 3))
    elif backend.backend() == "jax":
        import jax
    it = adapter.get_jax_iterator()
    return isinstance(x, jax.experimental.sparse.BCOO)
def sparseness(x):
    return x.__class__.__name__ == "BCOO" and x.n_dense
"""
    changed = ast.unparse(plugin._with_our_sparse(ast.parse(text)))

    assert "import keras_suite_sparse as jax_sparse" in changed
    assert (
        "if backend.backend() == 'pullback':\n        import keras_suite_sparse as jax" in changed
    )
    assert "elif backend.backend() == 'jax':\n        import jax\n" in changed  # nothing sparse
    assert "resolve_name('keras_pullback.src.batches.batches_of')(adapter)" in changed
    assert "resolve_name('keras_suite_sparse').BCOO" in changed
    assert "x.__class__.__name__ == 'COO' and x.dense_ndim" in changed


def test_sparse_tensors_by_jax_names_are_ours(suite):
    sparse = importlib.import_module("keras_suite_sparse")

    x = sparse.BCOO(([[1.0, 2.0]], [[[0], [2]]]), shape=(2, 3))

    assert isinstance(x, sparse.BCOO)
    assert isinstance(x, sparse.JAXSparse)
    assert not isinstance(1.0, sparse.BCOO)
    assert x.to_dense().tolist() == [[1, 0, 2], [1, 0, 2]]  # one batch stands for both
    assert sparse.BCOO.fromdense([[0, 3], [4, 0]], n_batch=1).to_dense().tolist() == [
        [0, 3],
        [4, 0],
    ]


def test_modules_that_get_our_name_exist_and_are_changed(plugin, suite):
    for module, change in plugin.NamesFinder.changes.items():
        path = suite.source().joinpath(*module.split(".")[2:]).with_suffix(".py")

        changed = ast.unparse(change(path.read_bytes(), module))

        assert changed != ast.unparse(ast.parse(path.read_bytes())), module
        assert "'pullback'" in changed, module


@pytest.mark.parametrize(("name", "outcome"), [("tensorflow", "skipped"), ("numpi", "failed")])
def test_a_test_that_imports_tensorflow_is_skipped_without_it(plugin, request, name, outcome):
    def missing():
        raise ModuleNotFoundError(name=name)

    call = pytest.CallInfo.from_call(missing, "call")
    steps = plugin.pytest_runtest_makereport(request.node, call)
    next(steps)
    with pytest.raises(StopIteration) as end:
        steps.send(pytest.TestReport.from_item_and_call(request.node, call))

    report = end.value.value
    assert report.outcome == outcome
    assert ("TensorFlow is not installed" in str(report.longrepr)) == report.skipped
