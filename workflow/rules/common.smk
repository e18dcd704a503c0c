# Shared by all rules: the typed study, folders, and the code fingerprint every rule carries.
import functools
import os
import re
import shlex
import sys
from pathlib import Path

import yaml

import alignment_limits
from snakemake.exceptions import WorkflowError
from snakemake.settings.enums import Quietness

from alignment_limits.study.base import by_file_name, file_name
from alignment_limits.study.load import load_study, over_default
from alignment_limits.study.reading import read_study_file
from alignment_limits.study.study import stages
from alignment_limits.study.layout import Layout
from alignment_limits.errors import AlignmentLimitsError
from alignment_limits.files import sweep
from alignment_limits.jobs.fingerprint import code_fingerprint
from alignment_limits.jobs import records
from alignment_limits.report.pages.page import escape_report

# Jobs of one core each must not start a thread per core of their own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# glibc hands large buffers back to the kernel after each layer of a model, which then clears them again: a quarter of
# a score's time on a CPU. Jobs keep them.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**30))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**32))

# Snakemake writes Python's path into shell commands as it is: where it has a space or the like, by PATH.
if shlex.quote(sys.executable) != sys.executable:
    folder, program = os.path.split(sys.executable)
    os.environ["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", "")])
    sys.executable = program

# Whatever a study's text contains, the report runs none of it.
escape_report()

# Where Snakemake has no record of a result, the result's own decides.
records.install()

# Not `configfile:`, which would mix the default's rewards and sources into a study's own. As a module of another
# workflow, this one has the configuration that the other gives it, and no study file of its own.
DEFAULT = Path(workflow.source_path("../../config/config.yaml"))
AS_MODULE = workflow.modifier.namespace is not None
FILES = [] if AS_MODULE else workflow.overwrite_configfiles
GIVEN = dict(config)
config.update(over_default(yaml.safe_load(DEFAULT.read_text("utf-8")), GIVEN))

try:
    STUDY = load_study(
        config,
        ", ".join(map(str, FILES)) or ("config" if AS_MODULE else DEFAULT.name),
        files=[read_study_file(Path(file)) for file in FILES],
        given=GIVEN,
        here=Path.cwd(),
    )
except AlignmentLimitsError as error:
    if Quietness.ALL in (workflow.output_settings.quiet or ()):  # silences errors, too
        print(f"error: {error}", file=sys.stderr)
    raise WorkflowError(str(error))

# What killed jobs left unfinished is removed before the next run.
if workflow.is_main_process and not workflow.dryrun:
    sweep(
        ["results/models", f"results/{STUDY.study}"]
        + ([f"results/shared/{STUDY.base_id}"] if STUDY.model else [])
    )

# What `--sdm conda` makes, and what `--sdm apptainer` runs in: built by `apptainer build cpu.sif envs/cpu.def`. Both have
# the packages of the lock, and take the library itself from here. Only then, as Snakemake would make everything again
# after a change of the file: fingerprints know better which package matters to which rule.
METHODS = {method.name for method in workflow.deployment_settings.deployment_method}
HARDWARE = (
    "light" if STUDY.scores or STUDY.learning else os.environ.get("HARDWARE", "cpu")
)
ENVIRONMENT = f"../../envs/{HARDWARE}.yaml" if "CONDA" in METHODS else None
IMAGE = f"{HARDWARE}.sif" if "APPTAINER" in METHODS else None
if ENVIRONMENT or IMAGE:
    os.environ.setdefault("PIP_NO_DEPS", "1")  # a lock is taken as it is
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [
            str(Path(alignment_limits.__file__).parents[1]),
            os.environ.get("PYTHONPATH", ""),
        ]
    )

# Modules of a cluster that jobs with models load, with --sdm env-modules: MODULES="cuda/13.0 gcc/13"
MODULES = os.environ.get("MODULES", "").split()

# Every stage adds what it makes: tables that the study card lists, and all files that a finished study has.
TABLES = []
MADE = []

# Where files lie, and what rewards and policies are made of; two of its names are needed by every rule.
LAYOUT = Layout(STUDY)
results, shared = LAYOUT.results, LAYOUT.shared


def users(path):
    """A file of the user's own; a module's prefix is for what is made, so there its path is absolute."""
    path = Path(path).expanduser()
    return str(path.absolute() if AS_MODULE else path)


def one_of(names):
    """The constraint of a wildcard that is one of these names; of none, if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def code(script, *modules):
    """Fingerprint of a script and all it imports; modules reached dynamically are named."""
    return code_fingerprint(str(workflow.source_path(f"../scripts/{script}")), *modules)
