# People and CI run the same commands. `make run` and `make test` need Python only.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run demo test test-unit check bench settings openapi openapi-tools deployment-tools clean

PYTEST_ARGS ?=
TEST_PROCESSES ?= 4
PHOTOS ?= ../shared/faces/photos

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\n        \2/p' $(MAKEFILE_LIST)

run: runtime  ## start everything on this machine, show it on a photo, keep serving
	@exec .venv/bin/faceline up --demo

demo: runtime  ## the same, and stop
	@exec .venv/bin/faceline up --demo --once

test: dev  ## run every test (PYTEST_ARGS="-m 'not heavy' -x" passes arguments)
	.venv/bin/python -m pytest -n $(TEST_PROCESSES) $(PYTEST_ARGS)

test-unit: dev  ## the tests that need no server: under a minute of processor time
	.venv/bin/python -m pytest tests/unit $(PYTEST_ARGS)

check: dev  ## lint, types, and the layers of imports
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: dev  ## what the queue costs, and what one idle client waits (PHOTOS=folder)
	.venv/bin/python -m tests.benchmarks.queue_cost --photos $(PHOTOS)
	.venv/bin/python -m tests.benchmarks.held_call_cost --photos $(PHOTOS)

settings: runtime  ## write docs/settings.md from the settings
	.venv/bin/faceline settings --markdown > docs/settings.md

openapi: dev  ## write the reviewed copy of the OpenAPI document anew
	.venv/bin/python -m tests.openapi_snapshot

openapi-tools: dev  ## install what checks the OpenAPI document (redocly needs npm)
	@infra/openapi_tools.sh

deployment-tools: dev  ## install what checks the Helm chart and the compose file (needs Go)
	@infra/deployment_tools.sh

clean:  ## remove what make and the tests made; keeps .faceline, the data
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: runtime dev
runtime dev:
	@infra/bootstrap.sh $@
