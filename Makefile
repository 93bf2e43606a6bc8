# The whole project from a bare machine: Python 3.11 to 3.13 and make.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
ARGS ?= model=small model.diversity=0.9 data.channels=1 trainer=fast trainer.max_epochs=15

# An older processor with another number of threads: libraries take other kernels, whose last bits differ.
OLDER := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 OPENBLAS_CORETYPE=Haswell \
	OMP_NUM_THREADS=2
# Tests of sums of floating-point numbers.
SUMS := anatomy augment average conditioning copies distances diversity features game losses memorisation neighbours \
	numbers penalties layers residual similarity spaces

.DEFAULT_GOAL := help
.PHONY: help install train test test-older test-slow test-long lint tensorboard clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "alzgan: Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + "; use make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check --editable '.[features,test,lint]'
	@touch $@

install: $(VENV)/installed ## build .venv with alzgan in it (once, about 2 minutes, 6 GB)

train: install ## train on procedural brains; make train ARGS='model=small data=mri data.root=DIR'
	@$(RUN) alzgan.train trainer.devices=1 $(ARGS)

test: install ## run all tests but the longer ones, on all cores
	$(RUN) pytest -n auto --dist worksteal -m "not slow and not long"

test-older: install ## run the tests of sums as on a processor with AVX2 alone, on 2 threads
	$(OLDER) $(RUN) pytest -m "not slow and not long" $(SUMS:%=tests/test_%.py)

test-slow: install ## run the tests that take 4 seconds and more
	$(RUN) pytest -n auto --dist worksteal -m "slow and not long"

test-long: install ## run the tests that take minutes
	$(RUN) pytest -m long

lint: install ## check style, formatting and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

tensorboard: install ## watch all runs of outputs/ at http://localhost:6006
	$(RUN) tensorboard.main --logdir outputs --samples_per_plugin images=500

clean: ## remove .venv (runs and caches stay)
	rm -rf $(VENV)
