# Every target starts from nothing: it makes .venv, installs the pinned packages once, and goes.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
comma := ,
REQUIREMENTS := pyproject.toml constraints.txt
TEST_WORKERS ?= 2
# Tests write many small files and flush each to the disk; in memory that costs nothing.
TEST_FOLDER := $(if $(TMPDIR),$(TMPDIR),$(shell test -w /dev/shm && echo /dev/shm || echo /tmp))
PYTEST := TMPDIR=$(TEST_FOLDER) $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder
DEMO_FLAGS ?=

.PHONY: help demo test test-fast check bench

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP)-run ## train all four stages on a small task, then write a report (DEMO_FLAGS="--help")
	@$(BIN)/softflow demo $(DEMO_FLAGS)

test: $(STAMP)-dev $(STAMP)-robosuite $(STAMP)-robomimic $(STAMP)-lerobot $(STAMP)-ros2 ## run the tests
	@$(PYTEST)

test-fast: $(STAMP)-dev ## run the tests that take milliseconds: for work in progress
	@$(PYTEST) -m "not slow"

check: $(STAMP)-dev ## lint, formatting, types, and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

bench: $(STAMP)-run ## measure sampling, training steps and data throughput on this machine
	@$(BIN)/python -m benchmarks

# pip is written last by `venv`, so an interrupted creation is redone.
$(BIN)/pip:
	@python=""; \
	for name in python3.11 python3 python3.12 python3.13; do \
	  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    python="$$name"; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "softflow needs Python 3.11 or newer on the PATH (e.g. apt install python3 python3-venv)" >&2; \
	  exit 1; \
	fi; \
	echo "making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)

# A stamp is written only after its install has succeeded. -qq shows pip's errors and nothing else.
define install
	@echo "installing softflow[$(1)] into $(VENV) (once; the first time takes a few minutes)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[$(1)]' -c constraints.txt
	@touch $(2)
endef

$(STAMP)-run: $(REQUIREMENTS) | $(BIN)/pip
	$(call install,train$(comma)sim$(comma)formats,$@)

$(STAMP)-dev: $(REQUIREMENTS) | $(BIN)/pip
	$(call install,train$(comma)sim$(comma)formats$(comma)dev,$(STAMP)-run $@)

# Its keyboard driver is compiled, which not every machine can; without it the tests of its tasks skip.
$(STAMP)-robosuite: $(REQUIREMENTS) | $(STAMP)-dev
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[robomimic]' -c constraints.txt \
	  && touch $@ || echo "robosuite could not be installed; the tests of Lift, Can and Square will skip"

# Other projects' own readers, for the tests that compare with them; without one its tests skip.
$(STAMP)-robomimic: tests/support/robomimic_requirements.txt | $(STAMP)-dev
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --upgrade \
	  --target $(VENV)/robomimic -r $< && touch $@ \
	  || echo "robomimic's reader could not be installed; its tests will skip"

$(STAMP)-lerobot: tests/support/lerobot_requirements.txt tests/support/lerobot_v21_requirements.txt tests/support/lerobot_environment.py tests/support/own_environment.py | $(STAMP)-dev
	@$(BIN)/python tests/support/lerobot_environment.py && touch $@ \
	  || echo "lerobot could not be installed; its tests will skip"

# ROS 2's wheels make the Python of their environment start itself once more: they get their own.
$(STAMP)-ros2: $(REQUIREMENTS) tests/support/ros2_environment.py tests/support/own_environment.py | $(STAMP)-dev
	@$(BIN)/python tests/support/ros2_environment.py && touch $@ \
	  || echo "ROS 2 could not be installed; the tests of robots behind it will skip"
