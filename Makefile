# make demo [IMAGE=photo.jpg]   one photograph becomes one video, on this machine
# make up                       everything on this machine, until Ctrl-C
# make test | check | faults | bench | bench-field | fmt | clean

SHELL := /bin/bash
PYTHON ?= $(firstword $(foreach name,python3.14 python3.13 python3.12 python3.11 python3,$(shell \
	$(name) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(name))))
VENV := .venv
BIN := $(VENV)/bin
NODE := tests/clients/node
# An active environment, a user site or a demand for hashes must not reach into the one built here;
# where packages come from stays the caller's decision (PIP_INDEX_URL, pip.conf and so on).
PIP := env -u PYTHONHOME -u PYTHONPATH -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT PIP_USER=0 \
	$(BIN)/python -m pip --disable-pip-version-check
# The caller's store, vendor, settings, proxies and .netrc are none of the demo's or the tests' business.
CLEAN := $(BIN)/python -m service.environment

# A .venv whose Python is gone, or that was moved here from elsewhere, is no .venv.
STALE := $(shell test "$$(cat $(VENV)/ready 2>/dev/null)" = "$(CURDIR)" && $(BIN)/python -c '' 2>/dev/null \
	|| rm -f $(VENV)/ready $(VENV)/ready-dev)

.PHONY: demo up test check faults bench bench-field fmt clean lock

demo: $(VENV)/ready
	@$(CLEAN) $(BIN)/hookreel demo $(if $(IMAGE),"$(IMAGE)")

up: $(VENV)/ready
	@exec $(BIN)/hookreel up

# Three at once on two cores, for many tests wait; and what one process has compiled, the others need not.
test: $(VENV)/ready-dev $(if $(shell command -v npm),$(NODE)/node_modules/ready)
	env -u PYTHONDONTWRITEBYTECODE $(CLEAN) $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# 20 seeds of 60 s: who is killed or paused, and when, is drawn from the seed.
faults: $(VENV)/ready-dev
	@$(CLEAN) $(BIN)/python -m tests.faults --seeds 20 --seconds 60 --at-once 2 $(ARGS)

bench: $(VENV)/ready-dev
	@$(CLEAN) $(BIN)/python -m benchmarks $(ARGS)

bench-field: $(VENV)/ready-dev
	@$(CLEAN) $(BIN)/python -m benchmarks.field $(ARGS)

fmt: $(VENV)/ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(NODE)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info build

# Only by hand: asks the registry what is newest and writes both locks anew, without naming an index.
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock" pyproject.toml
lock:
	$(LOCK) --group build -o requirements.txt
	$(LOCK) --group build --group dev -c requirements.txt -o requirements-dev.txt

# The marker is written last: an environment left half-made, or made from other locks, is made anew.
$(VENV)/ready: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV) (a minute, the first time)"
	@rm -rf $@ $(VENV)/ready-dev && $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --quiet --require-hashes -r requirements.txt
	@PIP_REQUIRE_HASHES=0 $(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" > $@

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.txt
	@echo "Installing what the tests and checks need"
	@$(PIP) install --quiet --require-hashes -r requirements-dev.txt
	@touch $@

# The verifiers that receivers in Node have. The tests that want them are skipped without, unless CI=true.
$(NODE)/node_modules/ready: $(NODE)/package.json $(NODE)/package-lock.json
	@echo "Installing what the tests need of Node"
	@cd $(NODE) && npm ci --silent --ignore-scripts --no-audit --no-fund && touch node_modules/ready || \
		echo "npm ci failed in $(NODE): its tests are skipped" >&2
