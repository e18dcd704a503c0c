"""Training from preference tables in the workflow: features once, pairs by seed, a reward fitted in the job."""

import polars as pl

from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.samples import CURVES

RECIPE = {"learn_from": ["label-noise"], "pairs": [40], "coefficients": [0], "seeds": [1], "steps": 2, "batch": 8}
CHANGE = {
    "preferences": {
        "gamma": 0.2,
        "pairs_per_prompt": 10,
        "settings": {"label-noise": [0.1, 0.3]},
        "features": {"path": "model"},  # any transformers model with a padding token
    },
    "training": {
        "distilled": RECIPE | {"objective": "distillation"},
        "reverse": RECIPE | {"objective": "reverse-kl", "group": 4},
    },
}


def test_policies_learn_from_a_table_of_pairs_and_a_reward_fitted_to_them(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    project.study(CHANGE)
    runs = [f"results/tiny/training/{recipe}-label-noise-n40-0-s1" for recipe in ("distilled", "reverse")]
    said = project.run(*runs)
    assert "rule sample:" not in said, "nothing is sampled again"
    assert (said.count("rule features:"), said.count("rule preferences:"), said.count("rule train_policy:")) == (
        4,
        1,
        2,
    )
    assert said.count("the reward fitted to 40 pairs: log loss") == 2
    for run in runs:
        curves = read_table(project.folder / run / "curves.parquet", CURVES)
        assert curves["step"].to_list() == [0, 1]
        assert curves.select(pl.col("reward", "kl", "loss").is_finite().all()).row(0) == (True, True, True)
        assert set(curves["optimized"]) == {"vowels"}
        assert (project.folder / run / "model/adapter_model.safetensors").is_file()

    plan = project.plan(*runs)
    assert not plan.jobs.get("train_policy"), "all is there"
    project.study(CHANGE | {"preferences": CHANGE["preferences"] | {"gamma": 0.3}})
    plan = project.plan(*runs)
    assert (plan.jobs["preferences"], plan.jobs["train_policy"], plan.jobs.get("features", 0)) == (1, 2, 0)
