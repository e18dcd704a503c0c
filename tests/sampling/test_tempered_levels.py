"""Tempered sampling of a shard: requests to an engine, files of levels, a killed job, tables and back."""

import itertools

import numpy as np
import polars as pl
import pytest
from tqdm import tqdm

from alignment_limits.errors import ArtifactError
from alignment_limits.limits import Level, Tempering
from alignment_limits.sampling.shard import Completion, Request
from alignment_limits.sampling.tempered import LanguageWorld, Writing, draw_levels, ladder_of, level_of
from alignment_limits.sampling.tempered_limits import limits_of
from alignment_limits.sampling.transformers_engine import TransformersEngine
from alignment_limits.study.base import Source
from alignment_limits.study.sampling import Model, Sampling
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.estimates import TEMPERED as LIMITS
from alignment_limits.tables.schemas.samples import TEMPERED

LONGEST, STOP, PROMPTS = 3, [0], [f"p{i:02d}" for i in range(16)]
TREE = [(*b, 0) for n in range(LONGEST) for b in itertools.product((1, 2), repeat=n)]
TREE += list(itertools.product((1, 2), repeat=LONGEST))


class Killed(Exception):
    pass


class Coins:
    """An engine of three equally likely tokens: the first ends a reply. It may be killed before a call."""

    def __init__(self, calls=None):
        self.left = calls

    def generate(self, requests, stop, progress):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed
        out = []
        for request in requests:
            assert request.n == 1
            assert 1 <= request.max_new_tokens <= LONGEST
            assert request.token_ids[0] == 100 + int(request.prompt_id[1:])
            assert len(request.token_ids) - 1 + request.max_new_tokens == LONGEST
            rng, tokens = np.random.default_rng(request.seed), []
            while len(tokens) < request.max_new_tokens and not (tokens and tokens[-1] in stop):
                tokens.append(int(rng.integers(3)))
            out.append([Completion(tokens, 0.0, "stop")])
        return out


def value(prompt, reply):
    return 1.3 * sum(token == 2 for token in reply) - 0.1 * prompt * (len(reply) == 3)


def reward(prompts, replies):
    return np.array([value(p, r) for p, r in zip(prompts, replies, strict=True)])


def gold(prompts, replies):
    return np.array([float(2 in reply) for reply in replies])


def world(engine=None):
    sent = [[100 + i] for i in range(len(PROMPTS))]
    return LanguageWorld(engine or Coins(), PROMPTS, sent, LONGEST, STOP, reward, tqdm)


@pytest.fixture(scope="module")
def base():
    own = world()
    rows = [own.extend([i] * 64, [()] * 64, range(64 * i, 64 * i + 64)) for i in range(len(PROMPTS))]
    return Level.base(rows, [reward([i] * 64, row) for i, row in enumerate(rows)])


def writing(folder, stamp="a"):
    def texts(replies):
        return [" ".join(map(str, reply)) for reply in replies]

    return Writing(folder, PROMPTS, texts, gold, {"stamp": stamp})


SETTINGS = Tempering(kl=1.0, particles=32, moves=2)


@pytest.fixture(scope="module")
def table(base, tmp_path_factory):
    return draw_levels(world(), base, SETTINGS, [], writing(tmp_path_factory.mktemp("levels")))


def test_the_table_has_both_runs_and_the_contract(table, tmp_path):
    write_table(table, tmp_path / "t.parquet", TEMPERED, {})
    assert read_table(tmp_path / "t.parquet", TEMPERED).equals(table)
    last = int(table["level"].max())
    sizes = {(run, level): n for run, level, n in table.group_by("run", "level").len().iter_rows()}
    expected = {("full", 0): 16 * 64}
    expected |= {(run, i): 16 * n for run, n in (("full", 32), ("half", 16)) for i in range(1, last + 1)}
    assert sizes == expected
    assert (table["n_tokens"] == table["token_ids"].list.len()).all()
    assert (table["origins"].list.len() == table["n_tokens"]).all()
    rows = [PROMPTS.index(name) for name in table["prompt_id"]]
    assert table["score"].to_list() == pytest.approx(reward(rows, table["token_ids"].to_list()).tolist())
    assert table["gold"].to_list() == pytest.approx(gold(rows, table["token_ids"].to_list()).tolist())
    assert table["log_ratio"].to_list() == pytest.approx((table["inverse"] * table["score"] - table["log_z"]).to_list())


@pytest.mark.parametrize("calls", [1, 5, 9])
def test_a_killed_job_continues_with_the_same_result(base, table, tmp_path, calls):
    with pytest.raises(Killed):
        draw_levels(world(Coins(calls)), base, SETTINGS, [], writing(tmp_path))
    kept = len(list(tmp_path.glob("*.parquet")))
    assert kept == calls // SETTINGS.moves
    engine = Coins(1000)
    again = draw_levels(world(engine), base, SETTINGS, [], writing(tmp_path))
    assert again.equals(table)
    assert 1000 - engine.left == 2 * SETTINGS.moves * int(table["level"].max()) - kept * SETTINGS.moves


def test_levels_of_other_settings_are_not_used(base, table, tmp_path):
    with pytest.raises(Killed):
        draw_levels(world(Coins(6)), base, SETTINGS, [], writing(tmp_path, "b"))
    engine = Coins(1000)
    again = draw_levels(world(engine), base, SETTINGS, [], writing(tmp_path, "a"))
    assert again.equals(table)
    assert 1000 - engine.left == 2 * SETTINGS.moves * int(table["level"].max())


def test_a_level_survives_its_table(table):
    part = table.filter((pl.col("run") == "full") & (pl.col("level") == 2))
    level = level_of(part.sample(fraction=1.0, shuffle=True, seed=0))
    back = writing(None).table("full", level)
    assert back.select(part.columns).equals(part.sort("prompt_id", "particle"))


def exact(kl=None):
    """Mean gain at a mean KL by listing all replies."""
    log_base = np.array([-len(reply) * np.log(3) for reply in TREE])
    scores = np.array([[value(i, reply) for reply in TREE] for i in range(16)])
    lams = np.linspace(0, 4, 4001)
    logs = log_base + lams[:, None, None] * scores
    z = np.log(np.exp(logs).sum(-1))
    mean = (np.exp(logs - z[:, :, None]) * scores).sum(-1)
    spent = (lams[:, None] * mean - z).mean(1)
    return np.interp(kl, spent, mean.mean(1) - mean[0].mean())


def test_limits_of_shards_contain_the_exact_ones(base, table):
    p = {"optimized": "coins", "gold": "gold", "kls": [0.1, 0.4, 0.8], "bootstrap": 500, "seed": 0}
    parts = [table.filter(pl.col("prompt_id").is_in(names)) for names in (PROMPTS[:8], PROMPTS[8:])]
    ends = np.full(16, -5.0), np.full(16, 5.0)
    found = limits_of(parts, p, None, {"coins": ends})
    assert list(found.columns)
    assert set(LIMITS.columns) <= set(found.columns)
    every = found.filter((pl.col("at") == "kl") & (pl.col("evaluated") == "coins"))
    assert every["at_least"].is_finite().all()
    assert (every["at_most"] > every["gain"]).all()
    assert (every.filter(pl.col("budget") == "per-prompt")["gain"] > 0).all()
    own = every.filter(pl.col("budget") == "average")
    for row in own.iter_rows(named=True):
        assert row["reliable"], row["reason"]
        assert row["gain_low"] <= exact(row["kl"]) <= row["gain_high"]
    other = found.filter(
        (pl.col("at") == "kl") & (pl.col("evaluated") == "gold") & (pl.col("budget") == "average")
    )  # fmt: skip
    assert (other["gain"] > 0).all()
    assert other["kl"].to_list() == own["kl"].to_list()
    assert found["base_tokens"][0] == pytest.approx(base.lengths.mean())


def test_shards_with_other_levels_are_refused(table):
    other = table.with_columns(inverse=pl.col("inverse") * 1.1)
    with pytest.raises(ArtifactError, match="different levels"):
        limits_of([table, other], {}, None)
    assert ladder_of(table) == sorted(ladder_of(table))


def test_a_given_ladder_is_followed(base, tmp_path):
    table = draw_levels(world(), base, SETTINGS, [0.1, 0.5], writing(tmp_path))
    assert ladder_of(table) == [0.1, 0.5]


@pytest.fixture(scope="module")
def engine(tiny_model):
    sampling = Sampling(
        engine="transformers", samples_per_prompt=4, block=4, max_new_tokens=6, temperature=0.8, top_p=0.9
    )
    return TransformersEngine(tiny_model, Model(name="tiny", source=Source(path=str(tiny_model))), sampling, 32, 1)


def test_single_requests_depend_on_themselves_alone(engine):
    requests = [Request("a", [5, 6, 7], 1, seed, 4) for seed in range(6)] + [Request("b", [5, 6], 1, 9, 5)]
    together = engine.generate(requests, [], tqdm)
    alone = [engine.generate([request], [], tqdm)[0] for request in reversed(requests)][::-1]
    assert [c.token_ids for (c,) in together] == [c.token_ids for (c,) in alone]
    assert [len(c.token_ids) for (c,) in together] == [4] * 6 + [5]
    assert len({tuple(c.token_ids) for (c,) in together[:6]}) > 3


def test_single_requests_have_the_law_of_blocks(engine):
    """First tokens of 2,000 single requests and of a block of 2,000 have one law; so have their log-probabilities."""
    singles = [c for (c,) in engine.generate([Request("a", [5, 6], 1, seed, 1) for seed in range(2000)], [], tqdm)]
    (block,) = engine.generate([Request("a", [5, 6], 2000, 0, 1)], [], tqdm)
    one, other = (np.bincount([c.token_ids[0] for c in part], minlength=600) for part in (singles, block))
    logprob = {c.token_ids[0]: c.logprob for c in block}
    assert all(
        c.logprob == pytest.approx(logprob[c.token_ids[0]], abs=1e-5) for c in singles if c.token_ids[0] in logprob
    )
    seen = one + other > 20
    chi = ((one - other)[seen] ** 2 / (one + other)[seen]).sum()
    assert chi < seen.sum() + 5 * np.sqrt(2 * seen.sum())
