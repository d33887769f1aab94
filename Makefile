# reweight: `make help` lists the targets.
.DEFAULT_GOAL := help
PYTHON311 ?= python3.11
VENV := .venv
VENV35 := .venv35
VENV_DOCS := .venv-docs
VENV4X := .venv4x
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.made
DATA ?= ../shared/data
ARGS ?=
KILLS ?= 50
RUNS ?= $(KILLS)
LOGS ?= 20
SEEDS ?= 3
# Number of test processes, each with its own JVM.
JOBS ?= 2
# Which tests share a process, and their order, is decided in tests/conftest.py.
SPREAD = -n $(JOBS) --dist loadscope --no-loadscope-reorder
TESTS = -m pytest -m "not cluster and not faults and not connect" $(SPREAD) $(ARGS)
REAL := online_retail online_shoppers open_bandit otto
DOMAINS := news health customer_service search finance education social
TWO_RANKERS := ranking=null 'rankers=[{ranker: logistic_regression, tol: 1e-4}, {ranker: lightgbm}]'
REAL_CONDITIONS := retail_late shoppers_months bandit_policy olist_funnel

# What a client of Spark Connect needs besides, as in the extra `connect`.
CONNECT := build/connect
CONNECT_PACKAGES := $(shell sed -n '/^connect = \[/,/^\]/s/.*"\(.*\)".*/\1/p' pyproject.toml)

# The archive for a cluster. Level 1 compresses twice as fast as level 6 and is 3 % larger.
ARCHIVE := dist/reweight-env.tar.gz
PACKED := build/package
COMPRESS ?= 1
PYTHON_PREFIX ?=
WHEELS := build/wheel/*.whl
# uv takes a third of the time of pip, which may know a mirror that uv does not. Both compile what they
# install: where PYTHONDONTWRITEBYTECODE is set, every process would compile torch again, for seconds.
PIP = -m pip install --quiet --disable-pip-version-check
install = $(1)/bin/python $(PIP) uv && $(1)/bin/python -m uv pip install --quiet \
  --compile-bytecode --python $(1)/bin/python -r $(2) || $(1)/bin/python $(PIP) -r $(2)
# In a fresh folder: the builder would include files that an earlier build left.
WHEEL = rm -rf build/lib build/wheel && \
  $(PYTHON) -m pip wheel --quiet --no-deps --no-build-isolation -w build/wheel .
SOURCES := $(shell find lib/reweight -name '*.py' -o -path '*/templates/*' -type f)

.PHONY: help setup demo daily-demo test test-fast test-cluster test-connect test-spark35 test-spark4x faults clean-logs check real domains perf perf-large bench bench-sizes bench-real bench-detection docs notebooks package lock audit clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

setup: $(STAMP)  ## create .venv with the pinned dependencies, and install Java if needed

$(VENV)/.made: requirements.lock
$(VENV35)/.made: requirements-spark35.lock
$(VENV4X)/.made: requirements-spark4x.lock
$(VENV)/.made $(VENV35)/.made $(VENV4X)/.made: pyproject.toml conf/spark/local.conf scripts/spark_defaults.py
	@$(PYTHON311) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "'$(PYTHON311)' is not Python 3.11: install it, or give its path:"; \
	  echo "  make $(MAKECMDGOALS) PYTHON311=/path/to/python3.11"; exit 1; }
	@sh scripts/ensure_java.sh
	@echo "installing $(filter %.lock,$^) into $(@D): no output, 1 to 3 minutes, 6 GB"
	@$(PYTHON311) -m venv $(@D)
	@$(call install,$(@D),$(filter %.lock,$^))
	@$(@D)/bin/python $(PIP) --no-deps --no-build-isolation -e .
	@$(@D)/bin/python -m compileall -q lib
	@$(@D)/bin/python scripts/spark_defaults.py conf/spark/local.conf
	@touch $@

demo: setup  ## run the pipeline on a simulated log, with two rankers; ARGS="key=value ..." overrides conf/demo.yaml
	$(PYTHON) jobs/pipeline.py conf/demo.yaml $(TWO_RANKERS) $(ARGS)

daily-demo: setup  ## thirty simulated days: a run over the first twenty, then ten days one by one, watched
	$(PYTHON) jobs/pipeline.py conf/daily_reference.yaml $(ARGS)
	$(PYTHON) jobs/daily.py conf/daily_demo.yaml --from 2026-01-21 --to 2026-01-30 $(ARGS)
	@# A status from 10 on is an alarm, as there should be here.
	$(PYTHON) jobs/monitor.py conf/daily_demo.yaml --from 2026-01-21 --to 2026-01-30 $(ARGS) || test $$? -ge 10
	$(PYTHON) jobs/promote.py conf/daily_reference.yaml run_id=live --challenger reference $(ARGS)

test: setup  ## run all tests that need one machine; ARGS="tests/training" runs some
	$(PYTHON) $(TESTS)

test-fast: setup  ## run the tests that need no JVM
	@# A thread for each process: with one per core, they wait for one another.
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -m "unit and not long" $(SPREAD) $(ARGS)

test-cluster: setup  ## run the pipeline on clusters of several executors on this machine
	$(PYTHON) -m pytest -m cluster -n 1 $(ARGS)

test-connect: setup $(CONNECT)/.made  ## run everything on a real server of Spark Connect on this machine
	@# The other file there is a shorter part of this.
	PYTHONPATH=$(abspath $(CONNECT)) $(PYTHON) -m pytest tests/connect/test_connect.py -n 0 $(ARGS)

$(CONNECT)/.made: pyproject.toml
	@rm -rf $(CONNECT)
	@$(PYTHON) $(PIP) --no-deps --target $(CONNECT) \
	  $(CONNECT_PACKAGES)
	@touch $@

test-spark35: $(VENV35)/.made  ## run the tests on Spark 3.5, as in Databricks 15.4 LTS
	$(VENV35)/bin/python $(TESTS)

test-spark4x: $(VENV4X)/.made  ## run the tests on the newest Spark, without Petastorm
	$(VENV4X)/bin/python $(TESTS)

faults: setup  ## kill the pipeline at KILLS=50 random moments, spread over RUNS=KILLS runs, and compare the results
	REWEIGHT_KILLS=$(KILLS) REWEIGHT_RUNS=$(RUNS) $(PYTHON) -m pytest tests/faults -n $(JOBS) --dist worksteal $(ARGS)

clean-logs: setup  ## simulate LOGS=20 logs without faults; diagnose may find nothing in them
	REWEIGHT_CLEAN_LOGS=$(LOGS) $(PYTHON) -m pytest tests/diagnose/test_diagnose.py -k nothing_is_visible

check: setup  ## check format, lint, types and import directions
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check --no-cache .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

real: setup  ## run the pipeline on four real logs in DATA=../shared/data and print one table
	@for name in $(REAL); do \
	  $(PYTHON) jobs/pipeline.py conf/$$name.yaml data_dir=$(DATA) $(ARGS) || exit 1; done
	@$(PYTHON) jobs/summary.py $(REAL:%=conf/%.yaml) data_dir=$(DATA) $(ARGS)

domains: setup  ## run the pipeline on a simulated log of each domain and print one table
	@for name in $(DOMAINS); do \
	  $(PYTHON) jobs/pipeline.py conf/domains/$$name.yaml $(ARGS) || exit 1; done
	@$(PYTHON) jobs/summary.py $(DOMAINS:%=conf/domains/%.yaml) $(ARGS)

perf: setup  ## measure performance ratios and write build/perf/perf.html
	$(PYTHON) -m tests.perf $(ARGS)

perf-large: setup  ## the same, on the largest log that a small machine can handle
	$(PYTHON) -m tests.perf --large $(ARGS)

bench-detection: setup  ## benchmark: which methods find wrong labels, on public tables in DATA; SEEDS=25 as published
	$(PYTHON) jobs/benchmark.py conf/benchmark/published.yaml data_dir=$(DATA) benchmark.seeds=$(SEEDS) $(ARGS)

bench: setup  ## benchmark: which weights help the ranker, in simulated worlds with known truth
	@for name in conditions delays order rankers; do \
	  $(PYTHON) jobs/conditions.py conf/benchmark/$$name.yaml $(ARGS) || exit 1; done

bench-sizes: setup  ## the same by size, up to a million samples: from which size weights pay; an hour
	$(PYTHON) jobs/conditions.py conf/benchmark/sizes.yaml $(ARGS)
	$(PYTHON) jobs/conditions.py conf/benchmark/sizes_delays.yaml $(ARGS)

bench-real: setup  ## the same, on real logs in DATA: late labels, labels that may never settle, a later month, another policy
	@for name in $(REAL_CONDITIONS); do \
	  $(PYTHON) jobs/pipeline.py conf/benchmark/$$name.yaml data_dir=$(DATA) $(ARGS) || exit 1; done
	@$(PYTHON) jobs/summary.py $(REAL_CONDITIONS:%=conf/benchmark/%.yaml) data_dir=$(DATA) $(ARGS)

docs: $(VENV_DOCS)/.made  ## build the docs into build/docs, without importing the library
	@NO_MKDOCS_2_WARNING=1 $(VENV_DOCS)/bin/mkdocs build --quiet --strict --clean
	@echo build/docs/index.html

$(VENV_DOCS)/.made: requirements-docs.lock
	@echo "installing $< into $(@D): no output, about half a minute, 170 MB"
	@$(PYTHON311) -m venv --clear $(@D)
	@$(@D)/bin/python $(PIP) -r $<
	@touch $@

notebooks:  ## write the notebooks for Jupyter, next to their sources
	@$(PYTHON311) scripts/ipynb.py notebooks notebooks/*.py

package: $(ARCHIVE)  ## pack the library and its dependencies for cluster workers (conf/spark)

# A fresh environment with the locked versions, without the developer tools.
$(PACKED)/.made: requirements.lock pyproject.toml | $(STAMP)
	@echo "installing the packages of workers into $(PACKED): no output, about 3 minutes, 6 GB"
	@$(PYTHON311) -m venv --clear --without-pip $(PACKED)
	@$(WHEEL)
	@$(PYTHON) -m pip --python $(PACKED)/bin/python install --quiet -c requirements.lock \
	  "$$(echo $(WHEELS))[petastorm]"
	@touch $@

# Spark's jars are left out: a cluster has its own. The temporary file is in the archive's folder, so
# that the finished archive appears at once.
$(ARCHIVE): $(PACKED)/.made $(SOURCES)
	@$(WHEEL)
	@$(PYTHON) -m pip --python $(PACKED)/bin/python install --quiet --no-deps --force-reinstall \
	  $(WHEELS)
	@mkdir -p dist
	@echo "packing $@ at level $(COMPRESS): about 3 minutes"
	@TMPDIR=dist $(VENV)/bin/venv-pack --quiet --force --prefix $(PACKED) --output $@ \
	  --compress-level $(COMPRESS) --exclude '*/site-packages/pyspark/jars/*' \
	  $(if $(PYTHON_PREFIX),--python-prefix $(PYTHON_PREFIX))
	@# It gets the wheel's time, so that sources that changed meanwhile make it out of date.
	@touch -r build/wheel/*.whl $@ && ls -lh $@

UV = build/lock/bin/uv pip compile --universal --python-version 3.11 \
  --no-header --no-annotate --no-emit-index-url --no-emit-find-links
LOCK = $(UV) pyproject.toml --extra dev

lock:  ## resolve pyproject.toml into new lock files
	$(PYTHON311) -m venv build/lock && build/lock/bin/pip install --quiet uv
	$(LOCK) --extra petastorm -o requirements.lock
	$(LOCK) --extra petastorm --extra spark35 -o requirements-spark35.lock
	$(LOCK) --extra spark4x -o requirements-spark4x.lock
	$(UV) --group docs -o requirements-docs.lock

audit:  ## check the locked versions for known vulnerabilities
	@$(PYTHON311) -m venv build/audit && build/audit/bin/pip install --quiet pip-audit==2.10.1
	@sh scripts/audit.sh build/audit/bin/pip-audit requirements.lock

clean:  ## remove everything that was built, except the environments
	rm -rf out build dist spark-warehouse metastore_db derby.log
