# make train   sets up and trains the quickstart model
# make test    sets up and runs all checks and tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that run tests; each needs a core and 2 GB of memory.
WORKERS ?= 2
# The build of torch. auto: for CPUs (2.3 GB of packages in all) unless there is an NVIDIA card, then for it (5.7 GB).
# Also cpu, cu130 and others that `uv pip install --help` lists; index: whatever pip's package index has.
TORCH ?= auto

.PHONY: train test checks soak messages sample-encoder constraints clean

# uv can choose the build of torch, and asks the index that pip is set to. Where uv, that index or torch's own cannot be
# reached, pip installs what it finds. Compiling all packages would take a minute; Python compiles what is imported and
# keeps it. Where a variable of the environment forbids that, every program would compile for five seconds before it starts.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip
PIP_INSTALL := $(PIP) install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
INDEX = $${PIP_INDEX_URL:-$$($(PIP) config get global.index-url 2>/dev/null)}
define install
index="$(INDEX)"; \
if [ "$(TORCH)" != index ] && $(PIP_INSTALL) uv \
  && $(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend $(TORCH) $${index:+--default-index "$$index"} \
    --constraint constraints.txt --editable '$(1)' 2>$(VENV)/uv.log; \
then :; \
else \
  [ "$(TORCH)" = index ] || echo "uv could not install them ($(VENV)/uv.log says why); pip does, with the index's build of torch"; \
  $(PIP_INSTALL) --editable '$(1)'; \
fi
endef

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

# Makes the encoder that ships with textclf again, in a home of its own: half an hour on two cores.
sample-encoder: export TEXTCLF_HOME := $(CURDIR)/sample-encoder
sample-encoder: $(VENV)/.installed
	$(BIN)/python -m textclf.data.sample.generator --further 200000 --seed 2026 --output $(TEXTCLF_HOME)
	$(BIN)/python flows/adapt_flow.py --config configs/quickstart-encoder.yaml
	$(BIN)/python flows/train_flow.py --config configs/quickstart-encoder-labels.yaml
	$(BIN)/python -m textclf.registry.sample_encoder

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
	@echo "Installing the pinned dependencies into $(VENV) (one to three minutes, once)"
	@$(call install,.[train])
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.installed
	@echo "Installing the tools for checks and tests into $(VENV) (once)"
	@$(call install,.[dev])
	@touch $@
