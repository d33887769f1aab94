# reweight: `make help` lists what can be made.
.DEFAULT_GOAL := help
PYTHON311 ?= python3.11
VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.made
DATA ?= ../shared/data
ARGS ?=
REAL := online_retail online_shoppers open_bandit otto

.PHONY: help setup demo test check real lock clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)  ## create .venv with the pinned dependencies, and make sure of Java

$(STAMP): requirements.lock pyproject.toml conf/spark/local.conf
	@$(PYTHON311) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 is needed and '$(PYTHON311)' is none: install it, or say where it is:"; \
	  echo "  make $(MAKECMDGOALS) PYTHON311=/path/to/python3.11"; exit 1; }
	@sh scripts/ensure_java.sh
	$(PYTHON311) -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@# A bare `spark-submit` of this environment starts with Delta: its defaults are ours.
	@home=$$($(PYTHON) -c 'import pathlib, pyspark; print(pathlib.Path(pyspark.__file__).parent)') && \
	  mkdir -p $$home/conf && cp conf/spark/local.conf $$home/conf/spark-defaults.conf
	@touch $@

demo: setup  ## run the whole line on a simulated log; ARGS="key=value ..." overrides conf/demo.yaml
	$(PYTHON) jobs/pipeline.py conf/demo.yaml $(ARGS)

test: setup  ## run all tests
	$(PYTHON) -m pytest

check: setup  ## format, lint, types, direction of imports
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

real: setup  ## run the four real logs in DATA=../shared/data and print one table
	@for name in $(REAL); do \
	  $(PYTHON) jobs/pipeline.py conf/$$name.yaml data_dir=$(DATA) $(ARGS) || exit 1; done
	@$(PYTHON) jobs/summary.py $(REAL:%=conf/%.yaml) data_dir=$(DATA) $(ARGS)

lock:  ## resolve pyproject.toml anew into requirements.lock
	$(PYTHON311) -m venv build/lock && build/lock/bin/pip install --quiet uv
	build/lock/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements.lock

clean:  ## remove what was made, but for .venv
	rm -rf out build spark-warehouse metastore_db derby.log
