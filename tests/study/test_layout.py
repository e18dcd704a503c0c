"""Where a study's files lie: the one object that rules ask."""

from pathlib import Path

import pytest
import yaml

from alignment_limits.study.layout import Layout
from alignment_limits.study.load import load_study, over_default

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))


def layout(name=None, **changes):
    given = yaml.safe_load((ROOT / f"config/studies/{name}.yaml").read_text("utf-8")) if name else {}
    return Layout(load_study(over_default(DEFAULT, given | changes), "study.yaml"))


def test_shards_are_every_block_of_every_chunk():
    lay = layout()
    shards = lay.shards("samples/{chunk}-{block}.parquet")
    assert len(shards) == len(set(shards)) == len(lay.chunks) * len(lay.blocks)
    assert shards[0] == lay.shared(f"samples/{lay.chunks[0]}-{lay.blocks[0]}.parquet")
    assert sum(int(c[7:]) - int(c[1:6]) for c in lay.chunks) == lay.study.prompts.count


def test_training_prompts_follow_the_studys_own():
    lay = layout("safety_proxies")
    count, more = lay.study.prompts.count, lay.study.gold_labels.prompts
    assert lay.training_chunks[0].startswith(f"p{count:05d}-")
    assert lay.training_chunks[-1].endswith(f"-{count + more:05d}")
    assert not set(lay.training_chunks) & set(lay.chunks)


def test_a_study_of_scores_has_files_of_its_own_and_no_shared_ones():
    lay = layout("scores_only")
    assert lay.score_files("vader") == ["results/scores-only/scores/vader/table.parquet"]
    assert lay.clusters == "results/scores-only/ensembles/clusters.parquet"


def test_every_reward_is_given_or_a_sum_or_trained():
    for name in (None, "safety_proxies", "summarisation", "enumerable"):
        lay = layout(name)
        others = [*lay.of_kind("sum"), *lay.of_kind("trained"), *lay.of_kind("fine-tuned")]
        assert sorted([*lay.given, *map(lay.scorers.get, others)]) == sorted(lay.study.rewards)


def test_policies_are_brought_or_trained():
    lay = layout("enumerable")
    assert lay.runs
    assert not lay.brought
    for policy in lay.policies:
        assert lay.policy_files(policy) == lay.shared(f"training/{policy}/model")
        kinds = lay.kinds(policy)
        assert {"samples", "kl", "scores/whole"} <= kinds.keys()
        assert all(folder.startswith(lay.shared(f"policies/{policy}")) for folder in kinds.values())
    assert lay.shown["whole"] == "whole"


@pytest.mark.parametrize("name", ["summarisation", None])
def test_only_rewards_that_read_documents_get_them(name):
    lay = layout(name)
    for reward in lay.given:
        read = getattr(lay.study.rewards[reward], "beside", "prompt")
        assert bool(lay.documents_for(reward)) == (read != "prompt")
        assert lay.reads_with(reward) == read


def test_the_module_of_a_rewards_kind_counts_and_a_users_own():
    own = {"kind": "python", "function": "mine:score"}
    lay = layout(rewards=DEFAULT["rewards"] | {"own": own})
    assert lay.modules("own") == ["alignment_limits.rewards.python_function", "mine"]
    assert lay.modules("vader") == ["alignment_limits.rewards.words"]
