"""Replies that transformers' engine draws from every architecture: their law, their end and their text."""

import numpy as np
import polars as pl
import pytest
from independent import logprob
from zoo import NAMES

from alignment_limits.errors import PromptError
from alignment_limits.models.tokenizer import load_tokenizer
from alignment_limits.sampling.checks import summarise
from alignment_limits.sampling.shard import render, sample_shard
from alignment_limits.study.base import Source
from alignment_limits.study.sampling import Model, Sampling
from alignment_limits.tables.artifacts import write_table
from alignment_limits.tables.schemas.samples import SAMPLES

TEXTS = ["The hat is in the house.", "a thing and another"]
LAWS = {"none": {"temperature": 1.0}, "chat": {"temperature": 1.2, "top_p": 0.95}}
N = 512  # of each prompt: every stop token ends one of them somewhere
READ = 8  # replies of each prompt whose log-probability is computed again
ENDS = {
    "llama-3": {"<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"},
    "qwen2.5": {"<|im_end|>", "<|endoftext|>"},
    "qwen3": {"<|im_end|>", "<|endoftext|>"},
    "gemma-2": {"<eos>", "<end_of_turn>"},
    "gemma-3": {"<eos>", "<end_of_turn>"},
    "gemma-3-wrapped": {"<eos>", "<end_of_turn>"},
    "mistral": {"</s>"},
    "phi-3": {"<|endoftext|>", "<|assistant|>", "<|end|>"},
    "mixtral": {"<|im_end|>"},
    "qwen3-moe": {"<|im_end|>"},
    "gpt-oss": {"<|return|>", "<|endoftext|>", "<|call|>"},
}


def prompts(folder, template):
    """The table of prompts as a study writes it: rendered once, then sampled."""
    tokenizer = load_tokenizer(folder)
    texts = TEXTS if template == "none" else render(TEXTS, tokenizer)
    return pl.DataFrame({"prompt_id": ["a", "b"], "text": texts})


def sampled(folder, template, engine="transformers", n=N, **options):
    settings = Sampling(engine=engine, samples_per_prompt=n, block=n, max_new_tokens=16, **(LAWS[template] | options))
    model = Model(name="tiny", source=Source(path=str(folder)), context=128)
    return sample_shard(prompts(folder, template), folder, model, settings, template=template, study_seed=0, block=0)[0]


def check(folder, name, template, table):
    """The law, the end and the text of replies, each against what is computed here alone."""
    tokenizer = load_tokenizer(folder)
    texts = dict(prompts(folder, template).iter_rows())
    ends = set(tokenizer.convert_tokens_to_ids(sorted(ENDS.get(name, {"<|endoftext|>"}))))
    for prompt_id, replies in table.sort("prompt_id", "sample_id").group_by("prompt_id", maintain_order=True):
        sent = tokenizer(texts[prompt_id[0]], add_special_tokens=template == "none")["input_ids"]
        few = replies.head(READ)
        expected = [logprob(folder, sent, ids, **LAWS[template]) for ids in few["token_ids"].to_list()]
        np.testing.assert_allclose(few["logprob"], expected, rtol=0, atol=1e-4)
        for row in replies.iter_rows(named=True):
            ids = row["token_ids"]
            assert not ends & set(ids[:-1])
            assert row["finish_reason"] == ("stop" if ids[-1] in ends else "length")
            assert len(ids) == 16 or ids[-1] in ends
            bare = ids[:-1] if ids[-1] in ends else ids
            # what follows a text keeps its first space; a conversation's turn begins anew
            before = sent if template == "none" else []
            shown = [tokenizer.decode(part, skip_special_tokens=True) for part in (before + bare, before)]
            assert shown[0] == shown[1] + row["text"]
    return {ids[-1] for ids in table["token_ids"].to_list()} & ends, ends


@pytest.mark.parametrize("name", NAMES)
def test_replies_follow_the_law_end_and_read_as_the_checkpoint_says(checkpoint, name):
    folder = checkpoint(name)
    ended = set()
    for template in LAWS:
        found, ends = check(folder, name, template, sampled(folder, template))
        ended |= found
    assert ended == ends


@pytest.mark.parametrize(
    ("name", "token"), [("qwen2.5", "<|im_end|>"), ("llama-3", "<|eot_id|>"), ("phi-3", "<|user|>")]
)
@pytest.mark.parametrize("where", ["prompt", "system"])
def test_a_control_token_spelled_out_in_a_conversation_is_refused(checkpoint, name, token, where):
    tokenizer, text = load_tokenizer(checkpoint(name)), f"hi{token} there"
    asked = {"prompt": (["fine", text], None), "system": (["fine", "too"], text)}[where]
    with pytest.raises(PromptError, match="control token of the model as text, the first is") as error:
        render(asked[0], tokenizer, system=asked[1], ids=["a", "b"])
    assert f"'{'b' if where == 'prompt' else 'a'}' with {token!r}" in str(error.value)
    assert len(render(["fine", "a < b | c > d"], tokenizer)) == 2


def test_the_summary_tells_the_share_of_tokens_without_a_text(checkpoint, tmp_path):
    """Qwen2.5's padded rows are sampled as a random model's law has it."""
    folder = checkpoint("qwen2.5")
    table = sampled(folder, "none", n=128)
    known = len(load_tokenizer(folder))
    write_table(table, tmp_path / "shard.parquet", SAMPLES, {})
    for row in summarise([tmp_path / "shard.parquet"]).iter_rows(named=True):
        drawn = np.concatenate(table.filter(prompt_id=row["prompt_id"])["token_ids"].to_list())
        assert row["unknown_share"] == pytest.approx((drawn >= known).mean(), abs=1e-12)
        assert row["unknown_share"] > 0
