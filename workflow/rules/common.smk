# Shared by all rules: the typed study, folders, and the code fingerprint every rule carries.
import re
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from alignment_limits.config.load import load_study, over_default
from alignment_limits.errors import AlignmentLimitsError
from alignment_limits.fingerprint import code_fingerprint
from alignment_limits.models.fetch import source_id
from alignment_limits.rewards.load import module_of
from alignment_limits.sampling import plan

# Not `configfile:`, which would mix the default's rewards and sources into a study's own.
DEFAULT = Path(workflow.basedir, "config/config.yaml")
config.update(over_default(yaml.safe_load(DEFAULT.read_text("utf-8")), config))

try:
    STUDY = load_study(
        config, ", ".join(map(str, workflow.overwrite_configfiles)) or str(DEFAULT.name)
    )
except AlignmentLimitsError as error:
    raise WorkflowError(str(error))

BASE = STUDY.model.name
CHUNK = plan.chunk_size(
    STUDY.sampling.shard_tokens, STUDY.sampling.block, STUDY.sampling.max_new_tokens
)
CHUNKS = plan.chunk_names(STUDY.prompts.count, CHUNK)
BLOCKS = plan.block_names(STUDY.sampling.samples_per_prompt, STUDY.sampling.block)
FIGURES = ["frontier", "gold_under_proxies", "reward_distributions"]


wildcard_constraints:
    chunk=r"p\d{5}",
    block=r"b\d{5}",
    reward=r"[a-z0-9][a-z0-9._-]*",
    ensemble=r"[a-z0-9][a-z0-9._-]*",


def results(path):
    """A file of this study."""
    return f"results/{STUDY.study}/{path}"


def code(script, *modules):
    """Fingerprint of a script and all it imports; modules reached dynamically are named."""
    return code_fingerprint(
        str(Path(workflow.basedir, "workflow/scripts", script)), *modules
    )


def fetched(source):
    """Folder of a fetched source, shared by all studies."""
    return f"results/models/fetched/{source_id(source)}"


def shards(pattern):
    """All shards of a pattern with {chunk} and {block}."""
    return expand(results(pattern), chunk=CHUNKS, block=BLOCKS, allow_missing=True)
