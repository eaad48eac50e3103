# Needs Python 3.11 or later, make, and a network for the first set-up. Everything lands in .venv, build and .run.
#
#   make demo      real prompts through the whole system, then stops
#   make up        the whole system until Ctrl-C        REPLICAS=3   CONFIG=router.yaml   TINYROUTE_PORT_BASE=21000
#   make test      the tests
#   make help      the rest

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
# A virtual environment of its own: `uv sync` removes from .venv whatever is not in uv.lock, itself included.
UV := build/uv/bin/uv
READY := $(VENV)/.ready
# protoc looks for its plug-ins there.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup model demo up test lint bench peers chaos fuzz protos clean

help: ## say what there is
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
		|| grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST)

setup: $(READY) ## make the virtual environment, exactly as uv.lock says

model: $(READY) ## fetch the default model into the model store (once)
	@$(BIN)/analyzer model pull default

demo: model ## start everything, route real prompts, show decisions, answers, costs and a waterfall, stop
	@$(BIN)/python -m deploy.local.demo

up: model ## start everything and keep it until Ctrl-C
	@exec $(BIN)/python -m deploy.local.stack up

test: model ## run the tests (no accelerator, no key)
	$(BIN)/pytest tests -m "not chaos and not bench and not peers"

lint: $(READY) ## what a machine can point at
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python protos/codegen.py --out build/protos && $(BIN)/buf lint

bench: model ## measure latency, throughput and overhead on this machine (minutes)
	$(BIN)/pytest tests -m bench -s

peers: model ## race our engine against OpenVINO, ONNX Runtime and llama.cpp on the same weights (minutes)
	UV_PROJECT_ENVIRONMENT=build/peers UV_LINK_MODE=copy $(UV) sync --frozen --quiet --group bench-peers
	build/peers/bin/python -m analyzer bench engines --peers

chaos: model ## faults under load (minutes)
	$(BIN)/pytest tests -m chaos -s

fuzz: model ## the property tests, with many more examples (minutes)
	$(BIN)/pytest tests -m hypothesis --hypothesis-profile=fuzz --timeout=1800

protos: $(READY) ## generate the code beside the .proto files anew
	$(BIN)/python protos/codegen.py

clean: ## remove what make made here; the model store stays
	rm -rf $(VENV) build dist .run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml uv.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: install one, or name it: make PYTHON=/path/to/python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "'$(PYTHON) -m venv' failed: on Debian, install python3-venv"; exit 1; }
	@$(UV) --version 2>/dev/null | grep -qF "uv $(UV_VERSION)" || { echo "Fetching uv $(UV_VERSION) ..." && $(PYTHON) -m venv build/uv && build/uv/bin/python -m pip install --quiet uv==$(UV_VERSION); }
	@echo "Installing what uv.lock pins, hashes checked ..."
	@UV_LINK_MODE=copy $(UV) sync --frozen --quiet --python $(BIN)/python
	@touch $@
