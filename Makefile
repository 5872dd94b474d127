# Everything a person or CI does here. `make` prints this list.
# Needs Python 3.11 or later, make and git; nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export UV_PYTHON_DOWNLOADS := never
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo check test bench golden docs size clean

help:  ## Print what each target does
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(VENV)/.ready  ## Make the environment in .venv

$(VENV)/.ready: pyproject.toml requirements-dev.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "pullback needs Python 3.11 or later: make PYTHON=python3.12"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: setup  ## Train on handwritten digits and show what came of it
	$(BIN)/python -m pullback.demo

check: setup  ## Lint, layers, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

test: check  ## Lint, layers, types, then the tests
	$(BIN)/python -m pytest

bench: setup $(VENV)/.peers  ## Compare with JAX, PyTorch, scikit-learn (installs them)
	$(BIN)/python -m benchmarks

$(VENV)/.peers: $(VENV)/.ready requirements-bench.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	touch $@

golden: setup  ## Write the golden texts and the replay counts anew
	$(BIN)/python -m pytest tests/golden tests/replay --update-golden

docs: setup  ## Build the documentation
	$(BIN)/python -m sphinx -W -b html docs docs/_build/html

size: setup  ## Lines of code of each package against its budget
	$(BIN)/python tools/size.py

clean:  ## Remove the environment and what was built
	rm -rf $(VENV) docs/_build output
