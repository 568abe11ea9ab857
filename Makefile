# Each target sets up .venv first. PYTHON picks the interpreter, PIP_ARGS goes to pip (an index, a constraint).
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
IN_RANGE := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.10; do \
	$$python -c '$(IN_RANGE)' 2>/dev/null && { echo $$python; break; }; done)
PIP_ARGS ?=
BUNDLE ?= runs/demo/bundle
ASSETS ?= ../shared/libero_assets/assets
# The others compare trained policies: see their --help.
BENCHMARKS := cell_speed experts stage_one_speed mutual_information

.PHONY: help setup demo robot libero test lint format bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-8s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## make .venv and install everything into it

$(STAMP): setup.py setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.10, 3.11 or 3.12 is needed and none is on PATH;" \
		"install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c '$(IN_RANGE)' 2>/dev/null || { echo "error: Python 3.10, 3.11 or 3.12 is needed, and" \
		"$(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not found)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) cannot make virtual" \
		"environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) -e '.[train,test]'
	@touch $@

demo: $(STAMP) ## train base and DyGRO policy in quick form, export the bundle, evaluate, report
	$(BIN)/python training/train_sim.py --preset quick --run runs/demo --overwrite

robot: $(STAMP) ## the ROS 2 nodes, over real DDS, drive the simulated robot with a trained policy
	@test -d "$(BUNDLE)" || { echo "error: there is no policy bundle $(BUNDLE): make demo trains one in ten" \
		"minutes; or name another: make robot BUNDLE=runs/nano/bundle" >&2; exit 1; }
	$(BIN)/python -m sim2real.robot_demo --bundle $(BUNDLE)

libero: $(STAMP) ## install LIBERO into environments/libero, with the assets of ASSETS where they are
	$(BIN)/python -m sim2real.libero.installation --pip-args="$(PIP_ARGS)" $(if $(or $(wildcard $(ASSETS)),$(filter-out file,$(origin ASSETS))),--assets "$(ASSETS)")

test: lint ## check style and types, run the tests
	$(BIN)/pytest

lint: $(STAMP) ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(STAMP) ## sort imports and format
	$(BIN)/ruff check --select I --fix
	$(BIN)/ruff format

bench: $(STAMP) ## print what benchmarks/ measures without a run of training
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py; done

clean: ## remove .venv and the caches; runs/ and environments/ stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
