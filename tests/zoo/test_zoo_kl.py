"""KL to the base of adapters and of full copies, over every architecture, against next-token laws summed here alone."""

import numpy as np
import peft
import pytest
import torch
from independent import kl, logprob
from test_zoo_sampling import prompts, sampled
from transformers import AutoModelForCausalLM
from zoo import NAMES

from alignment_limits.models.split_model import load_split
from alignment_limits.models.tokenizer import load_tokenizer
from alignment_limits.policies.assemble import assemble
from alignment_limits.policies.next_token import SamplingLaw
from alignment_limits.policies.sequence_kl import sequence_kl
from alignment_limits.sampling.deviation import check_deviation, deviation


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
