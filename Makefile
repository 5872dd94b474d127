# Everything a person or CI does here; `make` alone prints the list.
# Needs Python 3.11 or later, make and git, and a package index for the first run; nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PYTEST_ARGS ?= -n 2
SUITE := .venv-keras
SUITE_ARGS ?=
SUITE_PIP := $(SUITE)/bin/python -m pip --quiet --disable-pip-version-check

# Without byte code on disk every start would compile the sources anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo check test slow bench keras-suite keras-versions golden coverage docs size \
	lock clean

help:  ## Print what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.ready  ## Make the environment in .venv

$(VENV)/.ready: pyproject.toml requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "pullback needs Python 3.11 or later; name one: make PYTHON=python3.12 ..."; exit 1; }
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) && \
	$(BIN)/python -m pip --version > /dev/null || \
	{ echo "$(PYTHON) -m venv made no pip: this Python lacks ensurepip, which some systems" \
	"package apart (Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	$(PIP) install --no-deps --require-hashes -r requirements-dev.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## Train on handwritten digits and show what came of it
	$(BIN)/python -m pullback.demo

check: setup  ## Lint, layers, types, size
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/python tools/size.py

test: check  ## Lint, layers, types, size, a part of Keras's suite, then the tests
	$(BIN)/python tools/keras_suite.py --sample
	$(BIN)/python -m pytest $(PYTEST_ARGS)

slow: setup  ## The tests that take long, and those against peers that are installed
	$(BIN)/python -m pytest -m "slow or peer" $(PYTEST_ARGS)

bench: setup $(VENV)/.peers  ## Compare with JAX, PyTorch, scikit-learn (installs them)
	$(BIN)/python -m benchmarks

$(VENV)/.peers: $(VENV)/.ready requirements-bench.txt requirements-torch.txt
	$(PIP) install --no-deps --require-hashes -r requirements-bench.txt
	$(PIP) install -r requirements-torch.txt
	@touch $@

keras-suite: $(SUITE)/.ready  ## Keras's own tests on this backend (installs TensorFlow, apart)
	$(SUITE)/bin/python tools/keras_suite.py $(SUITE_ARGS)

$(SUITE)/.ready: $(VENV)/.ready requirements-keras.txt requirements-torch.txt
	$(BIN)/python -m venv --clear $(SUITE)
	$(SUITE_PIP) install --no-deps --require-hashes -r requirements-dev.txt -r requirements-keras.txt
	$(SUITE_PIP) install -r requirements-torch.txt
	$(SUITE_PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

keras-versions: setup  ## The tests of the hook with each version of Keras (installs them, apart)
	$(BIN)/python tools/keras_versions.py

golden: setup  ## Write the golden texts and the replay counts anew
	$(BIN)/python -m pytest --update-golden tests/program tests/passes $(wildcard tests/replay)

coverage: setup  ## Lines and branches that the tests reach
	$(BIN)/python -m pytest --cov --cov-report=term $(PYTEST_ARGS)

docs: setup  ## Build the documentation in docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

size: setup  ## Lines of code of each package against its budget
	$(BIN)/python tools/size.py

# Comes with no header of its own, and names no index: whoever installs uses theirs.
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --quiet
lock:  ## Lock the newest versions of all dependencies (needs uv)
	$(LOCK) --upgrade --extra demo --extra onnx --group dev -o requirements-dev.txt
	$(LOCK) --upgrade --group bench -c requirements-dev.txt --no-emit-package torch \
	-o requirements-bench.txt
	$(LOCK) --upgrade --group keras -c requirements-dev.txt --no-emit-package torch \
	-o requirements-keras.txt

clean:  ## Remove the environment and what was built
	rm -rf $(VENV) $(SUITE) docs/_build output dist
