# make train   sets up and trains the quickstart model
# make test    sets up and runs all checks and tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that run tests; each needs a core and 2 GB of memory.
WORKERS ?= 2

.PHONY: train test checks soak messages constraints clean

train: $(VENV)/.installed
	$(BIN)/python flows/train_flow.py

# Whatever the user's language is, the tests start in English.
test soak: export TEXTCLF_LANGUAGE :=

test: checks
	$(BIN)/python -m pytest -m "not soak" -n $(WORKERS)

checks: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini
	$(BIN)/lint-imports

soak: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m soak

# Brings the catalogs of translations up to date with the texts in the code.
messages: $(VENV)/.installed
	$(BIN)/python -m textclf.messages

# Pins every dependency, for every Python and platform, from pyproject.toml.
constraints: $(VENV)/.installed-dev
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --upgrade \
	  --custom-compile-command "make constraints" pyproject.toml --output-file constraints.txt

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("textclf needs Python 3.11 or newer, found " + sys.version.split()[0] + "; try: make PYTHON=python3.12 " if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing the pinned dependencies into $(VENV) (about three minutes, once)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.installed
	@echo "Installing the tools for checks and tests into $(VENV) (once)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
