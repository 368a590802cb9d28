# make demo and make test do everything on a fresh machine; the rest is for those who work on astroprism.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check check-full explorer explorer-check bench bench-long bench-gpu setup clean

setup: $(VENV)/.ready

# torch comes first and pinned, so that nothing later can pull in another build of it
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,cluster,spectra,hdf5,explorer,test,check]'
	touch $@

demo: setup
	$(BIN)/astroprism demo demo

test: check
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'not full' --durations=10

check: setup
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

check-full: setup
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# needs node and npm; users need neither, for what it builds is kept beside the sources of the server
explorer: explorer/node_modules/.ready
	cd explorer && npm run --silent build

# what is shipped is what the sources build
explorer-check: explorer/node_modules/.ready
	cd explorer && npm run --silent check && node build.mjs ../build/explorer
	diff -r build/explorer src/astroprism/explorer/static

explorer/node_modules/.ready: explorer/package.json explorer/package-lock.json
	cd explorer && npm ci --silent
	touch $@

bench: setup
	$(BIN)/python benchmarks/all.py

# three trainings, about 45 minutes of one core
bench-long: setup
	$(BIN)/python benchmarks/time_to_quality.py

# 8 minutes on a machine with a GPU
bench-gpu: setup
	$(BIN)/python benchmarks/gpu.py

clean:
	rm -rf demo build dist .pytest_cache .mypy_cache .ruff_cache
