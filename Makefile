# Everything runs in .venv, which the first command that needs it makes.
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# A process a core, each with whole files.
PYTEST := $(BIN)/pytest -n auto --dist loadfile

.PHONY: install demo test check docs fixtures bench bench-gpu
.DEFAULT_GOAL := install

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or 3.12 found: install one, or name it with 'make PYTHON=/path/to/python3.12'."; exit 2; }
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@ .venv/.installed

.venv/.docs: pyproject.toml | .venv/.dev
	$(BIN)/pip install --quiet --editable '.[dev,docs]'
	@touch $@

install: .venv/.installed  ## make .venv and install the project

demo: .venv/.installed  ## train on a+b mod 53 until it groks, analyse, write a report
	$(BIN)/interp demo

test: .venv/.dev  ## the tests, without the long trainings
	$(PYTEST)

check: .venv/.dev  ## format, lint, layers, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(PYTEST)

docs: .venv/.docs  ## the site, into site/
	$(BIN)/mkdocs build --strict

fixtures: .venv/.installed  ## train the fixture run again
	$(BIN)/python fixtures/make.py

bench: .venv/.dev  ## ratios against plain code, one thread
	$(BIN)/python -m tests.bench

bench-gpu: .venv/.dev  ## on a GPU: that it computes what the CPU does, then steps a second
	$(BIN)/python -m tests.bench.gpu
