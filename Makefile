# Everything a person types. Each target installs what it needs into .venv.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: install demo test lint check check-all check-gpu bench-gpu bench bench-stages bench-peers figures docs clean

install: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable '.[dev]'
	touch $@

demo: install  ## a simulated cohort through the whole study, scored against what was planted in it
	$(VENV)/bin/rsfc demo demo-output

test: install  ## the tests, without the slow ones
	$(RUN) -m pytest -q -m "not slow"

lint: install  ## style, types, layers, and what the code costs against the committed counts
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports
	$(RUN) benchmarks/counts.py

check: lint test  ## what a change must pass

check-all: docs lint  ## `check`, with the slow tests and the pages of docs/
	$(RUN) -m pytest -q

# On a machine with a GPU; needs python3 with numpy, scipy, numba, pandas, cupy and pytest only.
check-gpu:
	RSFC_REQUIRE_GPU=1 PYTHONPATH=src $(PYTHON) -m pytest -q -o addopts="--strict-markers --import-mode=importlib" \
		tests/backend tests/denoise/test_dpabi_golden.py

bench-gpu:  ## every stage on the GPU beside the CPU: benchmarks/results/DATE-DEVICE.json
	PYTHONPATH=src $(PYTHON) benchmarks/bench_gpu.py

bench: install bench-stages bench-peers  ## every benchmark of the CPU: benchmarks/results/stages.json and peers.json

bench-stages: install  ## each stage beside its floor, by pytest-benchmark
	$(RUN) -m pytest benchmarks --benchmark-enable --benchmark-only -q --benchmark-json benchmarks/results/stages.json

bench-peers: install  ## beside nilearn, statsmodels and plain NumPy
	$(RUN) benchmarks/compare_peers.py --size small paper --json benchmarks/results/peers.json

figures: install  ## docs/figures and the tables made from benchmarks/results
	$(RUN) benchmarks/figures.py

docs: install  ## the pages of docs/ as a site, build/docs/index.html; a warning is an error
	$(RUN) -m sphinx -W --keep-going -q -E docs build/docs

clean:
	rm -rf $(VENV) demo-output build dist
