# Everything a person runs here; each target makes its own environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-full check bench

demo: $(READY)
	$(BIN)/zoo demo

# A fast test that takes ten minutes hangs: it is told with where it stands, and its worker is replaced.
test: check
	$(BIN)/pytest -n 2 -m "not slow" -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true

test-full: check
	$(BIN)/pytest -n 2

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/flowers.py

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $(READY)
