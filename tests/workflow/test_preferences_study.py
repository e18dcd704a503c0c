"""Preference pairs among a study's own samples."""

import numpy as np
import polars as pl

from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.samples import FITTED_REWARDS, PREFERENCES, STANDARDISED


def test_pairs_of_samples_have_the_exact_targets_probability(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    settings = {"as-modelled": [0], "label-noise": [0.1, 0.3]}
    prompt = read_table(project.folder / "results/tiny/ensembles/standardised.parquet", STANDARDISED)["prompt_id"][0]
    (project.folder / "mine.csv").write_text(f"prompt_id,chosen_id,rejected_id\n{prompt},3,1\n{prompt},0,5\n")
    made = {"gamma": 0.2, "beta": 0.5, "pairs_per_prompt": 20, "settings": settings, "table": "mine.csv"}
    project.study({"preferences": made})
    wanted = [f"results/tiny/preferences/{s}.parquet" for s in (*settings, "table", "rewards/label-noise")]
    said = project.run(*wanted)
    assert "rule sample:" not in said, "nothing is sampled again"
    folder = project.folder
    pairs = read_table(folder / wanted[1], PREFERENCES)
    assert pairs.group_by("prompt_id", "level").len()["len"].unique().to_list() == [20]
    samples = pl.concat([pl.read_parquet(f) for f in (folder / "results/shared").rglob("samples/*.parquet")])
    scores = read_table(folder / "results/tiny/ensembles/standardised.parquet", STANDARDISED)
    both = samples.select("prompt_id", "sample_id", "logprob").join(
        scores.select("prompt_id", "sample_id", "vowels"), on=["prompt_id", "sample_id"]
    )
    target = both.with_columns(value=pl.col("logprob") + pl.col("vowels") / 0.5)
    value = {(r["prompt_id"], r["sample_id"]): r["value"] for r in target.iter_rows(named=True)}

    def modelled(table):
        ids = table.select("prompt_id", "chosen_id", "rejected_id").rows()
        return [1 / (1 + np.exp(-0.2 * (value[p, c] - value[p, r]))) for p, c, r in ids]

    np.testing.assert_allclose(pairs["probability"], modelled(pairs), rtol=1e-9)
    noise = pairs["level"].to_numpy()
    np.testing.assert_allclose(pairs["observed"], (1 - 2 * noise) * pairs["probability"] + noise)
    assert set(pairs["setting"]) == {"label-noise"}
    assert pairs["gamma"].unique().to_list() == [0.2]
    own = read_table(folder / wanted[2], PREFERENCES)
    assert own.select("prompt_id", "chosen_id", "rejected_id").rows() == [(prompt, 3, 1), (prompt, 0, 5)]
    np.testing.assert_allclose(own["probability"], modelled(own), rtol=1e-9)
    rewards = read_table(folder / wanted[3], FITTED_REWARDS)
    assert set(rewards["level"]) == {0.1, 0.3}
    sums = rewards.group_by("level", "prompt_id").agg(pl.col("score").sum())["score"]
    np.testing.assert_allclose(sums, 0, atol=1e-9)
