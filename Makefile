# Needs: Python 3.11 or newer, make, a C library. Everything else is installed into .venv.

HOST ?= 127.0.0.1
PORT ?= 8000
ARGS ?=
PYTEST_ARGS ?=
# Test processes. One more than the two cores of a small machine: browsers and workers are often waited for.
PROCESSES ?= 3
# The first that runs and is new enough; name another with `make run PYTHON=...`.
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$each"; break; }; done)

VENV := .venv
IN := $(VENV)/bin
PIP := $(IN)/python -m pip install --disable-pip-version-check --no-input -c constraints.txt
# What was installed is remembered by what asked for it, so a second start installs nothing.
WANTED := $(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
WEB := $(VENV)/.installed-web-$(WANTED)
ALL := $(VENV)/.installed-all-$(WANTED)
# `make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu` (or .../cu130) chooses torch's build.
TORCH_INDEX ?= $(ROUNDS_TORCH_INDEX)
export ROUNDS_TORCH_INDEX := $(TORCH_INDEX)

.DEFAULT_GOAL := help
.PHONY: help run setup test lint faults browser stop clean

help: ## This list
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: $(WEB) ## Install the web part, start everything, print the address; Ctrl-C stops (HOST=, PORT=, ARGS=)
	@exec $(IN)/python manage.py up --host $(HOST) --port $(PORT) $(ARGS)

setup: $(ALL) ## Install everything: web, workers, training, development

test: $(ALL) browser lint ## Everything that is checked, with a journey in real headless Chromium (PROCESSES=, PYTEST_ARGS=)
	CI=1 $(IN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(ALL) ## Style, types, and that every test module can be imported
	$(IN)/ruff check .
	$(IN)/ruff format --check .
	$(IN)/mypy
	@told=$$(CI=1 $(IN)/python -m pytest --collect-only -qq 2>&1) || { echo "$$told" | tail -n 60; exit 1; }

faults: $(ALL) ## Kill, cut, fill and tear everything for ten to twenty minutes; the books must balance (ARGS="--quick", "--lane L3", "--seed 7")
	@$(IN)/python -m benchmarks.faults $(ARGS)

stop: ## Stop a running `make run`, PostgreSQL and Redis
	@test ! -x $(IN)/python || $(IN)/python manage.py services stop

clean: stop ## Remove .venv and caches; the data folder stays
	rm -rf $(VENV) staticfiles .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

browser: $(ALL)
	@if [ -x /usr/bin/chromium ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Chromium for the browser tests"; \
		(apt-get install -y --no-install-recommends chromium || (apt-get update && apt-get install -y --no-install-recommends chromium)); \
	else echo "Installing Chromium for the browser tests"; $(IN)/playwright install chromium; fi

$(IN)/python:
	@test -n "$(PYTHON)" || { echo "Rounds needs Python 3.11 or newer; none was found. Name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "This Python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(IN)/python -m pip install -q --disable-pip-version-check --upgrade pip || echo "(keeping the pip that came with Python)"

$(WEB): | $(IN)/python
	@echo "Installing the web part (a minute; torch follows behind the running pages)"
	$(PIP) -e '.[embedded]'
	@rm -f $(VENV)/.installed-web-*
	@touch $@

$(ALL): $(WEB)
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) -e '.[embedded,engine,dev]'
	@rm -f $(VENV)/.installed-all-*
	@touch $@
