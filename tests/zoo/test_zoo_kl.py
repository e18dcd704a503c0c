"""KL to the base of adapters and of full copies, over every architecture, against next-token laws summed here alone."""

import shutil

import numpy as np
import peft
import pytest
import torch
from independent import kl, laws, logprob
from test_zoo_sampling import prompts, sampled
from transformers import AutoModelForCausalLM
from zoo import NAMES

from alignment_limits.models.load import load_split
from alignment_limits.models.tokenizer import load_tokenizer
from alignment_limits.policies.assemble import assemble
from alignment_limits.policies.kl import SamplingLaw, read_again, sequence_kl
from alignment_limits.sampling.checks import check_deviation, deviation


def lora(base, folder, **more):
    """An adapter on all linear layers, with weights as if trained."""
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, **more)
    wrapped = peft.get_peft_model(model, config)
    spread(wrapped, lambda key: "lora_B" in key or "modules_to_save" in key)
    wrapped.save_pretrained(folder)
    return folder


def full(base, folder):
    """A copy of the base, all of its weights moved."""
    model = AutoModelForCausalLM.from_pretrained(base)
    spread(model, lambda key: True)
    model.save_pretrained(folder)
    return folder


def spread(model, chosen):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if chosen(key):
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator))


def made(source, base, ready):
    assemble(source, base, ready, name="mine", base_names=[base.name])
    return ready


def read(policy, base, template, n=2):
    """Replies of a policy, and what both models say of them: table, prompts' tokens, SequenceKL."""
    tokenizer = load_tokenizer(base)
    table = sampled(policy, template, n=n, temperature=1.2, top_p=1.0)
    texts = dict(prompts(base, template).iter_rows())
    sent = [tokenizer(texts[i], add_special_tokens=template == "none")["input_ids"] for i in table["prompt_id"]]
    models = [load_split(folder, device="cpu") for folder in (policy, base)]
    return table, sent, sequence_kl(*models, sent, table["token_ids"].to_list(), SamplingLaw(1.2))


@pytest.mark.parametrize("make", [lora, full])
@pytest.mark.parametrize("name", NAMES)
def test_the_kl_of_a_policy_is_the_sum_over_its_next_token_laws(checkpoint, tmp_path, name, make):
    base = checkpoint(name)
    own = make(base, tmp_path / "own")
    policy = made(own, base, tmp_path / "ready")
    for template in ("none", "chat"):
        table, sent, found = read(policy, base, template)
        pairs = list(zip(sent, table["token_ids"].to_list(), strict=True))
        expected = [kl(own, base, *pair, temperature=1.2) for pair in pairs]
        assert min(expected) > 1e-3
        np.testing.assert_allclose(found.kl, expected, rtol=0, atol=1e-4)
        for got, folder in ((found.logprob, own), (found.logprob_base, base), (table["logprob"], own)):
            np.testing.assert_allclose(got, [logprob(folder, *p, temperature=1.2) for p in pairs], rtol=0, atol=1e-4)
        check_deviation(deviation(table["logprob"], found.logprob, table["n_tokens"]), "float32", "policy mine")


@pytest.mark.parametrize("name", ["qwen2.5", "llama-3", "gpt-2"])
def test_an_adapter_may_bring_its_own_embeddings_and_head(checkpoint, tmp_path, name):
    """To a base that ties them (Qwen2.5, GPT-2) and to one that does not."""
    base = checkpoint(name)
    modules = ["wte", "lm_head"] if name == "gpt-2" else ["embed_tokens", "lm_head"]
    own = lora(base, tmp_path / "own", modules_to_save=modules)
    policy = made(own, base, tmp_path / "ready")
    table, sent, found = read(policy, base, "chat", n=4)
    pairs = zip(sent, table["token_ids"].to_list(), strict=True)
    expected = [kl(own, base, *pair, temperature=1.2) for pair in pairs]
    np.testing.assert_allclose(found.kl, expected, rtol=0, atol=1e-4)
    plain = kl(made(lora(base, tmp_path / "plain"), base, tmp_path / "same"), base, sent[0], [5, 6], temperature=1.2)
    assert abs(plain - kl(policy, base, sent[0], [5, 6], temperature=1.2)) > 1e-2, "they matter"


@pytest.mark.parametrize("change", [-29, -10, 16])
def test_a_policy_of_another_width_is_compared_over_the_rows_that_both_have(checkpoint, tmp_path, change):
    """Qwen2.5's vocabulary has 29 rows without a text: cut to the tokenizer's, in part, or padded further."""
    base = checkpoint("qwen2.5")
    model = AutoModelForCausalLM.from_pretrained(full(base, tmp_path / "own"))
    rows = model.config.vocab_size
    model.resize_token_embeddings(rows + change, mean_resizing=False)
    spread(model, lambda key: "embed" in key)
    model.save_pretrained(tmp_path / "own")
    said = assemble(tmp_path / "own", base, tmp_path / "ready", name="mine", base_names=["base"])
    shared = min(rows, rows + change)
    assert any(f"the KL is over the {shared} that both have" in line for line in said)
    ready = AutoModelForCausalLM.from_pretrained(tmp_path / "ready")
    assert ready.get_output_embeddings().weight.shape[0] == ready.config.vocab_size == shared
    table, sent, found = read(tmp_path / "ready", base, "none", n=8)
    for i, (context, reply) in enumerate(zip(sent, table["token_ids"].to_list(), strict=True)):
        assert max(reply) < shared
        p = torch.log_softmax(laws(tmp_path / "own", context, reply, temperature=1.2)[:, :shared], -1)
        q = laws(base, context, reply, temperature=1.2)[:, :shared]
        assert found.kl[i] == pytest.approx(float((p.exp() * (p - q)).sum()), abs=1e-4)
        assert table["logprob"][i] == pytest.approx(float(p[torch.arange(len(reply)), reply].sum()), abs=1e-4)


def test_replies_that_end_at_once_have_a_law_and_a_kl(checkpoint, tmp_path):
    """A model whose first token is mostly its EOS: the reply is that token, its text is empty."""
    base, policy = (
        ends_at_once(checkpoint("gpt-2"), tmp_path / name, logit) for name, logit in (("base", 7.0), ("policy", 9.0))
    )
    table, sent, found = read(policy, base, "none", n=32)
    end = load_tokenizer(base).eos_token_id
    empty = table["token_ids"].list.len() == 1
    assert 0.3 < empty.mean() < 1
    assert set(table.filter(empty)["text"]) == {""}
    assert set(table.filter(empty)["finish_reason"]) == {"stop"}
    assert table["token_ids"].list.first().to_numpy()[empty.to_numpy()].tolist() == [end] * int(empty.sum())
    pairs = zip(sent, table["token_ids"].to_list(), strict=True)
    np.testing.assert_allclose(found.kl, [kl(policy, base, *p, temperature=1.2) for p in pairs], rtol=0, atol=1e-4)
    assert found.kl.min() > 1e-3
    again = read_again(table, prompts(base, "none"), policy, SamplingLaw(1.2), template="none")
    np.testing.assert_allclose(again["logprob_read"], again["logprob"], rtol=0, atol=1e-4)


def ends_at_once(source, folder, logit):
    """GPT-2 with the same next-token law everywhere, EOS at this logit."""
    shutil.copytree(source, folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(0.5)
        model.transformer.wte.weight[model.config.eos_token_id] = logit / (0.5 * model.config.n_embd)
    model.save_pretrained(folder)
    return folder
