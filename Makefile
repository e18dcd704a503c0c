# Two commands do everything: `make study` and `make test`. Each sets up what it needs, once.
SHELL := /bin/bash
# a Python 3.11; where there is none, uv brings it
export PYTHON ?= python3.11
# cpu or cuda: chosen by what the machine has; override with `make study HARDWARE=cpu`. light: no models (envs/light.in)
HARDWARE ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU && echo cuda || echo cpu)
# another study: `make study STUDY=config/studies/small.yaml`
STUDY ?=
# taken as it is, and handed to programs as one word: nothing of a path or a study file is for the shell
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
# what makes nothing, so that there is nothing to report
DRY = $(filter -n% --dry-run --dryrun --unlock,$(ARGS))
# wheels that lie in a local folder, if pip has been told of one
LOCAL_WHEELS := $(if $(PIP_FIND_LINKS),--find-links "$(PIP_FIND_LINKS)")
# the index of CPU builds where torch is not a local wheel
TORCH_cpu := $(if $(PIP_FIND_LINKS),,--torch-backend=cpu)

.PHONY: whole fitting help study test quick report plan why verify adopt timeline check format lock schema docs setup clean
help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

study: fitting  ## run a study: figures, tables and a report in results/<study>
	@$(WHERE) >/dev/null
	@$(if $(PROFILE),$(SNAKEMAKE) preflights)
	@$(SNAKEMAKE) || { $(RESULTS) echo "stopped: errors are above; each job's log is in $$results/logs, the listing in .snakemake/log"; exit 1; }
	@$(if $(DRY),,$(REPORT) && $(PLACES))

test: whole  ## pass all tests (the small study with real models included)
	@$(BIN)/pytest $(ARGS)

# light: neither models nor studies; what CI runs besides takes minutes
LIGHT_TESTS := tests/study tests/commands tests/tables tests/report tests/preferences tests/limits/test_frontier.py $(wildcard tests/test_*.py)
quick: whole check  ## formatting, lint, types and the light tests, in a minute and a half
	@$(BIN)/pytest --numprocesses=2 $(LIGHT_TESTS) $(ARGS)

report: fitting  ## write the report of a finished study again
	@$(REPORT) && $(PLACES)

plan: fitting  ## how many prompts and samples a study needs, with this one as its pilot
	@$(BIN)/alignment-limits plan $(RUN)

why: fitting  ## say what would run again, and why
	@$(BIN)/alignment-limits why $(FILE) $(ARGS)

verify: fitting  ## derive the checksums of a finished study again, and name what drifted
	@$(RESULTS) $(BIN)/alignment-limits verify "$$results" --plan $(FILE) $(ARGS)

adopt: fitting  ## take over results that were copied here, or that lost .snakemake, if they are as they were made
	@$(BIN)/alignment-limits adopt

timeline: fitting  ## draw when each job of a finished study ran, and what the workflow itself cost
	@$(RESULTS) $(BIN)/alignment-limits timeline "$$results"

check: whole  ## formatting, lint and types, changing nothing
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/snakefmt --check Snakefile workflow/Snakefile workflow/rules
	@$(BIN)/mypy

format: whole  ## format everything
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .
	@$(BIN)/snakefmt Snakefile workflow/Snakefile workflow/rules

schema: whole  ## renew config/schema.json after a change of the study's types
	@$(BIN)/alignment-limits schema > config/schema.json

docs:  ## build the documentation site into site/
	@bash envs/setup.sh docs
	@NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --quiet --strict $(ARGS) && echo "documentation: $$PWD/site/index.html (for its search: python3 -m http.server -d site)"

setup: whole  ## only set up .venv

# .venv: whole for this hardware; for a study without models the light one will do
whole:
	@bash envs/setup.sh $(HARDWARE)
fitting:
	@bash envs/setup.sh $(HARDWARE) "$$STUDY"

# versions stay as they are unless asked: make lock ARGS=--upgrade
COMPILE := $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --override envs/overrides.txt
lock:  ## renew the locks in envs/, and the conda and Apptainer files made from them
	@bash envs/setup.sh uv
	@$(COMPILE) --override envs/cpu-overrides.txt $(LOCAL_WHEELS) $(TORCH_cpu) $(ARGS) envs/cpu.in -o envs/cpu.lock
	@$(COMPILE) --python-platform linux $(ARGS) envs/cuda.in -o envs/cuda.lock
	@$(COMPILE) --constraint envs/cpu.lock $(ARGS) envs/light.in -o envs/light.lock
	@$(COMPILE) $(ARGS) envs/docs.in -o envs/docs.lock
	@$(BIN)/python envs/derive.py envs/cpu.lock envs/cuda.lock envs/light.lock

clean:  ## remove .venv (results stay)
	@rm -rf .venv
