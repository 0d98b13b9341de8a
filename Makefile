# videonl: `make help` lists what there is.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
EXTRAS ?= $(VENV)-extras
EXTRAS_PY := $(EXTRAS)/bin/python
LOWEST ?= $(VENV)-lowest
EXTRAS_STAMP = $(EXTRAS)/.videonl-$(shell (cat tests/extras/requirements.txt; echo $(abspath $(VENV))) | cksum | cut -d' ' -f1)
# Two workers, each with one thread (tests/conftest.py): a machine of two cores is busy, not full.
PYTEST_FLAGS := -n 2 --dist worksteal --durations=10
STAMP = $(VENV)/.videonl-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)
PLATFORM := $(shell uname -s)-$(shell uname -m)

# The sources of this clone win over any installed copy, so that clones can share one VENV.
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow test-extras test-lowest docs lint format lock clean

help:  ## list the targets
	@echo "videonl: make demo and make test set up everything that they need"; echo
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  make %-11s %s\n", $$1, $$2}'
	@echo; echo "  VENV=DIR    the environment to use (default .venv; clones may share one)"
	@echo "  PYTHON=EXE  the Python to make it with (3.11 or newer; default python3)"

venv: $(STAMP)  ## make the environment: requirements.lock and the package

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "videonl needs Python 3.11 or newer; give one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@mkdir -p $(dir $(abspath $(VENV)))
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade "pip>=24"
ifeq ($(PLATFORM),Linux-x86_64)
	@echo "Installing requirements.lock (about 6 GB with the CUDA libraries; takes some minutes) ..."
	$(PY) -m pip install --quiet --require-hashes -r requirements.lock
	$(PY) -m pip install --quiet --no-deps --no-build-isolation -e .
else
	@echo "requirements.lock is not for $(PLATFORM): installing the versions that pyproject.toml allows ..."
	$(PY) -m pip install --quiet -e '.[dev]'
endif
	@rm -f $(VENV)/.videonl-*; touch $@

demo: $(STAMP)  ## train, compare and classify on a small data set (made first; takes minutes)
	$(PY) -m videonl.cli.main demo

test: $(STAMP)  ## run the tests (without the slow ones)
	$(PY) -m pytest $(PYTEST_FLAGS)

test-slow: $(STAMP)  ## run all tests, the slow ones too
	$(PY) -m pytest $(PYTEST_FLAGS) -m "not extras"

test-extras: $(EXTRAS_STAMP)  ## run the tests that need more packages (EXTRAS=DIR holds them)
	$(EXTRAS_PY) -m pytest --durations=10 -m extras

test-lowest: $(STAMP)  ## run the quick tests on the lowest versions that pyproject.toml allows
	$(PY) -m pip install --quiet uv
	$(PYTHON) -m venv --clear $(LOWEST)
	$(PY) -m uv pip compile pyproject.toml --extra dev --resolution lowest-direct --no-header \
	  --python $(LOWEST)/bin/python -o $(LOWEST)/requirements.txt > /dev/null
	$(LOWEST)/bin/python -m pip install --quiet -r $(LOWEST)/requirements.txt
	$(LOWEST)/bin/python -m pip install --quiet --no-deps -e .
	$(LOWEST)/bin/python -m pytest $(PYTEST_FLAGS)

docs: $(EXTRAS_STAMP)  ## build the docs site into site/ (open site/index.html; no server needed)
	NO_MKDOCS_2_WARNING=1 $(EXTRAS_PY) -m mkdocs build --strict

# A second, small environment that sees the first one; what both have is taken from the second.
$(EXTRAS_STAMP): $(STAMP)
	$(PY) -m venv --without-pip --clear $(EXTRAS)
	@$(PY) -c 'import site; print(site.getsitepackages()[0])' > \
	  "$$($(EXTRAS_PY) -c 'import site; print(site.getsitepackages()[0])')/environment.pth"
	$(EXTRAS_PY) -m pip install --quiet --no-deps -r tests/extras/requirements.txt
	@touch $@

lint: $(STAMP)  ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(STAMP)  ## let ruff format and fix the code
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

lock: $(STAMP)  ## make requirements.lock again from pyproject.toml (keeps versions that still fit)
	$(PY) -m pip install --quiet uv
	$(PY) -m uv pip compile pyproject.toml --extra dev --generate-hashes --no-emit-index-url --no-header \
	  --annotation-style line --python-platform x86_64-manylinux_2_28 --python-version 3.11 -o requirements.lock > /dev/null
	@sed -i '1i # The exact versions of a working environment for Linux x86-64, with hashes; other platforms install\n# from the floors in pyproject.toml. Made by `make lock`. torch and torchvision are a pair.' requirements.lock

clean:  ## remove caches and build folders (keeps .venv, runs, data)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
