"""Tables are complete or absent, keep their contract, and say what made them."""

import errno
import shutil

import numpy as np
import polars as pl
import pytest

from alignment_limits import files
from alignment_limits.errors import ArtifactError
from alignment_limits.limits import Plan
from alignment_limits.tables import estimates
from alignment_limits.tables.artifacts import KEY, read_provenance, read_table, read_tables, write_table
from alignment_limits.tables.grid import Grid, read_scores, reward_arrays, same_keys
from alignment_limits.tables.schemas import limits
from alignment_limits.tables.schemas.samples import SCORES, STANDARDISED


def scores(n=3, m=4, **columns):
    table = pl.DataFrame(
        {
            "prompt_id": [f"p{i}" for i in range(n) for _ in range(m)],
            "sample_id": list(range(m)) * n,
            "score": np.arange(n * m, dtype=float),
            "truncated": [False] * (n * m),
        }
    )
    return table.with_columns(**columns)


def test_a_table_returns_as_written_with_its_provenance(tmp_path):
    write_table(scores(), tmp_path / "a/s.parquet", SCORES, {"study": "x", "seed": 3})
    assert read_table(tmp_path / "a/s.parquet", SCORES).equals(scores().cast({"sample_id": pl.Int32}))
    assert {"study": "x", "seed": 3}.items() <= read_provenance(tmp_path / "a/s.parquet").items()


def test_more_columns_are_kept_behind_the_contract(tmp_path):
    write_table(scores(extra=pl.lit(1)), tmp_path / "s.parquet", SCORES, {})
    assert read_table(tmp_path / "s.parquet", SCORES).columns == [*SCORES.columns, "extra"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "s.parquet"
    write_table(scores(), path, SCORES, {})
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match="lacks the column"):
        write_table(scores().drop("score"), path, SCORES, {})
    with pytest.raises(RuntimeError), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["s.parquet"]


def test_a_full_disk_is_told_by_name(tmp_path):
    with (
        pytest.raises(ArtifactError, match=r"no space left on the disk while writing .*s.parquet; free some"),
        files.atomic(tmp_path / "s.parquet"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_readers_name_the_bad_file(tmp_path):
    with pytest.raises(ArtifactError, match="none.parquet does not exist"):
        read_table(tmp_path / "none.parquet", SCORES)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ArtifactError, match="bad.parquet is damaged"):
        read_table(tmp_path / "bad.parquet", SCORES)
    scores().write_parquet(tmp_path / "foreign.parquet")
    with pytest.raises(ArtifactError, match="has no provenance"):
        read_table(tmp_path / "foreign.parquet", SCORES)
    write_table(scores(), tmp_path / "s.parquet", SCORES, {"study": "x"})
    with pytest.raises(ArtifactError, match="written with study='x', not 'y'; delete it"):
        read_table(tmp_path / "s.parquet", SCORES, expect={"study": "y"})


def test_a_truncated_file_is_refused(tmp_path):
    write_table(scores(), tmp_path / "s.parquet", SCORES, {})
    content = (tmp_path / "s.parquet").read_bytes()
    (tmp_path / "s.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match="s.parquet is damaged"):
        read_table(tmp_path / "s.parquet", SCORES)


def test_a_table_put_in_the_place_of_another_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_table(scores(), "results/shared/a/s.parquet", SCORES, {})
    (tmp_path / "results/shared/b").mkdir()
    shutil.copy("results/shared/a/s.parquet", "results/shared/b/s.parquet")
    with pytest.raises(ArtifactError, match=r"b/s.parquet was written as shared/a/s.parquet, with other settings"):
        read_table("results/shared/b/s.parquet", SCORES)
    # neither a link nor a move of all results is another place
    (tmp_path / "results/mine").symlink_to("shared/a")
    (tmp_path / "results").rename(tmp_path / "elsewhere")
    assert read_table(tmp_path / "elsewhere/mine/s.parquet", SCORES).height == 12


def test_a_table_with_another_metadata_is_refused(tmp_path):
    write_table(scores(), tmp_path / "s.parquet", SCORES, {})
    metadata = pl.read_parquet_metadata(tmp_path / "s.parquet")["alignment_limits"]
    scores()[:-1].write_parquet(tmp_path / "s.parquet", metadata={"alignment_limits": metadata})
    with pytest.raises(ArtifactError, match="s.parquet is damaged"):
        read_table(tmp_path / "s.parquet", SCORES)


def test_any_flipped_bit_is_noticed(tmp_path):
    """Parquet alone reads a quarter of them as other values, without a word."""
    path = tmp_path / "s.parquet"
    write_table(scores(), path, SCORES, {"config": {"sha256": "0" * 64}})
    content = path.read_bytes()
    for i in range(0, len(content), 7):
        path.write_bytes(content[:i] + bytes([content[i] ^ 1 << i % 8]) + content[i + 1 :])
        with pytest.raises(ArtifactError, match="s.parquet (is damaged|has no provenance)"):
            read_table(path, SCORES)


def test_a_key_that_occurs_twice_is_refused_within_and_across_files(tmp_path):
    with pytest.raises(ArtifactError, match="12 key.*twice, the first is p0, sample 0"):
        write_table(pl.concat([scores(), scores()]), tmp_path / "s.parquet", SCORES, {})
    for name in ("a", "b"):
        write_table(scores(), tmp_path / f"{name}.parquet", SCORES, {})
    with pytest.raises(ArtifactError, match="12 key"):
        read_tables([tmp_path / "a.parquet", tmp_path / "b.parquet"], SCORES)


@pytest.mark.parametrize("order", ["as they are", "sorted", "reversed"])
def test_one_repeated_key_is_noticed_in_any_order_of_rows(tmp_path, order):
    table = pl.concat([scores(), scores()[-1:]])
    rows = {"as they are": table, "sorted": table.sort("prompt_id", "sample_id"), "reversed": table.reverse()}[order]
    with pytest.raises(ArtifactError, match="1 key.*twice, the first is p2, sample 3"):
        write_table(rows, tmp_path / "s.parquet", SCORES, {})


def test_scores_that_are_no_numbers_are_named(tmp_path):
    bad = scores(score=pl.when(pl.col("sample_id") == 2).then(float("nan")).otherwise(pl.col("score")))
    write_table(bad, tmp_path / "s.parquet", SCORES, {})
    with pytest.raises(
        ArtifactError, match=r"reward r: 3 score\(s\) are not finite numbers, the first at p0, sample 2"
    ):
        read_scores([tmp_path / "s.parquet"], "r")


def test_scores_outside_the_bounds_of_a_reward_are_named(tmp_path):
    write_table(scores(), tmp_path / "s.parquet", SCORES, {})
    top = float(scores()["score"].max())
    assert read_scores([tmp_path / "s.parquet"], "r", (0, top)).height == scores().height
    with pytest.raises(
        ArtifactError, match=rf"reward r: 1 score\(s\) are outside its bounds, .* first is {top:g} at p"
    ):
        read_scores([tmp_path / "s.parquet"], "r", (0, top - 0.5))


def test_shards_join_by_key_whatever_their_order(tmp_path):
    table = scores(n=5, m=12)
    shuffled = table.sample(fraction=1, shuffle=True, seed=1)
    for i, part in enumerate((shuffled[:23], shuffled[23:])):
        write_table(part, tmp_path / f"{i}.parquet", SCORES, {})
    joined = read_scores([tmp_path / "1.parquet", tmp_path / "0.parquet"], "r")
    assert Grid.of(joined).array(joined["score"]).tolist() == np.arange(60.0).reshape(5, 12).tolist()
    assert joined.select(KEY).equals(table.select(KEY).sort(KEY)), "rows are in key order"


def test_a_ragged_table_is_padded_and_comes_back(tmp_path):
    table = scores(n=3, m=11).filter(~((pl.col("prompt_id") == "p1") & (pl.col("sample_id") > 8)))
    grid = Grid.of(table)
    array = grid.array(table["score"])
    assert np.isnan(array).sum() == 2
    assert np.isnan(array[1, 9:]).all()
    assert grid.values(array).tolist() == table["score"].to_list()


def test_rewards_with_different_keys_are_refused():
    with pytest.raises(ArtifactError, match=r"reward b lacks 1 key\(s\) such as \[\('p2', 3\)\]"):
        same_keys({"a": scores(), "b": scores()[:-1]})
    with pytest.raises(ArtifactError, match=r"lacks 0 key\(s\).*has 1 that a lacks \[\('p2', 3\)\]"):
        same_keys({"a": scores()[:-1], "b": scores()})


def test_arrays_of_absent_rewards_are_refused(tmp_path):
    table = scores().select("prompt_id", "sample_id", r=pl.col("score"))
    write_table(table, tmp_path / "t.parquet", STANDARDISED, {})
    with pytest.raises(ArtifactError, match="lack q"):
        reward_arrays(read_table(tmp_path / "t.parquet", STANDARDISED), ["r", "q"])


PUBLIC = {  # the contracts' columns, in order
    "FRONTIER": "optimized evaluated budget beta kl kl_low kl_high kl_reverse gain gain_low gain_high gain_plugin ess "
    "pareto_k reliable",
    "BEST_OF_N": "method optimized evaluated n temperature kl kl_bound gain gain_low gain_high limit efficiency",
    "PROXY_GAP": "optimized beta error_variance gap gap_low gap_high gap_bound kl gold_gain ideal_gain",
    "ENSEMBLES": "aggregator members k rho beta gap gap_predicted gold_gain_at_kl kl",
    "OVER_OPTIMISATION": "optimized path unit peak peak_low peak_high finding gain",
    "POLICIES": "policy objective optimized coefficient seed kl kl_low kl_high kl_estimator evaluated gain gain_low "
    "gain_high limit efficiency",
}


@pytest.mark.parametrize("name", PUBLIC)
def test_contracts_begin_with_their_public_columns(name):
    columns = list((getattr(estimates, name, None) or getattr(limits, name)).columns)
    assert columns[: len(PUBLIC[name].split())] == PUBLIC[name].split()


def test_types_and_further_columns_are_those_of_the_results():
    assert estimates.FRONTIER.columns.items() >= {"at": pl.String, "reason": pl.String, "log_m": pl.Float64}.items()
    assert (
        estimates.BEST_OF_N.columns.items()
        >= {"n": pl.Int32, "win_rate": pl.Float64, "win_rate_low": pl.Float64}.items()
    )
    assert estimates.FRONTIER.columns["reliable"] == estimates.BEST_OF_N.columns["win_rate_reliable"] == pl.Boolean
    assert set(estimates.PLAN.columns) == set(Plan.__dataclass_fields__)
