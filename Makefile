# Everything here works on a fresh machine with Python (3.11 to 3.13), pip and make.

PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready

.PHONY: bench demo test test-slow test-ray test-gpu lint types contracts check wheel clean

demo: $(READY)  ## Export the carried checkpoint, check it, and make a sheet of pictures
	rm -rf out/shapes
	$(BIN)/sdopt export models/shapes/checkpoint out/shapes --steps 20 --guidance 3
	$(BIN)/sdopt verify out/shapes
	$(BIN)/sdopt demo out/shapes -o out/demo.png

test: $(READY)  ## The tests that need neither a GPU nor minutes
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-slow: $(READY)  ## Real-size models: minutes, 10 GB of disk, 8 GB of memory
	$(BIN)/python -m pytest -m slow

test-ray: $(READY)  ## A Ray cluster on this machine: two minutes, 2 GB of memory
	$(BIN)/python -m pytest -m ray

test-gpu: $(READY)  ## What needs an NVIDIA GPU; skips what is not installed, and says why
	$(BIN)/python -m pytest -m gpu -rs tests/gpu

bench: $(READY)  ## Every engine and peer measured, with a report: an hour and more, 40 GB of disk
	$(BIN)/python benchmarks/everything.py out/bench

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

contracts: $(READY)
	$(BIN)/lint-imports

check: test lint types contracts  ## What a change must pass

wheel: $(READY)
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean:
	rm -rf $(VENV) out build dist

# The pinned torch comes first: an unpinned one would bring gigabytes of CUDA packages.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
