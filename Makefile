# Every task by its name. Each target sets up what it needs, in .venv.
PYTHON ?= python3
BIN    := .venv/bin
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: run test lab docs docs-serve notebooks student digits results bench soak fuzz clean help

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: .venv/run  ## the main job: replace one library part at a time, print what changes (ARGS="--epochs 5")
	@$(BIN)/mnist_walkthrough $(ARGS)

test: .venv/dev  ## everything that must hold (ARGS="-k loader")
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ARGS)

lab: .venv/dev  ## JupyterLab on the notebooks
	@$(BIN)/jupyter lab --notebook-dir=nbs $(if $(filter 0,$(shell id -u)),--allow-root)

docs: .venv/dev  ## the site, in _docs/
	@rm -rf _docs
	@$(BIN)/python docs/prepare.py build/site
	@$(BIN)/sphinx-build -W -n --keep-going -q -c docs build/site/pages build/site/html
	@mv build/site/html _docs

docs-serve: docs  ## the site on http://127.0.0.1:8000 (PORT=8001)
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory _docs $(or $(PORT),8000)

notebooks: .venv/dev  ## after an edit: format, export, run, save outputs, write README.md (NB="nbs/03_net.ipynb")
	$(BIN)/ruff format nbs
	$(BIN)/nbdev_export
	$(BIN)/python tools/run_notebooks.py $(or $(NB),nbs)
	$(BIN)/python tools/make_readme.py

student: .venv/dev  ## the notebooks without the solutions of their exercises, in student/
	@$(BIN)/python tools/make_student.py

digits:  ## make digits.zip again from a folder of all MNIST PNGs (FROM=folder)
	$(PYTHON) tools/make_digits.py $(FROM)

results: .venv/dev  ## make the stored results again, on the full MNIST (NAMES="accuracy_headline")
	@OMP_NUM_THREADS=1 $(BIN)/python tools/make_results.py $(NAMES)

bench: .venv/run  ## one epoch of MNIST, ours and every peer in turn (ARGS="--only ours,numpy --threads 2")
	@$(BIN)/python tools/bench/run.py $(ARGS)

soak: .venv/run  ## kill a training two thousand times, and compare its end (ARGS="--kills 10000")
	@OMP_NUM_THREADS=1 $(BIN)/python tools/soak.py $(ARGS)

fuzz: .venv/dev  ## bent files for the readers, ten minutes each of png, idx and tar (ARGS="png --seconds 60")
	@OMP_NUM_THREADS=1 $(BIN)/python tools/fuzz.py $(ARGS)

clean:  ## remove all that the other targets made
	rm -rf .venv node_modules build dist student *.egg-info _proc _docs .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("needs CPython 3.11 or newer, found " + sys.version.split()[0] + "; try: make PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv

.venv/run: .venv/bin/python constraints.txt settings.ini setup.py
	$(PIP) -e .
	@touch $@

.venv/dev: .venv/bin/python constraints.txt settings.ini setup.py package-lock.json
	$(PIP) -e '.[dev]'
	PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent --no-audit --no-fund
	@touch $@ .venv/run
