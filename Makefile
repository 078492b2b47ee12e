# Everything runs in .venv, which the first command that needs it makes.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# Versions that are known to work together.
INSTALL := $(BIN)/pip install --quiet --constraint constraints.txt --editable
# A process a core, each with whole files.
PYTEST := $(BIN)/pytest -n auto --dist loadfile
# What the lowest versions are tried with: commands, results and reports.
LOWEST := $(wildcard tests/interp/cli/test_commands.py tests/interp/measure/*.py tests/interp/runs/test_results*.py \
	tests/interp/pages/test_[!b]*.py)

.PHONY: install demo test cluster lint check docs fixtures bench bench-gpu lowest lens4 constraints
.DEFAULT_GOAL := install

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 to 3.14 found: install one, or name it with 'make PYTHON=/path/to/python3.14'."; exit 2; }
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) .
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) '.[dev]'
	@touch $@ .venv/.installed

.venv/.docs: pyproject.toml constraints.txt | .venv/.dev
	$(INSTALL) '.[dev,docs]'
	@touch $@

.venv-lowest/.installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet --constraint constraints-lowest.txt --editable '.[test]'
	@touch $@

# With TransformerLens 4; all else is .venv's, torch above all.
.venv-lens4/.installed: pyproject.toml | .venv/.dev
	$(BIN)/python -m venv .venv-lens4
	packages() { "$$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }; \
		echo "import site; site.addsitedir('$$(packages $(BIN)/python)')" \
		> "$$(packages .venv-lens4/bin/python)/shared.pth"
	.venv-lens4/bin/pip install --quiet 'transformer-lens==4.3.*'
	@touch $@

install: .venv/.installed  ## make .venv and install the project

demo: .venv/.installed  ## train on a+b mod 53 until it groks, analyse, write a report
	$(BIN)/interp demo

test: .venv/.dev  ## the tests, without the long trainings
	$(PYTEST)

cluster: .venv/.dev  ## sweeps on Slurm and Ray, which are started here; Slurm as root
	$(BIN)/pytest -m cluster tests/cluster

lint: .venv/.dev  ## format, lint, layers, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

check: lint test  ## all of it

docs: .venv/.docs  ## the site, into site/
	$(BIN)/mkdocs build --strict

fixtures: .venv/.installed  ## train the fixture run again
	$(BIN)/python fixtures/make.py

bench: .venv/.dev  ## ratios against plain code, one thread
	$(BIN)/python -m tests.bench

bench-gpu: .venv/.dev  ## on a GPU: that it computes what the CPU does, then steps a second
	$(BIN)/python -m tests.bench.gpu

# Old libraries warn about new ones that they stand on; that is no fault of ours.
lowest: .venv-lowest/.installed  ## the demo and some tests at the lowest versions; Python 3.11
	cd "$$(mktemp -d)" && $(CURDIR)/.venv-lowest/bin/interp demo
	.venv-lowest/bin/pytest -n auto --dist loadfile --override-ini filterwarnings=default $(LOWEST)

lens4: .venv-lens4/.installed  ## what knows TransformerLens, with its version 4
	.venv-lens4/bin/python -m pytest -n auto --dist loadfile \
		$$(grep -rlE '(from|import) (transformer_lens|tests\.lens)|to_transformer_lens|plain_config' tests --include='test_*.py')

constraints: .venv/.dev  ## the newest versions, and the lowest that pyproject.toml allows; then run make check lowest
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --all-extras --no-annotate \
		--custom-compile-command 'make constraints' pyproject.toml --output-file constraints.txt
	$(BIN)/uv pip compile --quiet --upgrade --resolution lowest-direct --extra test --no-annotate --python-version 3.11 \
		--custom-compile-command 'make constraints' pyproject.toml --output-file constraints-lowest.txt
