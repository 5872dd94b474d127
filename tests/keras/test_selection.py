"""Each way to choose the backend, each in a process of its own, and what is refused."""

from __future__ import annotations

import ast
import importlib.util
import json
import marshal
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pullback_hook
from pullback import config
from pullback_hook import cache, patch

SHOW = "import keras; print(keras.__version__, keras.backend.backend())"
INSTALL = "import pullback_hook; pullback_hook.install();"  # what pullback_hook.pth does

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run Python with the given arguments and variables, in an empty folder."""

    def start(
        *arguments: str, path: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
        environment |= {"KERAS_HOME": str(tmp_path), **variables}
        if path:
            environment["PYTHONPATH"] = os.pathsep.join(
                filter(None, (path, environment.get("PYTHONPATH")))
            )
        return subprocess.run(
            [sys.executable, "-W", "ignore", *arguments],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return start


def installed_version() -> str:
    spec = importlib.util.find_spec("keras")
    assert spec is not None
    assert spec.origin is not None
    return patch._version(Path(spec.origin).parent / "src")


def chosen(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stderr
    return result.stdout.split()[-1]


def test_the_environment_alone_chooses_the_backend(run: Run) -> None:
    assert chosen(run("-c", INSTALL + SHOW, KERAS_BACKEND="pullback")) == "pullback"


def test_the_file_that_python_runs_at_its_start_is_in_place(run: Run) -> None:
    # Fails where pullback was installed before it had this file: install it again.
    script = "import sys; print(any(type(f).__name__ == 'KerasFinder' for f in sys.meta_path))"
    assert chosen(run("-c", script)) == "True"


def test_import_of_pullback_keras_chooses_the_backend(run: Run) -> None:
    assert chosen(run("-c", f"import pullback.keras; {SHOW}")) == "pullback"


def test_import_of_pullback_keras_respects_another_choice(run: Run) -> None:
    script = "import pullback.keras, os; print(os.environ['KERAS_BACKEND'])"
    assert chosen(run("-c", script, KERAS_BACKEND="jax")) == "jax"


def test_script_and_module_run_with_the_backend(run: Run, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import os, sys\nassert os.environ['KERAS_BACKEND'] == 'pullback'\n"
        "assert sys.argv[1:] == ['-x', '1'], sys.argv\nimport beside\n"
        "assert __name__ == '__main__'; print('pullback')"
    )
    (tmp_path / "beside.py").write_text("")
    for way in (("train.py",), ("-m", "train")):
        assert chosen(run("-m", "pullback.keras", *way, "-x", "1")) == "pullback"


def test_a_script_is_asked_for(run: Run) -> None:
    result = run("-m", "pullback.keras")
    assert result.returncode == 2
    assert "usage: python -m pullback.keras" in result.stderr


def test_pytest_takes_the_module_as_plugin(run: Run, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import keras\ndef test_it():\n    assert keras.backend.backend() == 'pullback'\n"
    )
    arguments = ("-q", "-c", os.devnull, "-p", "no:cacheprovider", "test_it.py")
    result = run("-m", "pytest", "-p", "pullback.keras", *arguments)
    assert result.returncode == 0, result.stdout


def test_keras_json_chooses_the_backend(run: Run, tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "pullback"}))
    assert chosen(run("-c", INSTALL + SHOW)) == "pullback"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"backend": ["pullback"]}', '"pullback"'])
def test_a_keras_json_without_a_name_chooses_nothing(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND")
    (tmp_path / "keras.json").write_text(text)
    assert pullback_hook.chosen_backend() is None


def test_set_backend_reloads_keras_on_this_backend(run: Run) -> None:
    script = (
        f"{INSTALL}import keras; keras.config.set_backend('pullback'); import keras\n"
        "layer = keras.layers.Dense(2); layer.build((None, 3)); keras.layers.RandomFlip()\n"
        "assert type(keras.ops.ones(2)).__module__.startswith('pullback.')\n"
        "print(keras.backend.backend())"
    )
    assert chosen(run("-c", script, KERAS_BACKEND="pullback")) == "pullback"


def test_keras_imported_too_early_is_an_error_that_says_what_to_do(run: Run) -> None:
    script = (
        "import sys, types; config = types.ModuleType('keras.src.backend.config')\n"
        "config.backend = lambda: 'jax'; sys.modules['keras.src.backend.config'] = config\n"
        "import pullback.keras"
    )
    result = run("-c", script)
    assert result.returncode == 1
    assert "KerasHookError: Keras is imported already, with the backend jax" in result.stderr
    assert "python -m pullback.keras train.py" in result.stderr


def test_the_switch_keeps_the_hook_out(run: Run) -> None:
    script = "import sys, pullback.keras, os; assert 'KERAS_BACKEND' not in os.environ\n"
    script += "print(any(type(f).__name__ == 'KerasFinder' for f in sys.meta_path))"
    assert chosen(run("-c", script, PULLBACK_KERAS_HOOK="off")) == "False"
    result = run("-c", SHOW, KERAS_BACKEND="pullback", PULLBACK_KERAS_HOOK="off")
    assert "Unable to import backend : pullback" in result.stderr
    result = run("-m", "pullback.keras", "train.py", PULLBACK_KERAS_HOOK="off")
    assert "PULLBACK_KERAS_HOOK switches the hook off" in result.stderr


def test_the_start_of_python_imports_nothing_more(run: Run) -> None:
    script = (
        "import sys, os; before = set(sys.modules); import pullback_hook; pullback_hook.install()\n"
        "print(sorted(set(sys.modules) - before - {'pullback_hook', '__future__'}))"
    )
    assert (
        chosen(run("-S", "-c", script, path=str(Path(pullback_hook.__file__).parents[1]))) == "[]"
    )


def test_import_of_pullback_imports_no_keras(run: Run) -> None:
    script = "import sys, pullback; print(any(n.split('.')[0] == 'keras' for n in sys.modules))"
    assert chosen(run("-c", script)) == "False"


def test_other_backends_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = pullback_hook.KerasFinder()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert finder.find_spec("keras") is None
    assert finder.find_spec("keras.src.backend") is None


# Versions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.12.0", "3.12.4", "3.13.2", "3.14.1", "3.15.0", "3.15.1"])
def test_tested_versions_are_accepted(version: str) -> None:
    patch.check_version(version)


@pytest.mark.parametrize("version", ["", "2.15.0", "3.11.3", "3.15.2", "3.16.0", "3.15.1.dev0"])
def test_other_versions_are_refused_with_those_that_work(version: str) -> None:
    with pytest.raises(patch.KerasHookError, match=r"Keras 3\.12 to 3\.15\.1; .* pip install"):
        patch.check_version(version)


def test_the_installed_version_is_one_of_them() -> None:
    patch.check_version(installed_version())


@pytest.fixture
def imitation(tmp_path: Path) -> Callable[..., Path]:
    """Write something with the layout of Keras; return the folder to import it from."""

    def write(version: str, config: str = "", backend: str = "") -> Path:
        root = tmp_path / "imitation"
        files = {
            "__init__.py": "from keras.src import backend\n",
            "src/__init__.py": "",
            "src/version.py": f'__version__ = "{version}"\n',
            "src/backend/__init__.py": backend,
            "src/backend/config.py": config,
        }
        for name, text in files.items():
            path = root / "keras" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return root

    return write


def test_an_untested_keras_is_refused_at_its_import(
    run: Run, imitation: Callable[..., Path]
) -> None:
    folder = str(imitation("3.16.0"))
    result = run("-c", "import pullback.keras, keras", path=folder)
    assert "KerasHookError: Keras 3.16.0 is installed. pullback works with" in result.stderr
    # ... and no other backend is in its way.
    assert run("-c", f"{INSTALL}import keras", path=folder, KERAS_BACKEND="jax").returncode == 0


def test_a_keras_with_open_plug_ins_is_left_as_it_is(
    run: Run, imitation: Callable[..., Path]
) -> None:
    backend = (
        "import importlib.util, os\n"
        "name = os.environ['KERAS_BACKEND']\n"
        "print(importlib.util.find_spec(f'keras_{name}').name, __loader__.__class__.__name__)\n"
        "package = f'keras_{name}.src'\n"
    )
    result = run("-c", "import pullback.keras, keras", path=str(imitation("3.20.0", "", backend)))
    assert result.stdout.split() == ["keras_pullback", "SourceFileLoader"], result.stderr


def test_a_keras_that_lists_its_plug_ins_lists_ours(
    run: Run, imitation: Callable[..., Path]
) -> None:
    settings = (
        "import os\n"
        "_PLUGGABLE_BACKENDS = frozenset(['mlx'])\n"
        "name = os.environ['KERAS_BACKEND']\n"
        "if name not in _PLUGGABLE_BACKENDS:\n"
        "    raise ValueError('Unsupported backend')\n"
        "def backend():\n"
        "    return name\n"
    )
    show = "from keras.src.backend.config import backend\nprint(backend())\n"
    result = run(
        "-c", "import pullback.keras, keras", path=str(imitation("3.20.0", settings, show))
    )
    assert chosen(result) == "pullback"


# Branches -----------------------------------------------------------------------------------------

CHAIN = """
if backend() == "torch":
    import torch
if backend() == "tensorflow":
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer as Trainer
elif backend() == "jax":
    from keras.src.backend.jax.trainer import JAXTrainer as Trainer
elif backend() == "torch":
    from keras.src.backend.torch.trainer import TorchTrainer as Trainer
"""
LAST = "else:\n    raise ValueError\n"


@pytest.mark.parametrize("first", ["tensorflow", "cntk"])
def test_the_branch_is_the_last_and_binds_what_the_others_bind(first: str) -> None:
    chain = CHAIN.replace('backend() == "tensorflow"', f'backend() == "{first}"')
    chain += "elif backend() == 'tensorflow':\n    pass\n"
    tree = patch.with_branch(chain + LAST, "trainer.Trainer", "m")
    added = "elif backend() == 'pullback':\n    "
    added += "from keras_pullback.src.trainer import Trainer as Trainer\n"
    assert ast.unparse(tree) == ast.unparse(ast.parse(chain + added + LAST))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "m has 0 chains"),
        (CHAIN + LAST + CHAIN + LAST, "m has 2 chains"),
        (CHAIN.replace("backend() ==", "backend() !="), "m has 0 chains"),
        (CHAIN.replace(" as Trainer", ""), r"m binds \[\]"),
    ],
)
def test_an_unexpected_module_is_an_error(text: str, message: str) -> None:
    with pytest.raises(patch.KerasHookError, match=message):
        patch.with_branch(text, "trainer.Trainer", "m")


def test_a_list_of_plug_ins_that_is_not_found_is_an_error() -> None:
    with pytest.raises(patch.KerasHookError, match="0 times"):
        patch.with_allowed_name("x = 1")


def test_a_module_without_dynamic_backend_is_an_error() -> None:
    with pytest.raises(patch.KerasHookError, match="no DynamicBackend"):
        patch.extend_dynamic_backend(ModuleType("m"))


def test_dynamic_backend_serves_this_backend() -> None:
    import copy

    from keras.src.utils.backend_utils import DynamicBackend

    backend = DynamicBackend()
    backend.set_backend("pullback")
    assert backend.name == copy.deepcopy(backend).name == "pullback"
    assert backend.numpy.__name__ == "keras_pullback.src.ops.numpy"
    with pytest.raises(AttributeError):
        _ = backend.no_such_name
    with pytest.raises(ValueError, match="Available backends"):
        backend.set_backend("nonsense")


@pytest.mark.parametrize("name", ["export_onnx", "export_openvino"])
def test_exports_are_ours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src import export

    calls: list[Any] = []
    monkeypatch.setattr(f"keras_pullback.src.export.{name}", lambda *a, **k: calls.append((a, k)))

    getattr(export, name)("model", "path", verbose=False)

    assert calls == [(("model", "path"), {"verbose": False})]


def test_a_module_without_the_function_is_an_error() -> None:
    with pytest.raises(patch.KerasHookError, match="m has no function export_onnx"):
        patch.replace_function(ModuleType("m"), "export.export_onnx")


def test_changed_modules_keep_their_lines() -> None:
    import inspect

    from keras import layers

    assert inspect.getsource(layers.Layer.add_loss).lstrip().startswith("def add_loss")


# Cache --------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with config.override(cache_dir=tmp_path / "private"):
        yield tmp_path / "private"


CODE = compile("x = 1", "m", "exec")
KEY = cache.key("m")


def test_code_comes_back_from_the_cache(folder: Path) -> None:
    assert cache.lookup(KEY) is None
    cache.store(KEY, CODE)
    assert cache.lookup(KEY) == CODE
    assert cache.lookup(cache.key("n")) is None
    assert folder.stat().st_mode & 0o077 == 0
    assert [path.suffix for path in folder.iterdir()] == [".keras"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: b"",
        lambda entry: entry[:-1],
        lambda entry: entry[:-1] + bytes([entry[-1] ^ 1]),
        lambda entry: b"x" + entry[1:],
        lambda entry: cache._encode("another key", CODE),
    ],
    ids=["empty", "cut", "changed", "foreign", "renamed"],
)
def test_a_damaged_entry_is_deleted(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    cache.store(KEY, CODE)
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert cache.lookup(KEY) is None
    assert not path.exists()


def test_an_entry_that_is_no_code_is_not_run(folder: Path) -> None:
    cache.store(KEY, CODE)
    (path,) = folder.iterdir()
    data = marshal.dumps("no code")
    import hashlib

    path.write_bytes(cache._MAGIC + hashlib.sha256(KEY.encode() + data).digest() + data)
    assert cache.lookup(KEY) is None


def test_what_others_may_write_is_not_read(folder: Path) -> None:
    cache.store(KEY, CODE)
    (path,) = folder.iterdir()
    path.chmod(0o666)
    assert cache.lookup(KEY) is None
    path.chmod(0o600)
    folder.chmod(0o777)
    assert cache.directory() is None
    assert cache.lookup(KEY) is None


def test_without_a_cache_nothing_is_kept() -> None:
    with config.override(cache_dir="off"):
        cache.store(KEY, CODE)
        assert cache.lookup(KEY) is None


def test_the_second_start_compiles_nothing(run: Run, tmp_path: Path) -> None:
    script = (
        f"{INSTALL}from pullback_hook import patch; calls = []; stock = patch.with_branch\n"
        "patch.with_branch = lambda *a: calls.append(a) or stock(*a)\n"
        "import keras; print(len(calls))"
    )
    variables = {"KERAS_BACKEND": "pullback", "PULLBACK_CACHE_DIR": str(tmp_path / "code")}
    first, second = (int(chosen(run("-c", script, **variables))) for _ in range(2))
    assert first >= 4
    assert second == 0
