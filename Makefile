# Two commands are enough: `make study` and `make test`. The first call of each installs what it needs.
SHELL := /bin/bash
# a Python 3.11; if there is none, uv downloads it
export PYTHON ?= python3.11
# cpu or cuda, depending on the machine; override with `make study HARDWARE=cpu`. light: no models (envs/light.in)
HARDWARE ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU && echo cuda || echo cpu)
# another study: `make study STUDY=config/studies/small.yaml`
STUDY ?=
# used literally and passed to programs as one word: the shell interprets nothing of a path or a study file
override export STUDY := $(value STUDY)
CORES ?= all
# through Slurm: `make study PROFILE=slurm` (docs/clusters.md)
PROFILE ?=
ARGS ?=

BIN := .venv/bin
FILE := $(if $(STUDY),--configfile "$$STUDY")
WHERE := $(BIN)/alignment-limits where
# the folder of the study's results, from its validated name; a bad study file ends the target with a message
RESULTS := results=$$($(WHERE)) &&
HERE := --cores $(CORES)
THROUGH_SLURM = --workflow-profile $(PROFILE) --slurm-jobname-prefix "$$($(WHERE) --slurm)"
RUN = $(if $(PROFILE),$(THROUGH_SLURM),$(HERE)) $(FILE) $(ARGS)
SNAKEMAKE = $(BIN)/snakemake --logger brief $(RUN)
REPORT = $(RESULTS) $(BIN)/snakemake --logger brief $(HERE) $(FILE) $(ARGS) --report "$$results/report.html" --report-stylesheet workflow/report/report.css
PLACES = printf '%s\n' "report:  $$results/report.html" "figures: $$results/figures" "tables:  $$results, logs: $$results/logs"
# options with which nothing runs, so that there is nothing to report
DRY = $(filter -n% --dry-run --dryrun --unlock,$(ARGS))
# wheels from a local folder, if pip is configured for one
LOCAL_WHEELS := $(if $(PIP_FIND_LINKS),--find-links "$(PIP_FIND_LINKS)")
# the index of CPU builds, unless torch is a local wheel
TORCH_cpu := $(if $(PIP_FIND_LINKS),,--torch-backend=cpu)

.PHONY: whole fitting help study test quick report plan why verify adopt timeline check format lock schema docs setup clean
help:  ## list all targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

study: fitting  ## run a study; figures, tables and a report are in results/<study>
	@$(WHERE) >/dev/null
	@$(if $(PROFILE),$(SNAKEMAKE) preflights)
	@$(SNAKEMAKE) || { $(RESULTS) echo "stopped: errors are above; logs of jobs are in $$results/logs, Snakemake's log is in .snakemake/log"; exit 1; }
	@$(if $(DRY),,$(REPORT) && $(PLACES))

# three processes for two cores, because most tests use one core and some wait
test: whole  ## run all tests, including the small study with real models
	@OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=3 $(ARGS)

# fast tests, without models or studies; the other tests that CI runs take minutes
LIGHT_TESTS := tests/study tests/commands tests/tables tests/report tests/preferences tests/limits/test_frontier.py $(wildcard tests/test_*.py)
quick: whole check  ## check formatting, lint and types, and run the fast tests (a minute and a half)
	@$(BIN)/pytest --numprocesses=2 $(LIGHT_TESTS) $(ARGS)

report: fitting  ## write the report of a finished study again
	@$(REPORT) && $(PLACES)

plan: fitting  ## propose numbers of prompts and samples, with this study as the pilot
	@$(BIN)/alignment-limits plan $(RUN)

why: fitting  ## show what would run again, and why
	@$(BIN)/alignment-limits why $(FILE) $(ARGS)

verify: fitting  ## recompute the checksums of a finished study, and name the files that changed
	@$(RESULTS) $(BIN)/alignment-limits verify "$$results" --plan $(FILE) $(ARGS)

adopt: fitting  ## accept unchanged results that were copied here, or that lost .snakemake
	@$(BIN)/alignment-limits adopt

timeline: fitting  ## draw when each job of a finished study ran, and print the cost of the workflow itself
	@$(RESULTS) $(BIN)/alignment-limits timeline "$$results"

check: whole  ## check formatting, lint and types; change nothing
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/snakefmt --check Snakefile workflow/Snakefile workflow/rules
	@$(BIN)/mypy

format: whole  ## format all files
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .
	@$(BIN)/snakefmt Snakefile workflow/Snakefile workflow/rules

schema: whole  ## write config/schema.json again, after a change of the study's types
	@$(BIN)/alignment-limits schema > config/schema.json

docs:  ## build the documentation site into site/
	@bash envs/setup.sh docs
	@NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --quiet --strict $(ARGS) && echo "documentation: $$PWD/site/index.html (for its search: python3 -m http.server -d site)"

setup: whole  ## only install .venv

# .venv: complete for this hardware (`whole`); the minimal one is enough for a study without models (`fitting`)
whole:
	@bash envs/setup.sh $(HARDWARE)
fitting:
	@bash envs/setup.sh $(HARDWARE) "$$STUDY"

# versions change only with: make lock ARGS=--upgrade
COMPILE := $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --override envs/overrides.txt
lock:  ## write the locks in envs/ again, and the conda and Apptainer files derived from them
	@bash envs/setup.sh uv
	@$(COMPILE) --override envs/cpu-overrides.txt $(LOCAL_WHEELS) $(TORCH_cpu) $(ARGS) envs/cpu.in -o envs/cpu.lock
	@$(COMPILE) --python-platform linux $(ARGS) envs/cuda.in -o envs/cuda.lock
	@$(COMPILE) --constraint envs/cpu.lock $(ARGS) envs/light.in -o envs/light.lock
	@$(COMPILE) $(ARGS) envs/docs.in -o envs/docs.lock
	@$(BIN)/python envs/derive.py envs/cpu.lock envs/cuda.lock envs/light.lock

clean:  ## remove .venv (results are kept)
	@rm -rf .venv
