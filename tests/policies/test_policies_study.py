"""A study with two policies on a real model: the base itself, and a LoRA adapter with random weights."""

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from running import ROOT, snakemake

from alignment_limits.artifacts import read_provenance, read_table
from alignment_limits.schemas.ensembles import STANDARDISED
from alignment_limits.schemas.policies import POLICIES, POLICY_KL
from alignment_limits.schemas.prompts import PROMPTS
from alignment_limits.schemas.samples import SAMPLES
from alignment_limits.schemas.scores import SCORES

pytestmark = pytest.mark.study
NAME, REWARDS, PROMPT_COUNT, SAMPLE_COUNT = "test-policies", ["letters", "vader"], 16, 32
LINES = [f"{who} {what}" for who in ("I", "My friend", "The old man", "They") for what in
         ("love this", "really hate it when", "said that the weather is", "went to the market and")]  # fmt: skip


def study(**more) -> dict:
    return {
        "study": NAME,
        "prompts": {"count": PROMPT_COUNT, "stratify_by": None} | more.pop("prompts", {}),
        "sampling": {"engine": "transformers", "samples_per_prompt": SAMPLE_COUNT, "max_new_tokens": 8, "block": 32},
        "gold": "letters",
        "rewards": {
            "letters": {"kind": "python", "function": "tests.policies.own_reward:letters"},
            "vader": {"kind": "lexicon", "lexicon": "vader"},
        },
        "ensembles": {"both": {"members": REWARDS, "aggregator": "mean"}},
        "limits": {"betas": [2, 1], "kls": [0.1, 0.25, 0.5], "best_of": [1, 2, 4], "bootstrap": 300},
    } | more


def base_folder() -> Path:
    return next(p for p in (ROOT / "results/models").glob("smollm2-135m-instruct-*") if p.is_dir())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The study's file and the folder of its results."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    here = tmp_path_factory.mktemp("policies")
    (here / "prompts.txt").write_text("\n".join(LINES))
    file = here / "study.yaml"
    prompts = {"prompts": {"source": {"path": str(here / "prompts.txt")}}}
    file.write_text(yaml.safe_dump(study(**prompts)))
    snakemake("convert", "--configfile", file)
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(base_folder())
    config = LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(base, config).save_pretrained(here / "adapter")
    policies = [
        {"name": "same", "path": str(base_folder())},
        {"name": "lora", "path": str(here / "adapter"), "objective": "noise", "optimized": "both", "coefficient": 0.1},
    ]
    file.write_text(yaml.safe_dump(study(policies=policies, **prompts)))
    snakemake("--configfile", file)
    return file, ROOT / "results" / NAME


def shards(folder: Path, schema) -> pl.DataFrame:
    return pl.concat([read_table(f, schema) for f in sorted(folder.glob("*.parquet"))])


def row(finished, policy, evaluated="letters") -> dict:
    table = read_table(finished[1] / "policies/policies.parquet", POLICIES)
    return table.row(by_predicate=(pl.col("policy") == policy) & (pl.col("evaluated") == evaluated), named=True)


def test_every_policy_has_a_row_for_every_reward_and_ensemble(finished):
    table = read_table(finished[1] / "policies/policies.parquet", POLICIES)
    pairs = {(p, e) for p in ("same", "lora") for e in (*REWARDS, "both")}
    assert set(table.select("policy", "evaluated").rows()) == pairs
    assert table.height == len(pairs)
    assert read_provenance(finished[1] / "policies/policies.parquet")["study"] == NAME


def test_the_base_as_its_own_policy_has_no_kl_and_no_efficiency(finished):
    kl = shards(finished[1] / "policies/same/kl", POLICY_KL)
    assert (kl["kl"] == 0).all()
    assert (kl["log_ratio"] == 0).all()
    for evaluated in (*REWARDS, "both"):
        found = row(finished, "same", evaluated)
        assert found["kl"] == found["kl_low"] == found["kl_high"] == 0
        assert math.isnan(found["efficiency"])
        assert found["limit"] == 0
        assert found["gain_low"] - 0.02 <= 0 <= found["gain_high"] + 0.02
        assert found["gain"] != 0, "the policy has draws of its own"
        assert found["win_rate_low"] - 0.02 <= 0.5 <= found["win_rate_high"] + 0.02


def test_an_adapter_is_away_from_the_base_and_both_estimates_agree(finished):
    found = row(finished, "lora")
    assert 0.01 < found["kl_low"] < found["kl"] < found["kl_high"]
    assert found["kl_log_ratio_low"] < found["kl"] < found["kl_log_ratio_high"]
    kl = shards(finished[1] / "policies/lora/kl", POLICY_KL)
    assert (kl["kl"] >= 0).all()
    assert (kl["log_ratio"] < 0).any(), "shown as they are"
    assert kl["log_ratio"].var() > kl["kl"].var()
    assert found["limit"] > 0
    assert found["efficiency"] == pytest.approx(found["gain"] / found["limit"])
    assert found["optimality_gap"] == pytest.approx((found["limit"] - found["gain"]) / found["beta"])
    assert (found["objective"], found["optimized"], found["coefficient"]) == ("noise", "both", 0.1)
    assert "LORA adapter" in found["note"]


def test_the_kl_is_that_of_plain_forward_passes(finished):
    """One reply at a time, the adapter applied by PEFT and not merged, logits of the whole models."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file, folder = finished
    adapter = yaml.safe_load(file.read_text())["policies"][1]["path"]
    tokenizer = AutoTokenizer.from_pretrained(base_folder())
    base = AutoModelForCausalLM.from_pretrained(base_folder())
    policy = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_folder()), adapter)
    prompts = dict(read_table(folder / "prompts.parquet", PROMPTS).select("prompt_id", "text").iter_rows())
    rows = shards(folder / "policies/lora/samples", SAMPLES).join(
        shards(folder / "policies/lora/kl", POLICY_KL), on=["prompt_id", "sample_id"], suffix="_read"
    )
    assert (rows["logprob"] - rows["logprob_read"]).abs().max() < 2e-3, "the sampling engine's own"
    for r in rows.sample(8, seed=0).iter_rows(named=True):
        sent = tokenizer(prompts[r["prompt_id"]])["input_ids"]
        ids = torch.tensor([[*sent, *r["token_ids"]]])
        with torch.inference_mode():
            p, q = (torch.log_softmax(m(ids).logits[0, len(sent) - 1 : -1].double(), -1) for m in (policy, base))
        assert r["kl"] == pytest.approx((p.exp() * (p - q)).sum().item(), abs=1e-4)
        at = torch.tensor(r["token_ids"])[:, None]
        assert r["log_ratio"] == pytest.approx((p - q).gather(1, at).sum().item(), abs=1e-3)


def test_the_gain_is_measured_on_the_bases_scale(finished):
    _, folder = finished
    base, policy = (shards(f, SCORES) for f in (folder / "scores/letters", folder / "policies/lora/scores/letters"))
    base, policy = (
        t.sort("prompt_id", "sample_id")["score"].to_numpy().reshape(PROMPT_COUNT, -1) for t in (base, policy)
    )
    centred = base - base.mean(1, keepdims=True)
    sd = np.sqrt((centred**2).sum() / (centred.size - PROMPT_COUNT))
    found = row(finished, "lora")
    assert found["gain"] == pytest.approx((policy.mean(1) - base.mean(1)).mean() / sd, abs=1e-9)
    pairs = policy[:, :, None] - base[:, None, :]
    assert found["win_rate"] == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean(), abs=1e-9)


def test_policies_share_their_noise_but_not_with_the_base(finished):
    _, folder = finished
    seeds = [set(shards(folder / f, SAMPLES)["seed"]) for f in
             ("samples/smollm2-135m-instruct", "policies/same/samples", "policies/lora/samples")]  # fmt: skip
    assert seeds[1] == seeds[2]
    assert not seeds[0] & seeds[1]
    assert len(seeds[1]) == PROMPT_COUNT


def test_the_report_shows_where_they_stand(finished):
    _, folder = finished
    text = (folder / "report/policies.html").read_text("utf-8")
    assert "By letters (gold)" in text
    assert "no KL to speak of" in text
    assert (folder / "figures/policies.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / "figures/policies.pdf").stat().st_size > 5000


def test_a_second_run_does_nothing_and_one_more_policy_samples_only_itself(finished, tmp_path):
    file, folder = finished
    run = snakemake("--configfile", file)
    assert "Nothing to be done" in run.stdout + run.stderr
    more = yaml.safe_load(file.read_text())
    more["policies"].append({"name": "third", "path": more["policies"][1]["path"]})
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(more))
    run = snakemake("--configfile", tmp_path / "more.yaml", "--dry-run")
    text = run.stdout + run.stderr
    assert "rule policy_sample" in text
    assert not any(f"rule {rule}:" in text for rule in ("sample", "score", "frontier", "best_of_n", "standardise"))
    for rule in ("policy_sample", "policy_kl", "policy_score"):
        assert f"policies/same/{rule.removeprefix('policy_')}" not in text
    assert read_table(folder / "ensembles/standardised.parquet", STANDARDISED).height == PROMPT_COUNT * SAMPLE_COUNT


def test_a_policy_of_another_tokenizer_stops_the_run_before_it_is_sampled(finished, tmp_path):
    import shutil

    file, _ = finished
    shutil.copytree(base_folder(), tmp_path / "other")
    tokenizer = json.loads((tmp_path / "other/tokenizer.json").read_text("utf-8"))
    tokenizer["added_tokens"].append(tokenizer["added_tokens"][0] | {"id": 49152, "content": "<|pad|>"})
    (tmp_path / "other/tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    wrong = yaml.safe_load(file.read_text()) | {"policies": [{"name": "wrong", "path": str(tmp_path / "other")}]}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    run = snakemake("--configfile", tmp_path / "wrong.yaml", check=False)
    text = run.stdout + run.stderr
    assert run.returncode
    assert "policy 'wrong' has another tokenizer than the base (1 tokens the base lacks such as '<|pad|>')" in text
    assert "Traceback" not in text
    assert not (ROOT / "results" / NAME / "policies/wrong").exists()
