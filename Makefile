# Two commands do everything: `make study` and `make test`. Each sets up what it needs, once.
SHELL := /bin/bash
PYTHON ?= python3.11
# cpu or cuda: chosen by what the machine has; override with `make study HARDWARE=cpu`
HARDWARE ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU && echo cuda || echo cpu)
# another study: `make study STUDY=config/studies/small.yaml`
STUDY ?=
# taken as it is, and handed to programs as one word: nothing of a path or a study file is for the shell
override export STUDY := $(value STUDY)
CORES ?= all
# through Slurm: `make study PROFILE=slurm` (docs/slurm.md)
PROFILE ?=
ARGS ?=

BIN := .venv/bin
LOCK := envs/$(HARDWARE).lock
INSTALLED := .venv/installed-$(HARDWARE)-$(shell cat $(LOCK) pyproject.toml 2>/dev/null | sha256sum | cut -c1-12)
FILE := $(if $(STUDY),--configfile "$$STUDY")
WHERE := $(BIN)/python -m alignment_limits.config.where
# the folder of the study's results, from its validated name; a bad study file ends the target with a message
RESULTS := results=$$($(WHERE)) &&
HERE := --cores $(CORES)
THROUGH_SLURM = --workflow-profile $(PROFILE) --slurm-jobname-prefix "$$($(WHERE) --slurm)"
SNAKEMAKE = $(BIN)/snakemake $(if $(PROFILE),$(THROUGH_SLURM),$(HERE)) $(FILE) $(ARGS)
REPORT = $(RESULTS) $(BIN)/snakemake $(HERE) $(FILE) $(ARGS) --report "$$results/report.html"
# wheels that lie in a local folder, if pip has been told of one
LOCAL_WHEELS := $(if $(PIP_FIND_LINKS),--find-links "$(PIP_FIND_LINKS)")
# the index of CPU builds where torch is not a local wheel
TORCH_cpu := $(if $(PIP_FIND_LINKS),,--torch-backend=cpu)

.PHONY: help study test report plan why verify timeline check format lock schema setup clean
help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

study: $(INSTALLED)  ## run a study: figures, tables and a report in results/<study>
	@$(WHERE) >/dev/null
	@$(if $(PROFILE),$(SNAKEMAKE) preflights)
	@$(SNAKEMAKE)
	@$(REPORT) --quiet all && echo "report: $$results/report.html"

test: $(INSTALLED)  ## pass all tests (the small study with real models included)
	@$(BIN)/pytest $(ARGS)

report: $(INSTALLED)  ## write the report of a finished study again
	@$(REPORT)

plan: $(INSTALLED)  ## how many prompts and samples a study needs, with this one as its pilot
	@$(SNAKEMAKE) --forcerun plan --until plan plan

why: $(INSTALLED)  ## say what would run again, and why
	@$(BIN)/python -m alignment_limits.why $(FILE) $(ARGS)

verify: $(INSTALLED)  ## derive the checksums of a finished study again, and name what drifted
	@$(RESULTS) $(BIN)/python -m alignment_limits.verify "$$results"

timeline: $(INSTALLED)  ## draw when each job of a finished study ran, and what the workflow itself cost
	@$(RESULTS) $(BIN)/python -m alignment_limits.timeline "$$results"

check: $(INSTALLED)  ## formatting, lint and types, changing nothing
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/snakefmt --check Snakefile workflow/rules
	@$(BIN)/mypy

format: $(INSTALLED)  ## format everything
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .
	@$(BIN)/snakefmt Snakefile workflow/rules

schema: $(INSTALLED)  ## renew config/schema.json after a change of the study's types
	@$(BIN)/python -m alignment_limits.config.schema > config/schema.json

setup: $(INSTALLED)  ## only set up .venv

$(INSTALLED): | $(BIN)/uv
	@echo "setting up .venv for $(HARDWARE) (once; a minute or two)"
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python $(LOCAL_WHEELS) $(TORCH_$(HARDWARE)) $(LOCK)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@rm -f .venv/installed-* && touch $@

$(BIN)/uv:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 (the CPU build of torch is for 3.11) or say make PYTHON=…"; exit 1; }
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check "$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' envs/common.in)"

# versions stay as they are unless asked: make lock ARGS=--upgrade
COMPILE := $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --override envs/overrides.txt
lock: $(BIN)/uv  ## renew the locks in envs/, and the conda and Apptainer files made from them
	@$(COMPILE) --override envs/cpu-overrides.txt $(LOCAL_WHEELS) $(TORCH_cpu) $(ARGS) envs/cpu.in -o envs/cpu.lock
	@$(COMPILE) --python-platform linux $(ARGS) envs/cuda.in -o envs/cuda.lock
	@$(BIN)/python envs/derive.py envs/cpu.lock envs/cuda.lock

clean:  ## remove .venv (results stay)
	@rm -rf .venv
