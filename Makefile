# `make` lists what can be made. Everything runs in .venv, which is made once from
# requirements.lock; without make, see environment.yml.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules

PROFILE ?= laptop
IF ?= 0.1,0.02,0.01
SEED ?= 0
DATA ?=
TORTURE ?= quick
UNTIL ?= evaluate

BIN := .venv/bin
STAMP := .venv/.installed
PYTHON ?= $(shell for p in python3.11 python3; do $$p -c 'pass' 2>/dev/null && echo $$p && break; done)
PROBLEM = $(shell \
  if [ -z '$(PYTHON)' ]; then echo 'no python3 found: install Python 3.11'; \
  elif ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
    echo '$(PYTHON) is older than 3.11: install Python 3.11, or name one with PYTHON=...'; \
  elif ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
    echo '$(PYTHON) has no venv module: install it (Debian and Ubuntu: python3-venv)'; fi)
CONFIG = --config profile=$(PROFILE) imbalance_factors=$(IF) seeds=$(SEED) until=$(UNTIL) $(if $(DATA),'data=$(DATA)')
# $(call timed,WHAT,COMMAND) runs a command and says how long it took
timed = printf '\n== %s\n' '$(1)'; $(2); printf '== %s: %d min %d s\n' '$(1)' $$((SECONDS / 60)) $$((SECONDS % 60))

.PHONY: help book test slow torture reproduce publish lint baselines clean

help: ## This list
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  make reproduce PROFILE=$(PROFILE) IF=$(IF) SEED=$(SEED) UNTIL=$(UNTIL) DATA=folder:PATH'

book: $(STAMP) ## Build the book from the published results: _build/html/index.html
	$(BIN)/snakemake book

test: lint ## Style, types, the tests that take seconds, committed notebooks
	$(BIN)/pytest -n 2 --dist loadfile -m 'not slow' --durations=20
	$(BIN)/pytest -n 2 --dist loadfile --nbval --nbval-current-env tests/notebooks/*.ipynb

slow: $(STAMP) ## The tests that take longer: the pipeline on small data, foreign networks, runtimes
	$(BIN)/pytest -n 2 --dist loadfile -m slow --durations=20

torture: $(STAMP) ## Kills, damage, bad input, crowded and full disks; TORTURE=full takes an hour or two
	LTQ_TORTURE=$(TORTURE) $(BIN)/pytest -n 2 --dist loadfile tests/torture

reproduce: $(STAMP) ## Train and evaluate again, from images on, then execute chapter 3 on that
	@echo 'Networks that are in runs/ are kept; a run that was stopped goes on. On one core, profile laptop:'
	@echo '23 to 40 minutes a network, 4 to evaluate it; then chapter 3 computes what it needs besides.'
	@$(call timed,networks,LTQ_FRESH=1 $(BIN)/snakemake all $(CONFIG))
	@$(call timed,chapter 3,LTQ_FRESH=1 $(BIN)/snakemake chapter $(CONFIG))

publish: $(STAMP) ## Copy the complete networks of a profile from runs/ to results/, for review
	$(BIN)/ltq publish --profile $(PROFILE)

lint: $(STAMP) ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

baselines: $(STAMP) ## Execute the notebooks that nbval compares again (after a change of their pages)
	for page in live factor; do \
	  $(BIN)/jupytext --quiet --to ipynb --output - book/$$page.md | $(BIN)/papermill --no-progress-bar \
	    --kernel python3 --cwd book - tests/notebooks/$$page.ipynb \
	    $$([ $$page = live ] || echo -p source digits -p profile smoke -p imbalance_factor 0.1); done

clean: ## Remove what was built; results, runs, data and .venv stay
	rm -rf _build book/executed .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find ltqlib tests book -name __pycache__ -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml
	@$(if $(PROBLEM),$(error $(PROBLEM)))$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
