"""Trained proxies in the workflow: labels from other prompts, features once, heads with their provenance."""

import json

import polars as pl
from safetensors import safe_open

from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.limits import PROXIES, PROXY_ENSEMBLES, PROXY_ONSETS

ENCODER = {"path": "model"}  # any transformers model with a padding token
CHANGE = {
    "prompts": {"source": {"path": "prompts.txt"}, "count": 4, "stratify_by": None},
    "gold_labels": {
        "prompts": 4,
        "samples_per_prompt": 8,
        "sweep": {"features": ENCODER, "labels": [10, 30], "members": [1, 2], "ensemble_labels": 20},
    },
    "rewards": {
        "vowels": {"kind": "python", "function": "own_rewards:vowels"},
        "by-labels": {"kind": "trained", "features": ENCODER, "labels": 30},
        "by-pairs": {"kind": "trained", "features": ENCODER, "labels": 20, "loss": "bradley-terry", "noise": 1},
        "tuned": {"kind": "fine-tuned", "text": "prompt+reply", "labels": 20, "batch": 10, "learning_rate": 1e-3},
    },
    "ensembles": {},
}


def test_proxies_are_trained_on_other_prompts_and_swept(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    project.study(CHANGE)
    plan = project.plan()
    assert not plan.jobs["sample"], "the prompts behind the study's own were drawn already"
    assert plan.jobs["features"] == 2 + 1, "once a shard, whoever reads them"
    assert plan.jobs["train_head"] == 2
    assert (plan.jobs["fine_tune"], plan.jobs["score"]) == (1, 2)
    results = project.folder / "results/tiny"
    project.run("results/tiny/limits/proxies.parquet", "results/tiny/prompts.parquet")
    assert read_table(results / "limits/proxies.parquet", PROXIES).height == 2 * 2 * 1
    assert read_table(results / "limits/proxy_onsets.parquet", PROXY_ONSETS).height == 2 * 2 * 2
    assert read_table(results / "limits/proxy_ensembles.parquet", PROXY_ENSEMBLES).height == 3 * (1 + 4)
    assert set(CHANGE["rewards"]) < set(pl.read_parquet(results / "ensembles/rewards.parquet").columns)

    (shared,) = (project.folder / "results/shared").iterdir()
    evaluated = set(pl.read_parquet(results / "prompts.parquet")["text"])
    chunks = {f.stem: set(pl.read_parquet(f)["text"]) for f in (shared / "prompts").iterdir()}
    trained = set().union(*(texts for name, texts in chunks.items() if name >= "p00004"))
    assert len(trained) == 4
    assert not trained & evaluated

    heads = sorted((shared / "heads").glob("[!.]*"))
    assert [h.name.rsplit("-", 1)[0] for h in heads] == ["by-labels", "by-pairs"]
    with safe_open(heads[0], "np") as head:
        made = json.loads(head.metadata()["alignment_limits"])
        weight = head.get_tensor("weight")
    assert made["config"]["labels"] == 30
    assert made["run"]["samples"] == 4 * 8
    assert weight.any()

    (tuned,) = (shared / "fine_tuned").glob("[!.]*")
    made = json.loads((tuned / "alignment_limits.json").read_text("utf-8"))
    assert made["config"]["labels"] == 20
    assert made["run"]["steps"] == 2
    assert made["run"]["prompts"] == 4

    recipe = {"objective": "rloo", "coefficients": [1], "steps": 2, "batch": 8}
    trained_on = {"head": recipe | {"optimize": ["by-labels"]}, "model": recipe | {"optimize": ["tuned"]}}
    project.study(CHANGE | {"policies": [{"name": "same", "path": "model"}], "training": trained_on})
    plan = project.plan()
    assert plan.jobs["train_policy"] == 2
    assert plan.jobs["policy_features"] == 3 * 2, "once a policy and shard, whoever reads them"
    assert (plan.jobs["policy_score_trained"], plan.jobs["policy_score"]) == (3 * 2 * 2, 3 * 2 * 2)
    assert not {"train_head", "fine_tune", "score_trained"} & {rule for rule, n in plan.jobs.items() if n}

    project.study(CHANGE | {"rewards": CHANGE["rewards"] | {"by-labels": CHANGE["rewards"]["by-labels"] | {"seed": 1}}})
    plan = project.plan()
    assert (plan.jobs["train_head"], plan.jobs["features"], plan.jobs["score_trained"]) == (1, 0, 2)
    assert not plan.jobs["fine_tune"]
