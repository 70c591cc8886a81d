# `make help` lists what there is. Everything works in .venv, which `make env` makes.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help env demo test drill load coverage check format licences families docs infra release clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(STAMP)  ## make the environment in .venv, versions pinned by constraints.txt

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Darkroom needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: env  ## a small sweep of the embedded model on local Ray, measured against the world it knows, and its report
	$(BIN)/darkroom sweep output.uri=runs/demo engine.shard_size=16 evaluate=inline evaluation.reference=demo \
	    grid.axes.guidance_scale=[1,4,12] grid.axes.scheduler=[ddim,dpmpp_2m] grid.axes.num_inference_steps=[5,20]
	$(BIN)/darkroom report run=runs/demo

test: env  ## all tests, in two processes, but those that take minutes
	$(BIN)/python -m pytest -n 2 --dist worksteal

drill: env  ## faults injected into whole runs, each many times, and a table of what was lost: nothing; about an hour
	$(BIN)/python -m pytest --drill -m drill tests/faults tests/jobs
	$(BIN)/python -m tests.faults

load: env  ## speed and memory with the painter, and a table: a million images, a hundred million prompts, 100,000 shards; two hours
	$(BIN)/python -m tests.load
	$(BIN)/python -m tests.load.metadata
	$(BIN)/python -m tests.load.evaluating

coverage: env  ## how often intervals hold the truth, and how often equal cells are told apart: two tables; an hour
	$(BIN)/python -m tests.coverage

check: env  ## what to run before a commit: format, lint, types, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow'

format: env  ## put the code into the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

licences: env  ## write infra/licences.md anew, after a change of constraints.txt
	$(BIN)/python infra/licences.py

families: env  ## write infra/docs/families.md anew: what the self-test says of a tiny model of each family
	$(BIN)/python infra/families.py

docs: env  ## build the documentation site into build/docs/site
	$(BIN)/python infra/docs_pages.py build/docs
	$(BIN)/zensical build --strict --config-file build/docs/zensical.toml

infra: env  ## write the files of infra/clusters and the dashboard anew, and check all, those of Slurm for real where it is
	$(BIN)/python -m infra.manifests
	$(BIN)/python -m infra.dashboard
	$(BIN)/python -m pytest --drill tests/infra tests/clusters

release: env  ## build the wheel, and render with it where nothing else is installed
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(PYTHON) -m venv build/bare
	build/bare/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl
	cd build && bare/bin/darkroom generate prompts=demo sampling.num_inference_steps=2 output.uri=run engine.num_workers=1
	cd build && bare/bin/darkroom verify run=run num_images=4

clean:  ## remove the environment and caches; runs stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
