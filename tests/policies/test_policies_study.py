"""A study with two policies through the whole workflow: a checkpoint near the base, an adapter that changes nothing."""

import json
import math
import shutil

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from peft import PeftModel
from project import Project
from tiny_policies import adapter, perturbed
from transformers import AutoModelForCausalLM, AutoTokenizer

from alignment_limits.commands.studies import explain
from alignment_limits.tables.artifacts import read_provenance, read_table, read_tables
from alignment_limits.tables.estimates import FRONTIER
from alignment_limits.tables.schemas.limits import POLICIES, TARGETS
from alignment_limits.tables.schemas.samples import POLICY_KL, POOL, PROMPTS, SAMPLES, SCALES, SCORES, STANDARDISED

PROMPT_COUNT, SAMPLE_COUNT = 16, 32
VOWELS, LETTERS = ({"kind": "python", "function": f"own_rewards:{name}"} for name in ("vowels", "letters"))
EVALUATED = ("vowels", "letters", "mean")
STUDY = {
    "prompts": {"count": PROMPT_COUNT},
    # one shard: every job of a model takes seconds to start
    "sampling": {
        "samples_per_prompt": SAMPLE_COUNT,
        "block": SAMPLE_COUNT,
        "shard_tokens": 12 * PROMPT_COUNT * SAMPLE_COUNT,
        "temperature": 0.9,
    },
    "rewards": {"vowels": VOWELS, "letters": LETTERS},
    "ensembles": {"mean": {"members": ["vowels", "letters"], "aggregator": "mean"}},
    "limits": {"kls": [0.1, 0.3, 0.5, 1.0], "bootstrap": 300, "soft_temperatures": [], "pessimism_betas": []},
    "policies": [
        {"name": "near", "path": "near", "objective": "noise", "optimized": "mean", "coefficient": 0.1, "seed": 3},
        {"name": "still", "adapter": "still"},
    ],
}
MORE = {"name": "third", "path": "near", "objective": "another name"}


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_model):
    project = Project.new(tmp_path_factory.mktemp("policies") / "project", tiny_model)
    perturbed(project.folder / "model", project.folder / "near", 0.012)
    adapter(project.folder / "model", project.folder / "still", trained=False)
    project.study(STUDY)
    project.run()
    return project


@pytest.fixture
def edited(project):
    """The project, whose study file is put back afterwards."""
    yield project
    project.study(STUDY)


def shards(project, folder, schema) -> pl.DataFrame:
    return read_tables(sorted((project.folder / "results/tiny" / folder).glob("*.parquet")), schema)


def row(project, policy, evaluated="vowels") -> dict:
    table = read_table(project.folder / "results/tiny/policies/policies.parquet", POLICIES)
    return table.row(by_predicate=(pl.col("policy") == policy) & (pl.col("evaluated") == evaluated), named=True)


def test_every_policy_has_a_row_for_every_reward_and_ensemble(project):
    file = project.folder / "results/tiny/policies/policies.parquet"
    found = read_table(file, POLICIES).select("policy", "evaluated").rows()
    assert sorted(found) == sorted((p, e) for p in ("near", "still") for e in EVALUATED)
    assert read_provenance(file)["study"] == "tiny"


def test_a_policy_equal_to_the_base_has_no_kl_and_no_efficiency(project):
    kl = shards(project, "policies/still/kl", POLICY_KL)
    assert kl["kl"].abs().max() < 1e-5
    assert kl["log_ratio"].abs().max() < 1e-5
    for evaluated in EVALUATED:
        found = row(project, "still", evaluated)
        assert found["kl"] == pytest.approx(0, abs=1e-6)
        assert math.isnan(found["efficiency"])
        assert found["limit"] == 0
        width = found["gain_high"] - found["gain_low"]
        assert abs(found["gain"]) < width, "twice its interval's half"
        assert found["gain"] != 0, "the policy has draws of its own"
        assert abs(found["win_rate"] - 0.5) < found["win_rate_high"] - found["win_rate_low"]


def test_a_policy_away_from_the_base_stands_below_the_limit_and_both_estimates_agree(project):
    kl = shards(project, "policies/near/kl", POLICY_KL)
    assert kl.height == PROMPT_COUNT * SAMPLE_COUNT
    assert (kl["kl"] >= 0).all()
    assert (kl["log_ratio"] < 0).any(), "shown as they are"
    assert kl["log_ratio"].var() > 2 * kl["kl"].var()
    for evaluated in EVALUATED:
        found = row(project, "near", evaluated)
        assert 0.05 < found["kl_low"] < found["kl"] < found["kl_high"] < 1
        assert found["kl"] == pytest.approx(kl["kl"].mean(), abs=1e-12)
        assert found["kl_log_ratio_low"] < found["kl"] < found["kl_log_ratio_high"]
        assert found["limit"] > found["gain"], "noise optimises nothing"
        assert found["efficiency"] == pytest.approx(found["gain"] / found["limit"])
        assert found["optimality_gap"] == pytest.approx((found["limit"] - found["gain"]) / found["beta"])
        assert found["kl_estimator"] == "rao-blackwell"


def test_labels_and_what_was_made_of_the_policy_are_told(project):
    near, still = row(project, "near"), row(project, "still")
    assert [near[key] for key in ("objective", "optimized", "coefficient", "seed")] == ["noise", "mean", 0.1, 3]
    assert [still[key] for key in ("objective", "optimized", "coefficient", "seed")] == [None] * 4
    assert near["note"] == "a plain model folder"
    assert still["note"].startswith("LORA adapter, made for ")
    assert "merged into the study's base" in still["note"]
    assert "is not the study's" not in still["note"], "it names the folder that the base comes from"


def test_the_kl_is_that_of_plain_forward_passes(project):
    """One reply at a time, logits of the whole models in float64."""
    folder = project.folder
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    base, policy = (AutoModelForCausalLM.from_pretrained(folder / f).double().eval() for f in ("model", "near"))
    prompts = read_table(folder / "results/tiny/prompts.parquet", PROMPTS).select("prompt_id", "text")
    prompts = dict(prompts.iter_rows())
    rows = shards(project, "policies/near/samples", SAMPLES).join(
        shards(project, "policies/near/kl", POLICY_KL), on=["prompt_id", "sample_id"], suffix="_read"
    )
    assert (rows["logprob"] - rows["logprob_read"]).abs().max() < 1e-4, "the sampling engine's own"
    for r in rows.sample(20, seed=0).iter_rows(named=True):
        sent = tokenizer(prompts[r["prompt_id"]])["input_ids"]
        ids = torch.tensor([[*sent, *r["token_ids"]]])
        with torch.inference_mode():
            p, q = (torch.log_softmax(m(ids).logits[0, len(sent) - 1 : -1] / 0.9, -1) for m in (policy, base))
        assert r["kl"] == pytest.approx((p.exp() * (p - q)).sum().item(), abs=1e-4)
        at = torch.tensor(r["token_ids"])[:, None]
        assert r["log_ratio"] == pytest.approx((p - q).gather(1, at).sum().item(), abs=1e-3)


def test_the_gain_is_measured_on_the_bases_scale(project):
    base, policy = (shards(project, f, SCORES) for f in ("scores/letters", "policies/near/scores/letters"))
    base, policy = (
        t.sort("prompt_id", "sample_id")["score"].to_numpy().reshape(PROMPT_COUNT, -1) for t in (base, policy)
    )
    centred = base - base.mean(1, keepdims=True)
    sd = np.sqrt((centred**2).sum() / (centred.size - PROMPT_COUNT))
    found = row(project, "near", "letters")
    assert found["gain"] == pytest.approx((policy.mean(1) - base.mean(1)).mean() / sd, abs=1e-9)
    pairs = policy[:, :, None] - base[:, None, :]
    assert found["win_rate"] == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean(), abs=1e-9)


def test_the_limit_is_the_frontiers(project):
    """At the policy's KL it lies between the frontier's own points around it."""
    frontier = read_table(project.folder / "results/tiny/limits/frontier.parquet", FRONTIER)
    own = (pl.col("optimized") == "vowels") & (pl.col("evaluated") == "vowels") & (pl.col("budget") == "average")
    points = frontier.filter(own & (pl.col("at") == "kl")).sort("kl")
    found = row(project, "near")
    below, above = (points.filter(side) for side in (pl.col("kl") < found["kl"], pl.col("kl") > found["kl"]))
    assert below["gain"][-1] < found["limit"] < above["gain"][0]


def test_the_policies_and_the_base_form_one_pool_that_extends_the_frontier(project):
    """The log-ratios are those of `kl` and `on_base`; the base's own rows are those without policies."""
    folder = project.folder / "results/tiny"
    pool = read_table(folder / "policies/pool.parquet", POOL)
    assert dict(pool.group_by("law").len().iter_rows()) == dict.fromkeys(
        ("base", "near", "still"), PROMPT_COUNT * SAMPLE_COUNT
    )
    assert pool["log_ratio/still"].abs().max() < 1e-4, "it is the base, on everybody's samples"
    near = pool.filter(pl.col("law") == "near").sort("prompt_id", "sample_id")
    assert near["log_ratio/near"].equals(shards(project, "policies/near/kl", POLICY_KL)["log_ratio"], null_equal=True)
    base = read_table(folder / "ensembles/standardised.parquet", STANDARDISED)
    assert pool.filter(pl.col("law") == "base").select(EVALUATED).equals(base.select(EVALUATED))
    frontier = read_table(folder / "limits/frontier.parquet", FRONTIER)
    rows = dict(frontier.group_by("samples_from").agg(pl.col("optimized").unique().sort()).iter_rows())
    assert rows == {"base": sorted(EVALUATED), "pool": ["mean", "vowels"]}, "gold, and what a policy optimised"
    pooled = frontier.filter(
        (pl.col("samples_from") == "pool") & (pl.col("optimized") == "vowels") & (pl.col("evaluated") == "vowels")
        & (pl.col("budget") == "average")
    ).sort("kl")  # fmt: skip
    alone = frontier.filter(
        (pl.col("samples_from") == "base") & (pl.col("optimized") == "vowels") & (pl.col("evaluated") == "vowels")
        & (pl.col("budget") == "average") & (pl.col("at") == "kl")
    ).sort("kl")  # fmt: skip
    np.testing.assert_allclose(pooled["gain"][:3], alone["gain"][:3], rtol=0.1)


def test_policies_share_their_noise_but_not_with_the_base(project):
    seeds = [set(shards(project, f, SAMPLES)["seed"])
             for f in ("samples/tiny", "policies/still/samples", "policies/near/samples")]  # fmt: skip
    assert seeds[1] == seeds[2]
    assert not seeds[0] & seeds[1]
    assert len(seeds[1]) == PROMPT_COUNT


def test_the_study_shows_its_policies_shards_as_links(project):
    for file in (project.folder / "results/tiny/policies").glob("*/*/**/*.parquet"):
        assert file.is_symlink()
        assert file.resolve().is_relative_to(project.folder / "results/shared")
    for kind in ("samples", "kl", "scores/vowels", "scores/letters"):
        assert len(list((project.folder / "results/tiny/policies/near" / kind).iterdir())) == 1


def test_the_report_shows_where_they_stand(project):
    folder = project.folder / "results/tiny"
    text = (folder / "report/policies.html").read_text("utf-8")
    for said in ("By vowels (gold)", "By mean", "no KL to speak of", "objective noise; optimized mean"):
        assert said in text
    for evaluated in ("vowels", "mean"):
        assert (folder / f"figures/policies-{evaluated}.png").read_bytes()[:4] == b"\x89PNG"
        assert (folder / f"figures/policies-{evaluated}.pdf").stat().st_size > 5000
    assert not (folder / "figures/policies-letters.png").exists(), "no policy was trained on it"


PLACING = {"place_policies": 1, "link_policies": 1, "policies_page": 1, "first_page": 1, "study_card": 1, "manifest": 1}
# the policies' samples also show the frontier
PLACING |= {"frontier": 1, "headline": 1, "figure_policies": 2}
PLACING |= {f"figure_{name}": 1 for name in ("frontier", "gold_under_proxies", "over_optimisation_tilt")}
# and where they are in the trade-offs
PLACING |= {"side_effects": 1, "figure_side_effects": 1}
OF_POLICIES = {"policy_columns": 1}  # for other replies
CHANGES = {
    "nothing": ({}, {}),
    "one more policy": (
        {"policies": [*STUDY["policies"], MORE]},
        PLACING
        | {"policy_model": 1, "policy_sample": 1, "policy_kl": 1, "policy_on_base": 1, "policy_score": 2}
        | {"policy_on_policy": 4, "preflight_sampling": 1}
        | OF_POLICIES,
    ),
    "one policy fewer": (
        {"policies": STUDY["policies"][:1]},
        PLACING | {"preflight_sampling": 1} | OF_POLICIES,
    ),
    "a label": (
        {"policies": [STUDY["policies"][0] | {"objective": "none"}, *STUDY["policies"][1:]]},
        PLACING,
    ),
    "a reward's sign": (
        {"rewards": {"vowels": VOWELS, "letters": LETTERS | {"sign": -1}}},
        {"policy_score": 2},
    ),
    "more samples per prompt": (
        {"sampling": STUDY["sampling"] | {"samples_per_prompt": 2 * SAMPLE_COUNT}},
        {"policy_sample": 2, "policy_kl": 2, "policy_score": 4},
    ),
    "another study": ({"study": "second"}, {}),
}


@pytest.mark.parametrize(("change", "jobs"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_the_study_file_remakes_what_it_touches(edited, change, jobs):
    edited.study(STUDY | change)
    plan = edited.plan()
    models = {"policy_model", "policy_sample", "policy_kl", "policy_score", "sample", "convert"}
    if jobs.keys() <= models:
        assert {rule: n for rule, n in plan.jobs.items() if rule in models - {"sample"}} == jobs, explain(plan)
    else:
        assert plan.jobs == jobs, explain(plan)
    if not change:
        assert not plan.jobs, explain(plan)


def _another_tokenizer(folder):
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text("utf-8"))
    tokenizer["added_tokens"].append(tokenizer["added_tokens"][0] | {"id": 259, "content": "<|pad|>"})
    file.write_text(json.dumps(tokenizer), "utf-8")


def _short(folder):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"max_position_embeddings": 30}), "utf-8")


REFUSED = {
    _another_tokenizer: "policy 'wrong' has another tokenizer than the base (1 tokens the base lacks such as",
    _short: "no room for 12 new tokens in the context of policy 'wrong' (30 tokens): ",
}


@pytest.mark.parametrize(("spoil", "why"), REFUSED.items(), ids=["another tokenizer", "a short context"])
def test_a_policy_that_cannot_be_measured_stops_the_run_before_anything_is_sampled(edited, spoil, why):
    shutil.copytree(edited.folder / "model", edited.folder / spoil.__name__)
    spoil(edited.folder / spoil.__name__)
    edited.study(STUDY | {"seed": 5, "study": "wrong", "policies": [{"name": "wrong", "path": spoil.__name__}]})
    said = edited.run(check=False)
    assert why in said
    assert "Traceback" not in said
    assert not list(edited.folder.glob("results/shared/*/policies/wrong-*"))
    assert len(list(edited.folder.glob("results/shared/*/samples"))) == 1, "the base is not sampled with another seed"


def test_proposals_are_sampled_like_policies_and_join_the_pool(edited):
    """Their log-ratios by plain forward passes: the base at another temperature, an adapter at half its scale."""
    adapter(edited.folder / "model", edited.folder / "random")
    proposals = {"warm": {"temperature": 1.3}, "half": {"adapter": "random", "scale": 0.5}}
    proposals["production"] = {"temperature": 1.3, "top_p": 0.8}
    edited.study({**STUDY, "study": "proposed", "policies": None, "proposals": proposals})
    edited.run("results/proposed/policies/policies.parquet")
    folder = edited.folder / "results/proposed"
    table = read_table(folder / "policies/policies.parquet", POLICIES).filter(pl.col("evaluated") == "vowels")
    found = {r["policy"]: r for r in table.iter_rows(named=True)}
    assert [found[n]["objective"] for n in proposals] == [
        "base at temperature 1.3", "adapter × 0.5", "base at temperature 1.3 and top-p 0.8",
    ]  # fmt: skip
    assert "its change of the weights × 0.5; " in found["half"]["note"]
    assert all(0 < r["kl_low"] < r["kl_high"] < np.inf for r in found.values())
    assert {r["kl_infinite"] for r in found.values()} == {0.0}, "a nucleus is within the base's support"
    pool = read_table(folder / "policies/pool.parquet", POOL)
    assert set(pool["law"]) == {"base", *proposals}

    tokenizer = AutoTokenizer.from_pretrained(edited.folder / "model")
    base, half = (AutoModelForCausalLM.from_pretrained(edited.folder / "model").double().eval() for _ in range(2))
    half = PeftModel.from_pretrained(half, str(edited.folder / "random"))
    for module in half.modules():
        if hasattr(module, "scale_layer"):
            module.scale_layer(0.5)
    sent = dict(
        read_table(edited.folder / "results/tiny/prompts.parquet", PROMPTS).select("prompt_id", "text").iter_rows()
    )
    read = {
        "base": (base, 0.9, 1),
        "warm": (base, 1.3, 1),
        "half": (half.eval(), 0.9, 1),
        "production": (base, 1.3, 0.8),
    }
    for law in read:
        drawn = pool.filter(pl.col("law") == law)
        first = int(drawn["sample_id"].min())
        own = "samples" if law == "base" else f"policies/{law}-*/samples"
        files = edited.folder.glob(f"results/shared/*/{own}/*.parquet")
        tokens = read_tables(sorted(files), SAMPLES).select("prompt_id", "sample_id", "token_ids")
        both = drawn.with_columns(pl.col("sample_id") - first).join(tokens, on=["prompt_id", "sample_id"])
        assert both.height == drawn.height
        for r in both.sample(5, seed=1).iter_rows(named=True):
            start = tokenizer(sent[r["prompt_id"]])["input_ids"]
            ids, at = torch.tensor([[*start, *r["token_ids"]]]), torch.tensor(r["token_ids"])[:, None]
            with torch.inference_mode():
                sums = {}
                for name, (m, heat, kept) in read.items():
                    logits = m(ids).logits[0, len(start) - 1 : -1] / heat
                    if kept < 1:  # the most likely tokens, until their probability is at least this
                        most, order = torch.softmax(logits, -1).sort(descending=True)
                        out = most.cumsum(-1) - most >= kept
                        logits = logits.masked_fill(out.gather(1, order.argsort(-1)), -torch.inf)
                    sums[name] = torch.log_softmax(logits, -1).gather(1, at).sum().item()
            for name in proposals:
                assert r[f"log_ratio/{name}"] == pytest.approx(sums[name] - sums["base"], abs=1e-3)


def test_the_distance_to_the_target_of_preferences(edited):
    """`still` is the base, so it stands where the base does; `near` by sums written out here."""
    edited.study(STUDY | {"preferences": {"beta": 1, "gamma": 0.1}})
    made = ("policies/targets.parquet", "figures/targets.png", "figures/target_plane.pdf", "report/targets.html")
    said = edited.run(*(f"results/tiny/{file}" for file in made))
    assert "rule sample:" not in said
    folder = edited.folder / "results/tiny"
    table = read_table(folder / made[0], TARGETS)
    found = {(r["policy"], r["quantity"]): r for r in table.iter_rows(named=True)}
    assert len(found) == table.height == 2 * 3
    frontier = read_table(folder / "limits/frontier.parquet", FRONTIER).filter(
        (pl.col("optimized") == "vowels") & (pl.col("evaluated") == "vowels") & (pl.col("at") == "beta")
    )
    tilt = frontier.filter(pl.col("beta") == 1).row(0, named=True)
    assert found["base", "forward_kl"]["estimate"] == pytest.approx(tilt["kl"], abs=1e-12)
    assert found["base", "reverse_kl"]["estimate"] == pytest.approx(tilt["kl_reverse"], abs=1e-12)
    still = found["still", "forward_kl"]
    assert still["estimate"] == pytest.approx(tilt["kl"], abs=1e-4)
    assert found["still", "reverse_kl"]["low"] < tilt["kl_reverse"] < found["still", "reverse_kl"]["high"]

    base = shards(edited, "samples/tiny", SAMPLES).sort("prompt_id", "sample_id")
    (file,) = edited.folder.glob("results/shared/*/policies/near-*/on_base/*.parquet")
    read = read_tables([file], POLICY_KL)
    assert read.select("prompt_id", "sample_id").equals(base.select("prompt_id", "sample_id"))
    assert (read["logprob"] - base["logprob"]).abs().max() < 1e-4, "the base's samples, read by the base"
    ratio = (read["logprob_base"] - read["logprob"]).to_numpy().reshape(PROMPT_COUNT, -1)
    reward = read_table(folder / "ensembles/rewards.parquet", STANDARDISED).sort("prompt_id", "sample_id")
    r = reward["vowels"].to_numpy().reshape(PROMPT_COUNT, -1)
    w = np.exp(r) / np.exp(r).sum(1, keepdims=True)
    kl = (w * np.log(w * SAMPLE_COUNT)).sum(1) - (w * ratio).sum(1) + ratio.mean(1)
    forward = kl + read["kl"].to_numpy().reshape(PROMPT_COUNT, -1).mean(1)
    assert found["near", "forward_kl"]["plugin"] == pytest.approx(forward.mean(), abs=1e-9)
    scales = read_table(folder / "ensembles/scales.parquet", SCALES).filter(pl.col("reward") == "vowels")
    own = shards(edited, "policies/near/scores/vowels", SCORES).join(scales, on="prompt_id")
    gain = ((own["score"] - own["centre"]) / own["scale"]).mean()
    reverse = shards(edited, "policies/near/kl", POLICY_KL)["kl"].mean() - gain + np.log(np.exp(r).mean(1)).mean()
    assert found["near", "reverse_kl"]["plugin"] == pytest.approx(reverse, abs=1e-9)
    assert found["near", "forward_kl"]["pairs"] is None
    page = (folder / made[3]).read_text("utf-8")
    assert "No two policies here learned from preference pairs" in page
    assert (folder / made[1]).read_bytes()[:4] == b"\x89PNG"


def test_policies_stand_where_they_stood_if_the_base_samples_are_a_table(edited):
    """The same replies and KLs as in the study that drew them; another law is refused by its log-probabilities."""
    project = edited
    drawn = shards(project, "samples/tiny", SAMPLES)
    prompts = read_table(project.folder / "results/tiny/prompts.parquet", PROMPTS).select("prompt_id", prompt="text")
    drawn.join(prompts, on="prompt_id").write_parquet(project.folder / "drawn.parquet")
    file, read = "results/table/policies/policies.parquet", "results/table/samples/read_again.parquet"

    def study(temperature):
        project.study(STUDY | {"policies": STUDY["policies"][:1]})
        values = yaml.safe_load((project.folder / "study.yaml").read_text("utf-8"))
        values["sampling"]["temperature"] = temperature
        values |= {"study": "table", "samples": {"table": "drawn.parquet"}, "prompts": None}
        (project.folder / "study.yaml").write_text(yaml.safe_dump(values), "utf-8")

    study(1.1)
    assert "not those of tiny with the sampling of this study" in project.run(read, check=False)
    study(0.9)
    jobs = project.plan(file, read).jobs
    assert jobs["policy_sample"] == 1
    assert "sample" not in jobs
    project.run(file, read)
    own = read_table(project.folder / file, POLICIES).filter(pl.col("evaluated") == "vowels")
    theirs = row(project, "near")
    for name in ("kl", "gain", "limit", "efficiency"):
        assert own[name].item() == pytest.approx(theirs[name], rel=1e-5), name
