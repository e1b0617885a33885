# Everything a machine with git, make and Python 3.11 or newer needs is installed here, into .venv.

# The newest Python there is, of those that run (a version manager may list some that don't).
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
ARGS ?=
PEERS ?= all

.PHONY: help setup run demo check test unit integration e2e chaos bench profile lock clean

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20

setup: $(VENV)/.ready ## install everything into .venv

$(VENV)/.ready: requirements.txt requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11 or newer as python3; set PYTHON=/path/to/python" >&2; exit 1; }
	@echo "make: installing into $(VENV) with $(PYTHON); this takes a minute, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.txt --requirement requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: setup ## start the platform: Prefect, gateway, worker (ARGS="--port 8081" and the like)
	@exec $(BIN)/ipaas up $(ARGS)

demo: setup ## start it on free ports, send one webhook, show what became of it, stop
	@$(BIN)/python -m ipaas.platform.demo

check: setup ## format, lint, types, import direction
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/ipaas check

test: setup ## every test: unit, integration, end to end
	$(BIN)/pytest -n $(JOBS) tests/unit
	$(BIN)/pytest -n $(JOBS) --dist loadfile tests/integration
	$(BIN)/pytest tests/e2e

unit: setup ## the tests that need no server
	$(BIN)/pytest -n $(JOBS) tests/unit

integration: setup
	$(BIN)/pytest -n $(JOBS) --dist loadfile tests/integration

e2e: setup
	$(BIN)/pytest tests/e2e

chaos: setup ## the longer crash tests: kills at every moment, for some minutes
	$(BIN)/pytest tests/chaos

bench: setup ## measure, with peers in the same run (PEERS=none: a quick look; ARGS="--sustain 600" and the like)
	$(BIN)/python -m benchmarks --peers $(PEERS) $(ARGS)

profile: setup ## flame graphs of each process under load, into .bench/profile/ (ARGS="--mode express")
	$(BIN)/python -m benchmarks.profile $(ARGS)

lock: setup ## pin what pyproject.toml asks for, with hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate --generate-hashes pyproject.toml --output-file requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate --generate-hashes --extra dev --constraint requirements.txt pyproject.toml --output-file requirements-dev.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
