# make demo and make test are all the set-up that there is: each makes .venv when there is none.
PYTHON ?= python3
BIN := .venv/bin
# Threads that spin for work would take the cores from each other's process.
TESTS := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
# Every process would compile all that it imports again, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: env demo test test-all check release bench bench-quality bench-search bench-faults \
	bench-efficiency bench-registry bench-postgres bench-verdicts bench-budgets \
	bench-objective bench-claims browser screenshots
.DEFAULT_GOAL := help

help:
	@echo "make demo      the whole road on a small store, minutes on two cores"
	@echo "make test      the tests"
	@echo "make test-all  the slow ones too"
	@echo "make check     lint, types, import directions"
	@echo "make release   source distribution and wheel in dist/, the wheel tried on its own"
	@echo "make bench     benchmarks, with their tables in benchmarks/results"
	@echo "make bench-quality  every method with the same search and seeds, about an hour"
	@echo "make bench-budgets  PSNR and kinetic errors after 30, 100 and 600 CPU seconds, 3 hours"
	@echo "make bench-verdicts  false alarms, alarms and intervals of separate, 10 minutes"
	@echo "make bench-objective  what a search should maximise, 20 minutes"
	@echo "make bench-claims   the axes of the paper, each trained on, under an hour"
	@echo "make bench-search   what searching costs beside training, and with 5,000 trials"
	@echo "make bench-faults   30 random kills of searches, and what is left of them"
	@echo "make bench-postgres  200 searches that report at once to a server, a minute"
	@echo "make bench-efficiency  how soon searches get there, simulated on kept curves, minutes"
	@echo "make bench-registry  what the gate lets through, what promotion takes, and 30 kills of it"
	@echo "make browser   Chromium from the distribution, for the tests of MLflow's page (as root)"
	@echo "make screenshots  of MLflow's page, for the documentation"
	@echo "make env       only make .venv"

env: .venv/made

.venv/made: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dtsinn needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
# A module is compiled when it is first imported: most of what is installed never is.
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[platform,dev]'
	touch $@

demo: env
	$(BIN)/dtsinn demo

test: env
	$(TESTS)

test-all: env
	$(TESTS) -m ''

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

release: env
	.ci/release

bench: env
	set -e; for name in reading roundtrip ablation conditioning memory speed; do \
		$(BIN)/python -m benchmarks $$name; done

bench-quality: env
	$(BIN)/python -m benchmarks quality

bench-budgets: env
	$(BIN)/python -m benchmarks budgets

bench-verdicts: env
	$(BIN)/python -m benchmarks verdicts

bench-objective: env
	$(BIN)/python -m benchmarks objective

bench-claims: env
	$(BIN)/python -m benchmarks claims

bench-search: env
	$(BIN)/python -m benchmarks overhead
	$(BIN)/python -m benchmarks scale

bench-faults: env
	$(BIN)/python -m benchmarks faults

bench-postgres: env
	$(BIN)/python -m benchmarks postgres

bench-efficiency: env
	$(BIN)/python -m benchmarks efficiency

browser:
	apt-get install --yes --no-install-recommends chromium

screenshots: env
	SCREENSHOTS=docs/images $(BIN)/pytest tests/integration/test_browser.py

bench-registry: env
	set -e; for name in seconds page kills power; do $(BIN)/python -m benchmarks $$name; done
