# Needs Python 3.11 or newer and a package index; everything else is made here.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: train demo test check report clean

train: $(VENV)/installed  ## train, then evaluate, a small adaptive net on synthetic data
	$(BIN)/python -m jaxcifar.train --config=configs/quickstart.py
	$(BIN)/python -m jaxcifar.evaluate --checkpoint=checkpoints/quickstart
	@echo
	@echo "Next, on the real CIFAR-10 (point JAXCIFAR_DATA at a copy, or let it be downloaded):"
	@echo "  $(BIN)/python -m jaxcifar.train --config=configs/simple_cnn.py:augment"

demo: $(VENV)/installed  ## what released weights say of ten drawings
	$(BIN)/python -m jaxcifar.predict --checkpoint=checkpoints/released/simple_cnn_batchnorm docs/demo
	@echo
	@echo "The weights have seen photographs; these are drawings, made by docs/demo/draw.py."

test: $(VENV)/installed-dev  ## the tests, in two processes; those on the real data need JAXCIFAR_DATA
	$(BIN)/python -m pytest -n 2 --dist=worksteal

check: $(VENV)/installed-dev  ## formatter, linter, type checker
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

report: $(VENV)/installed  ## a page to look at, of the claims: report.html
	$(BIN)/python -m jaxcifar.report --study=results

clean:
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache .mypy_cache

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
