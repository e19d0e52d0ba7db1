# make test    set up what is missing, then run every test (what .ci/run calls)
# make check   everything but the tests that start real guests
# make leaks   list what tests or crashes left on this host; fails when there is something
# make bench   measure every promise of SPECIFICATION.md
# make size    lines per module, and those that grew too long
# make openapi write docs/openapi.json from the running code
# make lock    write requirements*.txt from this environment
# make wheel   build dist/yurt-*.whl
# make clean   remove what make made

VENV := .venv
PYTHON := $(VENV)/bin/python
RUN := PYTHONPATH=src $(PYTHON)
PYTEST := $(RUN) -m pytest
ARGS ?=
QUICK := $(wildcard tests/lint tests/unit tests/golden tests/conformance)
ALL := $(QUICK) $(wildcard tests/abuse tests/faults tests/integration)

.PHONY: test check lint leaks bench size openapi lock wheel setup clean

test: setup
	YURT_TEST_LEAKS=strict $(PYTEST) --durations=12 $(ARGS) $(ALL)

check: setup
	$(PYTEST) -m "not slow" $(ARGS) $(QUICK)

lint: setup
	$(PYTEST) $(ARGS) tests/lint

setup:
	@tools/setup test

leaks:
	@/usr/bin/env python3 tools/leaks.py

bench: setup
	$(RUN) bench/all.py $(ARGS)

size:
	@/usr/bin/env python3 tools/size.py

openapi: setup
	$(RUN) -m yurt.api.openapi > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json

lock: setup
	@$(PYTHON) tools/lock.py

wheel: setup
	$(RUN) tools/prebuild_agent.py
	$(PYTHON) -m pip wheel --no-deps --no-build-isolation --wheel-dir dist .

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis agent/build
	find src tests tools bench -name __pycache__ -prune -exec rm -rf {} +
