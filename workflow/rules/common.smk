# Shared by all rules: the typed study, folders, and the code fingerprint of each rule.
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
from snakemake.settings.types import SharedFSUsage

from alignment_limits.study.base import by_file_name, file_name
from alignment_limits.study.load import load_study, over_default
from alignment_limits.study.load import read_study_file
from alignment_limits.study.study import stages
from alignment_limits.study.layout import Layout
from alignment_limits.study.memory import Memory
from alignment_limits.errors import AlignmentLimitsError
from alignment_limits.files import sweep
from alignment_limits.jobs.fingerprint import code_fingerprint
from alignment_limits.jobs import records
from alignment_limits.jobs.leases import per_job, visible_gpus
from alignment_limits.report.pages.page import caption, escape_report

# Jobs with one core must not start one thread per core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Threads that wait for others must not spin: on a busy machine, that takes most of the time of a sample.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# glibc returns large buffers to the kernel after each layer of a model, and the kernel then clears them again. This is
# a quarter of the time of a score on a CPU, so jobs keep the buffers.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**30))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**32))

# Snakemake writes Python's path unquoted into shell commands. If the path contains a space or the like, use PATH
# instead.
if shlex.quote(sys.executable) != sys.executable:
    folder, program = os.path.split(sys.executable)
    os.environ["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", "")])
    sys.executable = program

# The report runs nothing that the text of a study contains.
escape_report()

# If Snakemake has no record of a result, the result's own record decides.
records.install()

# Not `configfile:`, which would mix the default's rewards and sources with a study's own. As a module of another
# workflow, this workflow uses the configuration that the other one passes, and no study file.
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
    if Quietness.ALL in (workflow.output_settings.quiet or ()):  # silences errors too
        print(f"error: {error}", file=sys.stderr)
    raise WorkflowError(str(error))

# Remove the unfinished files of killed jobs before the next run.
if workflow.is_main_process and not workflow.dryrun:
    sweep(
        ["results/models", f"results/{STUDY.study}"]
        + ([f"results/shared/{STUDY.base_id}"] if STUDY.model or STUDY.samples else [])
    )

# The environment that `--sdm conda` creates, and the image that `--sdm apptainer` uses (`apptainer build cpu.sif
# envs/cpu.def`). Both contain the packages of the lock and use the library of this folder. They are set only with
# `--sdm`, because otherwise Snakemake would run everything again after a change of the file. Fingerprints state more
# precisely which package matters to which rule.
METHODS = {method.name for method in workflow.deployment_settings.deployment_method}
HARDWARE = (
    "light" if STUDY.scores or STUDY.learning else os.environ.get("HARDWARE", "cpu")
)
ENVIRONMENT = f"../../envs/{HARDWARE}.yaml" if "CONDA" in METHODS else None
IMAGE = f"{HARDWARE}.sif" if "APPTAINER" in METHODS else None
if ENVIRONMENT or IMAGE:
    os.environ.setdefault("PIP_NO_DEPS", "1")  # install exactly the lock
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [
            str(Path(alignment_limits.__file__).parents[1]),
            os.environ.get("PYTHONPATH", ""),
        ]
    )

# GPUs of a job that loads a model, and its cores. On one machine the jobs share its GPUs and cores (jobs/leases.py). On a
# cluster (`jobs:` in the profile) every node is taken to have GPUs; the profile can say otherwise, rule by rule.
HERE = workflow.is_main_process and workflow.resource_settings.nodes is None
GPU = per_job(HARDWARE if METHODS else None, here=HERE)
GPUS = len(visible_gpus()) if GPU and HERE else GPU
CORES = max(1, (workflow.resource_settings.cores or 1) // max(1, GPUS))
if GPU and HERE and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", GPUS)

# Cluster modules for jobs with models, used with --sdm env-modules: MODULES="cuda/13.0 gcc/13"
MODULES = os.environ.get("MODULES", "").split()

# Every stage adds its outputs: to TABLES those that the study card lists, to MADE all files of a finished study.
TABLES = []
MADE = []

# Paths of files, and the parts of rewards and policies. Every rule needs two of its names.
LAYOUT = Layout(STUDY)
results, shared = LAYOUT.results, LAYOUT.shared

# Host memory of jobs with models, from the sizes of their files
MEMORY = Memory(LAYOUT, GPU)
# GPUs of a job that samples
SAMPLERS = GPU * STUDY.model.tensor_parallel if STUDY.model else GPU


# links to shards lead somewhere only where jobs share a file system
LINKED = SharedFSUsage.INPUT_OUTPUT in workflow.storage_settings.shared_fs_usage


def users(path):
    """A file of the user, which is in no storage. In a module its path is absolute: the prefix is for outputs."""
    path = Path(path).expanduser()
    return local(str(path.absolute() if AS_MODULE else path))


def all_files(path):
    """A file, or all files of a folder."""
    if not Path(path).is_dir():
        return [path]
    return sorted(users(file) for file in Path(path).rglob("*") if file.is_file())


def one_of(names):
    """A wildcard constraint that matches one of these names, or nothing if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def code(script, *modules):
    """Fingerprint of a script and all that it imports; modules that are imported dynamically must be named."""
    return code_fingerprint(str(workflow.source_path(f"../scripts/{script}")), *modules)
