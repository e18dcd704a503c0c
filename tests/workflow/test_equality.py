"""How the work is cut and ordered changes no number, but for the rounding of log-probabilities."""

import numpy as np
import polars as pl

ROUNDED = "logprob", "mean_logprob"  # float32 sums, whose order is that of the threads


def tables(project):
    """Every table of the study by its path; shards as one table each, in key order."""
    study = project.folder / "results/tiny"
    out = {str(f.relative_to(study)): f for f in study.rglob("*.parquet") if not f.is_symlink()}
    out = {name: pl.read_parquet(file) for name, file in out.items()}
    for folder in (study / "samples/tiny", *(study / "scores").glob("[!.]*")):
        shards = [pl.read_parquet(f) for f in folder.glob("*.parquet")]
        out[folder.name] = pl.concat(shards).sort("prompt_id", "sample_id")
    return out


def test_results_do_not_depend_on_cores_shards_or_order(finished, tmp_path):
    expected = tables(finished)
    other = finished.copy(tmp_path / "project")
    other.study({"sampling": {"shard_tokens": 800}})  # all prompts in one chunk
    shared = next((other.folder / "results/shared").iterdir()).relative_to(other.folder)
    said = other.run("--prioritize", shared / "samples/p00000-00008-b00001.parquet", cores=1)
    assert said.index("p00000-00008-b00001.parquet") < said.index("p00000-00008-b00000.parquet")
    found = tables(other)
    assert found.keys() == expected.keys()
    for name, table in found.items():
        rounded = [c for c in ROUNDED if c in table.columns]
        assert table.drop(rounded).equals(expected[name].drop(rounded)), name
        np.testing.assert_allclose(table.select(rounded), expected[name].select(rounded), rtol=1e-6)
