# The two commands of a newcomer: `make serve` and `make test`. Everything they need they set up themselves.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests and servers start hundreds of Python processes; without cached bytecode each one compiles the tree again.
unexport PYTHONDONTWRITEBYTECODE
# What needs no whole server and no browser runs on two processors at once.
SMALL := --ignore=tests/journeys --numprocesses 2 -m
# What touches the database, and so runs on both.
ON_DATABASE := tests/services tests/api tests/tasks tests/admin tests/gateway/site
# The document's operations are asked one after the other: a server for each processor.
SCHEMA := tests/journeys/test_schema.py
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

.PHONY: serve test test-fast chaos fuzz lint format setup openapi lock bench help
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# Set-up. Each stamp stands for one installed requirements file.
$(VENV)/.created:
	@echo "== Creating the virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "NOA needs Python 3.11 or newer; set PYTHON=…")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.build: requirements/build.txt $(VENV)/.created
	@$(PIP) -r requirements/build.txt
	@touch $@

$(VENV)/.base: requirements/base.txt $(VENV)/.build
	@echo "== Installing what NOA needs (about a minute)"
	@$(PIP) -r requirements/base.txt
	@touch $@

$(VENV)/.llama: requirements/llama.txt requirements/install_llama.sh $(VENV)/.base
	@requirements/install_llama.sh $(VENV)
	@touch $@

$(VENV)/.noa: pyproject.toml setup.py requirements/base.in requirements/llama.in $(VENV)/.base
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.base
	@echo "== Installing what the tests and the linters need"
	@$(PIP) -r requirements/dev.txt
	@touch $@

setup: $(VENV)/.llama $(VENV)/.noa ## make the virtual environment, build llama.cpp once

serve: setup ## run NOA on 127.0.0.1:8000 with a model loaded and answering
	@exec $(BIN)/python manage.py serve

test: setup $(VENV)/.dev ## all tests, with real llama.cpp, the whole server and a browser
	@.ci/packages chromium curl postgresql redis-server iproute2 nginx-light
	@$(BIN)/python -m pytest $(SMALL) "not journey and not browser"
	@NOA_TEST_DATABASE=postgres $(BIN)/python -m pytest $(SMALL) "not journey and not browser and not wide" $(ON_DATABASE)
	@$(BIN)/python -m pytest --ignore=$(SCHEMA) --numprocesses 2 --dist loadfile -m "journey or browser"
	@$(BIN)/python -m pytest --numprocesses 2 $(SCHEMA)

test-fast: setup $(VENV)/.dev ## the developers' loop: no whole server, no browser, no llama.cpp, no long searches
	@$(BIN)/python -m pytest $(SMALL) "not journey and not browser and not llama and not wide and not chaos" --quiet

chaos: setup $(VENV)/.dev ## break things as often as the reference figures need; they are written to benchmarks/results/chaos.jsonl
	@CHAOS=full $(BIN)/python -m pytest -m chaos

fuzz: setup $(VENV)/.dev ## a long run of what the OpenAPI document allows and forbids, against a whole server
	@FUZZ_EXAMPLES=500 $(BIN)/python -m pytest --numprocesses 2 $(SCHEMA)

lint: setup $(VENV)/.dev ## what CI checks besides the tests
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports
	@$(BIN)/python .ci/words
	@$(BIN)/mypy
	@.ci/checks $(BIN)/python

format: $(VENV)/.dev ## put the code into the house's form
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

openapi: setup ## write docs/openapi.yaml anew
	@$(BIN)/python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml

lock: $(VENV)/.dev ## compile requirements/*.in into pinned files with hashes
	@for name in build base dev bench; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header requirements/$$name.in -o requirements/$$name.txt; done
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-deps requirements/llama.in -o requirements/llama.txt

bench: setup $(VENV)/.dev ## see benchmarks/README.md
	@sed -n 1,40p benchmarks/README.md
