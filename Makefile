# What a machine needs: Python 3.11 or later with venv, and make. Everything
# else is fetched into .venv and .venv-emulator, from the locks.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# The tests wait more than they compute.
PYTEST_WORKERS ?= 4

BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.stamp-run
DEV_STAMP := $(VENV)/.stamp-dev
LOCKS := requirements/base.txt requirements/local.txt requirements/dev.txt sealwax/local/emulator.txt
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

export SEALWAX_EMULATOR_ENV ?= $(CURDIR)/.venv-emulator

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(RUN_STAMP) ## Start everything on this machine with a demo job (Ctrl-C stops it; ARGS='--port 9000')
	@exec $(BIN)/sealwax dev $(ARGS)

.PHONY: test
test: $(DEV_STAMP) emulator ## Run unit, integration and acceptance tests (ARGS='-k name')
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist worksteal --durations=30 -m "not addons and not browser and not comparison and not containers and not long and not slow" $(ARGS) tests

# What fails beside others and passes alone waits too little for a loaded machine: it is named,
# to be mended, and does not stop the other checks. More than five are no accident.
.PHONY: test-again
test-again: $(DEV_STAMP) emulator ## Run once more, one at a time, what failed in the last run (at most five)
	@$(BIN)/python tools/failed_tests.py --most 5
	$(BIN)/pytest -p no:xdist --last-failed --last-failed-no-failures=none $(ARGS) tests

# Measuring doubles the processor time that tests take, so it is the unit tests that are run
# once more; COVERAGE_TESTS='tests/unit tests/integration' measures both.
COVERAGE_TESTS ?= tests/unit
SINCE ?= HEAD~1

.PHONY: coverage
coverage: $(DEV_STAMP) ## Show which lines and branches the unit tests reach, and of those changed (SINCE=main)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q -n $(PYTEST_WORKERS) -m "not addons and not browser and not comparison and not containers and not long and not slow" $(ARGS) $(COVERAGE_TESTS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
	@$(BIN)/coverage json --quiet -o .coverage.json
	@$(BIN)/python tools/changed_coverage.py .coverage.json $(SINCE) || test $$? -eq 2

.PHONY: test-long
test-long: $(DEV_STAMP) emulator ## Run the tests that take their time: rotation, pauses, kills (about 9 minutes)
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist worksteal -m "long and not slow" $(ARGS) tests

# AWS answers short, twice, late and out of order, conflicts, pushes back and leaves out.
HARD_ROOMS := $(addprefix tests/integration/,transport ledger outbox worker)

.PHONY: test-hard
test-hard: $(DEV_STAMP) emulator ## Run what meets AWS against a harder one (about 6 minutes; SEALWAX_LAB_SEED=7 for other dice)
	SEALWAX_LAB=hard $(BIN)/pytest -n $(PYTEST_WORKERS) --dist worksteal -m "not exact_lab and not browser and not comparison and not containers and not long and not slow" $(ARGS) $(HARD_ROOMS)

.PHONY: test-slow
test-slow: $(DEV_STAMP) emulator ## Run the promises at their full size (about 20 minutes)
	$(BIN)/pytest -p no:xdist -m "slow and not comparison and not containers" -s $(ARGS) tests

.PHONY: chaos
chaos: $(DEV_STAMP) emulator ## Run the product under kills, pauses and AWS faults (about 8 minutes; ARGS='--seed 1 --minutes 3')
	@PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

.PHONY: test-comparison
test-comparison: $(DEV_STAMP) emulator ## Run the same troubles on stock Celery, in an environment of its own
	@test -x .venv-stock/bin/celery || { $(BIN)/python -m venv .venv-stock && \
		.venv-stock/bin/python -m pip install --quiet --disable-pip-version-check --no-input 'celery[sqs]==5.7.0' pycurl; }
	SEALWAX_STOCK_PYTHON=$${SEALWAX_STOCK_PYTHON:-$(CURDIR)/.venv-stock/bin/python} \
		$(BIN)/pytest -n 2 -m comparison $(ARGS) tests/faults tests/integration/transport

.venv-addons/bin/celery: tests/addons/addons.txt tests/addons/batches.txt | $(DEV_STAMP)
	@rm -rf .venv-addons && $(BIN)/python -m venv .venv-addons
	@.venv-addons/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
		--require-hashes -r tests/addons/addons.txt
	@.venv-addons/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
		--require-hashes --no-deps -r tests/addons/batches.txt
	@touch $@

# Two programs beside each other are four Celery workers.
.PHONY: test-addons
test-addons: $(DEV_STAMP) .venv-addons/bin/celery ## Run Celery's best known add-ons on stock Celery and on ours (needs redis-server)
	SEALWAX_ADDONS_PYTHON=$(CURDIR)/.venv-addons/bin/python \
		$(BIN)/pytest -n 2 --dist worksteal --durations=5 -m addons $(ARGS) tests/addons

.PHONY: test-containers
test-containers: $(DEV_STAMP) ## Build the image, bring the compose file up with podman, test it (needs root)
	@tests/containers/prepare.sh
	$(BIN)/pytest -p no:cacheprovider -p no:xdist -m containers --durations=5 $(ARGS) tests/containers

# Peers in environments of their own, so that none bends another's versions.
.venv-bench/%: bench/peers/requirements-%.txt | $(DEV_STAMP)
	@rm -rf $@ && $(BIN)/python -m venv $@ && $@/bin/python -m pip install --quiet \
		--disable-pip-version-check --no-input -r $< || { rm -rf $@; exit 1; }

.PHONY: bench-transport
bench-transport: $(DEV_STAMP) .venv-bench/celery .venv-bench/dramatiq_sqs .venv-bench/taskiq ## Measure the transport beside its peers (about an hour; ARGS='--latency 5 --repeat 1')
	$(BIN)/python bench/transport.py $(foreach peer,celery dramatiq_sqs taskiq,--env $(peer)=.venv-bench/$(peer)/bin/python) $(ARGS)
	$(BIN)/python bench/plot.py bench/results/transport.json docs/images/transport.svg

.PHONY: bench-neighbours
bench-neighbours: $(DEV_STAMP) emulator ## Measure what a tenant feels of a loud one (about ten minutes)
	$(BIN)/python bench/neighbours.py $(ARGS)

.PHONY: bench-job
bench-job: $(DEV_STAMP) emulator .venv-bench/job-celery .venv-bench/job-dramatiq_sqs .venv-bench/job-powertools ## Measure whole jobs beside their peers (about an hour; ARGS='--quick', '--tree ../older')
	$(BIN)/python bench/job.py $(ARGS)

.PHONY: test-browser
test-browser: $(DEV_STAMP) emulator ## Look at the console with Chromium (needs the package chromium)
	$(BIN)/pytest -p no:xdist -m browser --durations=5 $(ARGS) tests/browser

.PHONY: lint
lint: $(DEV_STAMP) ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/settings_reference.py --check

.PHONY: format
format: $(DEV_STAMP) ## Correct style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: settings-reference
settings-reference: $(DEV_STAMP) ## Write docs/reference/settings.md anew from the settings' models
	$(BIN)/python tools/settings_reference.py

.PHONY: types
types: $(DEV_STAMP) ## Check types: strictly in the product, bodies in the tests
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini

.PHONY: contracts
contracts: $(DEV_STAMP) ## Check which package may import which, and that what is imported is declared
	$(BIN)/lint-imports
	$(BIN)/deptry .

.PHONY: templates
templates: $(DEV_STAMP) ## Check the CloudFormation templates
	$(BIN)/cfn-lint ecs/*.yaml

.PHONY: check
check: lint types contracts templates lock-check ## Run all static checks

.PHONY: emulator
emulator: $(DEV_STAMP) ## Make the emulated AWS's own environment
	@$(BIN)/python -m sealwax.local.environment

.PHONY: lock
lock: $(DEV_STAMP) ## Write the locks anew from pyproject.toml (ARGS=--upgrade for newer versions)
	@UV=$(BIN)/uv requirements/lock.sh $(ARGS)

.PHONY: lock-check
lock-check: $(DEV_STAMP) ## Check that the locks fit pyproject.toml and name no place
	@UV=$(BIN)/uv requirements/lock.sh --check

.PHONY: clean
clean: ## Remove environments, caches and local state
	rm -rf $(VENV) .venv-addons .venv-containers .venv-stock .venv-emulator .venv-emulator.unfinished .venv-emulator.lock .sealwax build dist
	rm -rf .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first target that fails says what to install.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null 2>&1 || \
		{ echo "$(PYTHON) is not installed: install the package python3 (3.11 or later)." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; $$($(PYTHON) --version 2>&1) was found. Install the package python3.11 (or later) and use: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "Python's venv module is missing: install the package python3-venv." >&2; exit 1; }
	@echo "making $(VENV)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)

# An interrupted installation leaves no stamp, so it is done again.
$(RUN_STAMP): requirements/local.txt pyproject.toml | $(BIN)/python
	@echo "installing what sealwax needs into $(VENV)"
	@$(PIP_INSTALL) --require-hashes -r requirements/local.txt
	@$(PIP_INSTALL) --no-deps --editable .
	@touch $@

$(DEV_STAMP): requirements/dev.txt $(RUN_STAMP) | $(BIN)/python
	@echo "installing what the tests need into $(VENV)"
	@$(PIP_INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@
