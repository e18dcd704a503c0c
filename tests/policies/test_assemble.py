"""A policy's plain folder: what it is made of, and what is refused before anything is sampled."""

import json
import shutil

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_policies import adapter, perturbed
from transformers import AutoModelForCausalLM, AutoTokenizer

from alignment_limits.errors import SourceError
from alignment_limits.policies.assemble import _same_tokens, assemble

IDS = torch.arange(3, 40)[None]


@pytest.fixture(scope="module")
def checkpoint(tiny_model, tmp_path_factory):
    return perturbed(tiny_model, tmp_path_factory.mktemp("policy") / "checkpoint", 0.1)


@pytest.fixture(scope="module")
def lora(tiny_model, tmp_path_factory):
    return adapter(tiny_model, tmp_path_factory.mktemp("policy") / "lora")


@pytest.fixture
def copied(tmp_path):
    """A copy of a folder to spoil."""
    return lambda folder: shutil.copytree(folder, tmp_path / "copy")


def made(source, base, folder, **more):
    return assemble(source, base, folder, name="mine", base_names=["Base", "model"], **more)


def logits(model):
    with torch.inference_mode():
        return model(IDS).logits[0].numpy()


def edit(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | values), "utf-8")


def resaved(folder, change):
    """The model of a folder with something done to it."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    change(model)
    model.save_pretrained(folder)
    return folder


def test_a_checkpoint_keeps_its_weights_and_takes_the_bases_tokenizer_and_stop_tokens(
    tiny_model, checkpoint, copied, tmp_path
):
    own = copied(checkpoint)
    edit(own / "generation_config.json", eos_token_id=[2, 7])
    (own / "chat_template.jinja").write_text("another")
    said = made(own, tiny_model, tmp_path / "ready")
    assert "it stops at tokens [2, 7], the base at [2]: replies end where the base's do" in said
    assert "its chat template differs from the base's, which is used" in said
    ready = AutoModelForCausalLM.from_pretrained(tmp_path / "ready")
    np.testing.assert_array_equal(logits(ready), logits(AutoModelForCausalLM.from_pretrained(checkpoint)))
    assert ready.generation_config.eos_token_id == 2
    templates = [AutoTokenizer.from_pretrained(f).chat_template for f in (tmp_path / "ready", tiny_model)]
    assert templates[0] == templates[1]
    assert json.loads((tmp_path / "ready/policy.json").read_text("utf-8")) == said


@pytest.mark.parametrize("flag", [True, False])
def test_an_adapter_is_added_to_the_bases_weights(tiny_model, lora, tmp_path, flag):
    said = made(lora, tiny_model, tmp_path / "ready", adapter=flag)
    applied = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), lora).eval()
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "ready"))
    np.testing.assert_allclose(found, logits(applied), atol=1e-4)
    assert np.abs(found - logits(AutoModelForCausalLM.from_pretrained(tiny_model))).max() > 0.1
    assert said[0] == f"LORA adapter, made for {tiny_model}, merged into the study's base in float32"


@pytest.mark.parametrize("scale", [0.0, 0.5, -1.0])
def test_an_adapters_change_of_the_weights_is_scaled(tiny_model, lora, tmp_path, scale):
    said = made(lora, tiny_model, tmp_path / "plain", adapter=True, scale=scale)
    assert f"its change of the weights × {scale:g}" in said
    base, plain = (AutoModelForCausalLM.from_pretrained(f).state_dict() for f in (tiny_model, tmp_path / "plain"))
    full = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(lora))
    full = full.merge_and_unload().state_dict()
    assert any((full[name] - base[name]).abs().max() > 1e-3 for name in base), "the adapter changes something"
    for name in base:
        torch.testing.assert_close(plain[name] - base[name], scale * (full[name] - base[name]), rtol=0, atol=1e-6)


def test_an_adapter_that_replaces_layers_is_not_scaled(tiny_model, tmp_path):
    config = LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"])
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config).save_pretrained(tmp_path / "head")
    with pytest.raises(SourceError, match="scale is for adapters of low rank"):
        made(tmp_path / "head", tiny_model, tmp_path / "plain", adapter=True, scale=0.5)


def test_an_adapter_made_for_a_base_of_another_name_is_told(tiny_model, lora, copied, tmp_path):
    assert not any("not the study's" in line for line in made(lora, tiny_model, tmp_path / "same"))
    other = copied(lora)
    edit(other / "adapter_config.json", base_model_name_or_path="org/Other-Model")
    said = made(other, tiny_model, tmp_path / "ready")
    assert any("by that name the adapter's base is not the study's (Base)" in line for line in said)


def spoil_adapter(folder, how):
    if how == "no weights":
        (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    if how == "no settings":
        (folder / "adapter_config.json").unlink()
    if how == "not PEFT's":
        edit(folder / "adapter_config.json", peft_type="NONE")
    if how == "other layers":
        edit(folder / "adapter_config.json", target_modules=["c_attn"])
    if how == "another shape":
        edit(folder / "adapter_config.json", r=8)
    if how == "not finite":
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "adapter_model.safetensors")
        save_file({k: w * torch.inf for k, w in weights.items()}, folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no weights", "missing: adapter_model.safetensors; the folder contains: README.md, adapter_config.json"),
        ("no settings", "missing: adapter_config.json"),
        ("not PEFT's", "adapter_config.json cannot be read by PEFT"),
        ("other layers", "does not fit the study's base model; merge it into its own base"),
        ("another shape", "does not fit the study's base model; merge it into its own base"),
        ("not finite", "policy 'mine': NaNs detected"),
    ],
)
def test_an_adapter_that_cannot_be_added_is_refused(tiny_model, lora, copied, tmp_path, how, message):
    folder = copied(lora)
    spoil_adapter(folder, how)
    with pytest.raises(SourceError, match="policy 'mine'") as error:
        made(folder, tiny_model, tmp_path / "ready", adapter=True)
    assert message in str(error.value)
    assert not (tmp_path / "ready").exists(), "nothing half-made is left"
    assert not list(tmp_path.glob(".ready*"))


def test_an_adapter_of_another_base_is_refused(tiny_model, lora, tmp_path):
    """A base of other width: the adapter's matrices do not fit."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(tiny_model, hidden_size=32, intermediate_size=48, head_dim=16)
    wide = tmp_path / "wide"
    LlamaForCausalLM(config).save_pretrained(wide)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(wide)
    with pytest.raises(SourceError, match="does not fit the study's base model"):
        made(lora, wide, tmp_path / "ready")


def add_token(folder):
    file = folder / "tokenizer.json"
    tokens = json.loads(file.read_text("utf-8"))["added_tokens"]
    edit(file, added_tokens=[*tokens, tokens[0] | {"id": 259, "content": "<|pad|>"}])


def swap_tokens(folder):
    file = folder / "tokenizer.json"
    model = json.loads(file.read_text("utf-8"))["model"]
    model["vocab"]["a"], model["vocab"]["b"] = model["vocab"]["b"], model["vocab"]["a"]
    edit(file, model=model)


def split_otherwise(folder):
    edit(folder / "tokenizer.json", normalizer={"type": "Lowercase"})


def narrow(folder):
    resaved(folder, lambda model: model.resize_token_embeddings(255))


def diverge(folder):
    with torch.no_grad():
        resaved(folder, lambda model: model.model.norm.weight.fill_(torch.nan))


def be_a_reward_model(folder):
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1).save_pretrained(folder)


def lose_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (add_token, "another tokenizer than the base (1 tokens the base lacks such as '<|pad|>')"),
        (swap_tokens, "another tokenizer than the base (2 with other ids such as 'a')"),
        (split_otherwise, "has the base's tokens, but splits text differently"),
        (narrow, "predicts 255 tokens, the base 259, and the tokenizer has 259; it has another vocabulary"),
        (diverge, "weights that are not finite (model.norm.weight): training diverged"),
        (be_a_reward_model, "lacks trained weights for lm_head.weight; it is no language model"),
        (lose_weights, "pickled checkpoints (*.bin) must be converted to safetensors first"),
    ],
)
def test_a_checkpoint_that_cannot_be_measured_is_refused(tiny_model, checkpoint, copied, tmp_path, spoil, message):
    folder = copied(checkpoint)
    spoil(folder)
    with pytest.raises(SourceError, match="policy 'mine'") as error:
        made(folder, tiny_model, tmp_path / "ready")
    assert message in str(error.value)
    assert not (tmp_path / "ready").exists()


def test_a_checkpoint_named_as_an_adapter_is_refused(tiny_model, checkpoint, tmp_path):
    with pytest.raises(SourceError, match=r"needs adapter_config\.json and adapter_model\.safetensors"):
        made(checkpoint, tiny_model, tmp_path / "ready", adapter=True)


def test_without_a_tokenizer_of_its_own_a_checkpoint_has_the_bases(tiny_model, checkpoint, copied, tmp_path):
    bare = copied(checkpoint)
    for file in bare.glob("tokenizer*"):
        file.unlink()
    said = made(bare, tiny_model, tmp_path / "ready")
    assert "it brings no tokenizer: the base's is taken for its own" in said
    assert (tmp_path / "ready/tokenizer.json").is_file()


def test_a_few_tokens_too_many_are_explained_and_other_differences_are_not():
    ours = {"a": 0, "b": 1}
    with pytest.raises(SourceError, match=r"1 tokens the base lacks such as 'c'\); .*train it without adding tokens"):
        _same_tokens(ours | {"c": 2}, ours, "p")
    for theirs in ({"a": 0}, {"a": 1, "b": 0}, ours | {f"t{i}": i + 2 for i in range(10)}, {"a": 1, "b": 0, "c": 2}):
        with pytest.raises(SourceError, match="must have the base's tokenizer$"):
            _same_tokens(theirs, ours, "p")
