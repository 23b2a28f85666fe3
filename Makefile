# `make` says what there is. Everything runs in .venv, made when it is missing or out of date.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
INSTALLED := setup.py setup.cfg constraints.txt package.xml \
	$(wildcard scripts/* launch/*.launch.py config/*.yaml config/joint_maps/*.yaml config/paper/*.yaml rviz/*.rviz)

BENCHMARKS ?= $(sort $(shell grep -l __main__ benchmarks/*.py))
PYTEST_ARGS ?=

# The ROS wheels in .venv (x86-64 Linux only) must not be mixed with a ROS 2 that is sourced, nor
# with those of another environment. Elsewhere a sourced ROS 2 is the one in use.
ifeq ($(shell uname -sm),Linux x86_64)
ifneq ($(AMENT_PREFIX_PATH)$(_ROS_WHEELS_BOOTSTRAP_COMPLETE),)
unexport AMENT_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
endif
unexport RMW_IMPLEMENTATION
endif

# Debian and Ubuntu ship Python without venv: root of a fresh machine gets it here, others are told.
ADD_VENV := { test "$$(id -u)" = 0 && echo "Installing python3-venv" && apt-get update -qq && \
	apt-get install -qq -y python3-venv >/dev/null; }

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench venv clean

help:  ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(STAMP)  ## Run the whole chain on synthetic data, live node included; results in runs/demo
	$(VENV)/bin/iospstl-train demo --out runs/demo

test: lint  ## Lint, check the types, run the tests (PYTEST_ARGS="-k name")
	$(RUN) -m pytest $(PYTEST_ARGS)

lint: $(STAMP)  ## Lint and check the types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench: $(STAMP)  ## Run the benchmarks on generated recordings: hours (soak 30 min, faults 13, latency 9; live_accuracy trains a bundle; BENCHMARKS=benchmarks/one.py)
	@for script in $(BENCHMARKS); do echo "$$script" && $(RUN) "$$script" || exit 1; done

venv: $(STAMP)  ## Make .venv only

clean:  ## Remove .venv and what tools left behind; results in runs/ stay
	rm -rf $(VENV) build dist install log *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(STAMP): $(INSTALLED)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
		{ echo "make: '$(PYTHON)' is not Python 3.10 or newer: install one, or name it with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(ADD_VENV) || \
		{ echo "make: '$(PYTHON)' cannot make environments: install its venv package (apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): minutes the first time; log in $(VENV)/install.log"
	@$(RUN) -m pip install --disable-pip-version-check --progress-bar off \
		--constraint constraints.txt --editable '.[train,ros,dev]' >$(VENV)/install.log 2>&1 || \
		{ tail -n 20 $(VENV)/install.log >&2; exit 1; }
	@touch $@
	@echo "Installed: $$($(RUN) -m pip list --disable-pip-version-check 2>/dev/null | tail -n +3 | wc -l) packages"
