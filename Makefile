# One environment for everything, made when it is missing or when what it is made from has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint fresh docs clean

demo: $(READY)  ## compress the embedded model and measure what that cost
	$(BIN)/llmc demo --out demo --overwrite

test: $(READY)  ## the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fresh:  ## an installation with the newest of everything, tried out
	.ci/fresh

docs: $(READY)  ## the generated tables of the docs
	$(BIN)/python -m tests.generated_docs --write

clean:
	rm -rf $(VENV) .fresh demo build dist *.egg-info

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("llmc needs Python 3.10 or newer") if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)
