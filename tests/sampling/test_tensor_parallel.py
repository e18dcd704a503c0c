"""One model on two workers (`model.tensor_parallel`): vLLM's own, on a CPU."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

# as a script of Snakemake: without a guard for processes that import it again
SCRIPT = """
import json, sys
from pathlib import Path
from alignment_limits.study.sampling import Model, Sampling
from alignment_limits.sampling.shard import Request
from alignment_limits.sampling.vllm_engine import VllmEngine
print("begun", flush=True)
sampling = Sampling(samples_per_prompt=8, block=8, max_new_tokens=12)
out = {}
for workers in (2, 1):
    model = Model.placed({"name": "tiny"}, {"model": {"tensor_parallel": workers}}, sys.argv[1])
    engine = VllmEngine(Path(sys.argv[1]), model, sampling, 32, 2)
    requests = [Request("a", [5, 6, 7], 8, 11), Request("b", [9], 8, 12)]
    found = engine.generate(requests, [2], None)
    out[workers] = {
        "engine": engine.description(),
        "replies": [(c.token_ids, c.logprob) for completions in found for c in completions],
    }
    engine._llm.llm_engine.engine_core.shutdown()
print(json.dumps(out), flush=True)
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Replies of a tiny Llama on two workers and on one, by the number of workers."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llama")
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 32}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 64}
    LlamaForCausalLM(LlamaConfig(**shape, **heads, initializer_range=0.3)).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(256)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(folder)
    script = folder / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, timeout=600, env=os.environ)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert lines.count("begun") == 1  # workers do not run the script again
    return {int(workers): found for workers, found in json.loads(lines[-1]).items()}


def test_two_workers_draw_the_samples_of_one_to_rounding(drawn):
    together, alone = (drawn[workers]["replies"] for workers in (2, 1))
    assert [tokens for tokens, _ in together] == [tokens for tokens, _ in alone]
    np.testing.assert_allclose([p for _, p in together], [p for _, p in alone], atol=1e-4)


def test_the_engine_says_how_the_model_ran(drawn):
    assert [drawn[workers]["engine"]["tensor_parallel"] for workers in (2, 1)] == [2, 1]
    assert drawn[1]["engine"]["attention"] == "CPU_ATTN"
    assert drawn[1]["engine"]["head_dtype"] == "float32"
    assert drawn[1]["engine"]["cuda_graphs"] == "NONE"
