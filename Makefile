# make demo | test | faults | lint | protos | docs | screenshots | bench: each sets up what it needs, in .venv and node_modules of this folder.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test faults deploy-test browser-test lint protos docs screenshots bench setup clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

$(STAMP): pyproject.toml hatch_build.py $(wildcard ratsvc/quickmem/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (make PYTHON=python3.12 …)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is needed (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -U pip
	$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@

setup: $(STAMP) ## Make .venv and install everything

demo: $(STAMP) ## Run the service with sample producers and a page that shows them
	$(BIN)/ratsvc demo $(ARGS)

test: $(STAMP) ## Set up everything and run all checks and tests
	@tests/setup-system.sh
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

faults: $(STAMP) ## Kill, stop, fill and fail it at full length, and show the figures (make test has a short form)
	@tests/setup-system.sh
	$(BIN)/python -m pytest tests/faults tests/integration/streaming/test_large.py --faults=full $(ARGS)

deploy-test: $(STAMP) ## Test image and chart, the chart in a Kubernetes that Go builds first (20 minutes and 4 GB, once)
	tests/deploy/setup-tools.sh
	$(BIN)/python -m pytest tests/deploy $(ARGS)

browser-test: $(STAMP) ## Install Firefox and WebKit where apt-get may, and test the library and the pages in them
	tests/setup-system.sh firefox-esr WebKitWebDriver Xvfb
	$(BIN)/python -m pytest tests/e2e/test_other_browsers.py --browsers=all $(ARGS)

lint: $(STAMP) ## Check style, types, import arrows and protos
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@tests/lint-protos.sh

protos: $(STAMP) ## Generate gen/, and the Go of examples/, from protos/
	$(BIN)/python tests/generate.py gen
	$(BIN)/python -m tests.golang
	[ ! -x build/examples/protoc-gen-go ] || $(BIN)/python tests/generate.py examples/go build/examples

docs: $(STAMP) ## Write the reference of settings and metrics from the code
	$(BIN)/python -m tests.docs.reference docs/reference

screenshots: $(STAMP) ## Take the pictures of docs/images again, with Chromium
	@tests/setup-system.sh
	$(BIN)/python -m tests.e2e.screenshots docs/images

bench: $(STAMP) ## Measure: throughput by format, latency, fan-out, files, idle readers
	$(BIN)/ratsvc bench $(ARGS)

clean: ## Remove what was set up
	rm -rf $(VENV) tests/e2e/node_modules build dist
