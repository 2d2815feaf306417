# `make demo` and `make test` are all one needs; both install what is missing first. See docs/lab.md.

PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
SIDE_BY_SIDE := -n auto --dist worksteal

.PHONY: help setup python demo test check bench clean

help:
	@echo "make demo    build a data centre on this machine and run it through its paces (root; KEEP=1 leaves it running)"
	@echo "make test    every test: unit, scenario, peers, netns, e2e (root)"
	@echo "make check   lint, types, import contracts, a sample of the unit and scenario tests (no root, no network)"
	@echo "make bench   the figures of docs/performance.md (root)"
	@echo "make setup   only install what the others need (root)"
	@echo "make clean   remove what make has made, but not installed packages"

setup:
	@scripts/setup

python:
	@scripts/setup --python

demo: setup
	@.venv/bin/weft lab demo examples/small-dc.toml $(if $(KEEP),--keep)

test: export WEFT_TESTS := thorough
test: setup
	@$(PYTEST) $(SIDE_BY_SIDE) tests/unit tests/scenario tests/peers; first=$$?; $(PYTEST) tests/netns tests/e2e && exit $$first

check: python
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PYTEST) $(SIDE_BY_SIDE) tests/unit tests/scenario

bench: setup
	@$(PYTHON) -m bench

clean:
	@if [ -e /run/weft/lab ] && [ -x .venv/bin/weft ]; then .venv/bin/weft lab down; fi
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
