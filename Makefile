# Needs Python 3.11 or newer and a Python package index, and installs everything else in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help train demo test check report clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*  ## /  make \1\t/p' Makefile | expand -t 16

train: $(VENV)/installed  ## train and evaluate a small adaptive net on synthetic images
	$(BIN)/python -m jaxcifar.train --config=configs/quickstart.py
	$(BIN)/python -m jaxcifar.evaluate --checkpoint=checkpoints/quickstart
	@echo
	@echo "Next, train on the real CIFAR-10 (set JAXCIFAR_DATA to a local copy, or let it download):"
	@echo "  $(BIN)/python -m jaxcifar.train --config=configs/simple_cnn.py:augment"

demo: $(VENV)/installed  ## classify ten drawings with released weights
	$(BIN)/python -m jaxcifar.predict --checkpoint=checkpoints/released/simple_cnn_batchnorm docs/demo
	@echo
	@echo "The net was trained on photographs; docs/demo/draw.py made these drawings."

test: $(VENV)/installed-dev  ## run the tests in two processes; tests on real data need JAXCIFAR_DATA
	$(BIN)/python -m pytest -n 2 --dist=worksteal

check: $(VENV)/installed-dev  ## run the formatter, the linter and the type checker
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

report: $(VENV)/installed  ## write report.html, a page of all claims
	$(BIN)/python -m jaxcifar.report --study=results

clean:  ## remove the environment and the caches
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache .mypy_cache

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
