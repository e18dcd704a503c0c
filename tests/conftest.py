"""A tiny real language model on disk, made once: random weights, a byte-level vocabulary."""

import functools
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# what `make test` was given is not for the commands under test
for variable in ("ARGS", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "STUDY"):
    os.environ.pop(variable, None)

# as for jobs (workflow/rules/common.smk), of which some are forks of a process that has loaded torch already
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Where tests run in several processes, those of one file stay together, as they share what it made, and so do
# these. The longest come first, so that no process has a long one left at the end; Slurm's, which mostly wait, early.
TOGETHER = {
    "here": "from running import .*snakemake",  # one Snakemake at a time in the project's own folder
    "slurm": "mark.slurm",
    "every": "def test_a_study_is_made_and_reported",
    "faults": "from faulty import",
    "tiny": r"def .*\bfinished\b",
    "vllm": r"vllm=True|def .*\bgate\)",  # one process loads vLLM, and is forked
}


@functools.cache
def _group(file):
    source = Path(ROOT, file).read_text("utf-8")
    return next((group for group, pattern in TOGETHER.items() if re.search(pattern, source)), file)


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):
        order = [*TOGETHER]
        groups = {item: _group(item.location[0]) for item in items}
        items.sort(key=lambda item: order.index(groups[item]) if groups[item] in order else len(order))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    # xdist's own --dist=loadgroup (3.8.0) finds no groups under pytest 9.2
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return _group(nodeid.split("::")[0])

    config.option.loadscopereorder = False
    return ByGroup(config, log)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from tokenizers.decoders import ByteLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {c: i for i, c in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template="{% for m in messages %}<s>{{ m['content'] }}{% endfor %}",
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.3,
    )
    folder = tmp_path_factory.mktemp("tiny") / "model"
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
