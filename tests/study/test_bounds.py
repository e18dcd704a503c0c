"""Bounds of rewards in the study file: where they are given, what they must be, and that they change no score."""

import pytest
import yaml
from pydantic import ValidationError

from alignment_limits.study.study import Study
from alignment_limits.tables.estimates import settings_of

SCORES = {"study": "s", "scores": {"table": "t.csv", "gold": "judge", "proxies": ["rm"]}}
REWARDS = """\
study: s
model: {name: m, source: {path: model}}
prompts: {source: {path: p.csv}, count: 4}
sampling: {samples_per_prompt: 64}
gold: passes
rewards:
  passes: {kind: lexicon, lexicon: vader}
  brevity: {kind: length, sign: -1}
"""


def of_rewards(**bounds: list[float]) -> Study:
    given = yaml.safe_load(REWARDS)
    for name, pair in bounds.items():
        given["rewards"][name]["bounds"] = pair
    return Study.model_validate(given)


def test_bounds_of_a_table_and_of_rewards_reach_the_frontier() -> None:
    study = Study.model_validate(SCORES | {"scores": SCORES["scores"] | {"bounds": {"judge": [1, 10]}}})
    assert study.bounds == {"judge": (1.0, 10.0)}
    assert settings_of("frontier", study)["bounds"] == {"judge": (1.0, 10.0)}
    assert of_rewards(passes=[-1, 1]).bounds == {"passes": (-1.0, 1.0)}
    assert "bounds" not in settings_of("frontier", of_rewards())


def test_bounds_change_no_score() -> None:
    plain, bounded = of_rewards(), of_rewards(passes=[-1, 1])
    assert plain.scorer_id("passes") == bounded.scorer_id("passes")


@pytest.mark.parametrize(("bounds", "message"), [
    ({"judge": [10, 1]}, r"the lowest score comes first"),
    ({"judge": [1]}, "at least 2 items"),
    ({"judge": [0, float("inf")]}, "finite"),
    ({"gpt": [1, 10]}, r"bounds names 'gpt', which is neither gold nor a proxy \(judge, rm\)"),
])  # fmt: skip
def test_bad_bounds_are_refused(bounds: dict[str, list[float]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Study.model_validate(SCORES | {"scores": SCORES["scores"] | {"bounds": bounds}})
