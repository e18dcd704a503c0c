"""Replies that vLLM draws from every architecture, held to the same as those of transformers; or why it refuses."""

import re
import subprocess
from pathlib import Path

import forked
import polars as pl
import pytest
from test_zoo_sampling import LAWS, check
from zoo import NAMES

from alignment_limits.errors import SamplingError
from alignment_limits.models.tokenizer import load_config
from alignment_limits.sampling.vllm_engine import _started

REFUSED = {
    "bloom": "vLLM does not sample the law of the model in .* the exact GELU for BLOOM's own.*set sampling.engine",
    "gemma-3-wrapped": "its gemma3 wraps a language model together with parts for images, .*torchvision",
}


@pytest.fixture(scope="module")
def out(checkpoint, tmp_path_factory):
    """What one vLLM process says of the whole zoo."""
    out = tmp_path_factory.mktemp("vllm")
    script = Path(__file__).with_name("vllm_zoo.py")
    folders = [str(checkpoint(name)) for name in NAMES]
    run = subprocess.run(forked.command(str(script), str(out), *folders, vllm=True), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return out


@pytest.mark.parametrize("name", [n for n in NAMES if n not in REFUSED])
def test_replies_follow_the_law_end_and_read_as_the_checkpoint_says(checkpoint, out, name):
    for template in LAWS:
        table = pl.read_parquet(out / f"{checkpoint(name).name}.{template}.parquet")
        assert table.height == 64
        check(checkpoint(name), name, template, table)


@pytest.mark.parametrize("name", REFUSED)
def test_what_vllm_cannot_serve_is_refused_with_the_reason(checkpoint, out, name):
    said = (out / f"{checkpoint(name).name}.refused").read_text("utf-8")
    assert re.search(REFUSED[name], said)
    assert not list(out.glob(f"{checkpoint(name).name}.*.parquet"))


def test_the_reason_is_the_one_that_vllm_gives(checkpoint):
    def llm(**options):
        raise ValueError(
            "1 validation error for ModelConfig\n  Value error, Model architectures ['Odd'] are not there\n    For more"
        )

    folder = checkpoint("llama-3")
    with pytest.raises(SamplingError, match=r"on this machine: Model architectures \['Odd'\] are not there; set samp"):
        _started(llm, folder, load_config(folder))
