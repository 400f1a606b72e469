# Two commands on a fresh machine that has git, make and Python 3.11 or newer:
#   make train [ARGS="--total-steps 1e6 --run-dir runs/mine"]    the main job: an agent per core learns Pong
#   make test  [ARGS="tests/gossip -k ring"]                     the tests, some 20 minutes on two cores
#   make test-all                                                ... and those of many deaths and of learning to the end
# For contributors:
#   make quick [ARGS=...]    style, types, and the tests without processes and browsers: under 90 s
#   make check [ARGS=...]    style, types, and all tests of less than about ten seconds
#   make docs                the site with the reference, in build/docs; a warning is an error
# PIP_ARGS goes to pip, for example to choose another build of torch.

VENV := .venv
STAMP := $(VENV)/.installed
ARGS ?=
# One per core, two to four: AGENTS=8 overrides.
AGENTS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); \
	echo $$((cores < 2 ? 2 : cores > 4 ? 4 : cores)))
# More agents see more games, each still needs its own updates.
STEPS = $(shell echo $$(($(AGENTS) * 500000)))
PIP_ARGS ?=

# The first interpreter that is new enough; `make PYTHON=/path/to/python` overrides the search.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; \
	done)

.PHONY: help install train test test-all quick check style docs clean

# Launches of several agents wait for one another a lot: two at a time use two cores well.
WORKERS := -n 2

# What needs neither processes of its own nor a browser, and trains nothing to the end.
QUICK := agent config couplings divergence experience files gossip networks parameters

help:
	@sed -n 's/^#   //p' $(firstword $(MAKEFILE_LIST))

install: $(STAMP)

# Runs again only when one of these files is newer than the stamp.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "gala: error: Python 3.11 or newer is needed, and none was found on PATH" >&2; exit 2; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "gala: error: $(PYTHON) cannot make a virtual environment (Debian: install python3-venv)" >&2; exit 2; }
	$(VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt $(PIP_ARGS) -e '.[dev]'
	@touch $@

train: $(STAMP)
	$(VENV)/bin/gala train experiments/pong.yaml --agents $(AGENTS) --total-steps $(STEPS) $(ARGS)

test: $(STAMP)
	@.ci/packages
	@echo "gala: without the tests marked long (many deaths, hosts, learning to the end): make test-all runs them, too"
	$(VENV)/bin/python -m pytest $(WORKERS) -m "not long" $(ARGS)

test-all: $(STAMP)
	@.ci/packages
	$(VENV)/bin/python -m pytest $(WORKERS) $(ARGS)

style: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

quick: style
	$(VENV)/bin/python -m pytest -q -n 2 -m "not slow and not process" $(addprefix tests/,$(QUICK)) $(ARGS)

docs: $(STAMP)
	$(VENV)/bin/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "built build/docs/index.html"

check: style
	$(VENV)/bin/python -m pytest $(WORKERS) -m "not slow" $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
