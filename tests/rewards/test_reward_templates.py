"""What a reward's own chat template is given: the study's date."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_rewards import ASKS, CHATML, CLASSIFIER, GUARD, PROMPTS, TEXTS, one_score

from alignment_limits.rewards.load import load_reward
from alignment_limits.study.load import load_study, over_default

DEFAULT = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text("utf-8"))


@pytest.mark.parametrize("spec", [CLASSIFIER, GUARD], ids=lambda spec: spec["kind"])
@pytest.mark.parametrize("written", ["{{ strftime_now('%d %b %Y') }}", "{{ date_string }}"])
def test_a_template_that_prints_the_date_prints_the_studys(make_classifier, make_causal, spec, written):
    make = make_causal if spec["kind"] == "guard" else make_classifier
    folder = make("qwen2", template=f"Today: {written}\n" + CHATML + ASKS)
    turns = CHATML.partition("{{ m['role'] }}")[0].partition("%}")[2]
    ends = "<|im_start|>assistant\n" if spec["kind"] == "guard" else ""
    for date, printed in ((None, "26 Jul 2024"), ("2031-02-03", "03 Feb 2031")):
        scores = load_reward(spec | ({} if date is None else {"date": date}), folder).score(PROMPTS[:2], TEXTS[:2])
        expected = [
            f"Today: {printed}\n{turns}user\n{p}<|im_end|>\n{turns}assistant\n{r}<|im_end|>\n{ends}"
            for p, r in zip(PROMPTS[:2], TEXTS[:2], strict=True)
        ]
        np.testing.assert_allclose(scores.score, [one_score(folder, spec["kind"], s) for s in expected], atol=1e-4)


def test_a_reward_is_fine_tuned_on_the_date_that_it_scores_on(tuned):
    pairs = [("Hi", "Yes."), ("Why?", "So.")], [("Hi", "No!"), ("Why?", "What?")]
    dated = "{{ strftime_now('%d %b %Y') }}\n" + CHATML
    asked, written, frozen = (
        tuned(dated, *pairs, date="2031-02-03"),
        tuned("03 Feb 2031\n" + CHATML, *pairs),
        tuned(dated, *pairs),
    )
    assert asked == written != frozen


def test_the_date_decides_the_scores_of_rewards_that_read_through_a_template():
    rewards = {
        "chat": {"kind": "sequence-classifier", "source": {"path": "."}},
        "joined": {"kind": "sequence-classifier", "source": {"path": "."}, "text": "prompt+reply"},
        "guard": {"kind": "guard", "source": {"path": "."}},
        "asked": {"kind": "guard", "source": {"path": "."}, "wording": "Is {reply} safe?"},
        "tuned": {"kind": "fine-tuned", "source": {"path": "."}, "labels": 5},
        "head": {"kind": "trained", "features": {"path": "."}, "labels": 5},
        "words": {"kind": "length"},
        "sum": {"kind": "sum", "terms": {"chat": 1.0, "words": 1.0}},
    }
    own = {
        "rewards": rewards,
        "gold": "words",
        "ensembles": {},
        "gold_labels": {"prompts": 8, "samples_per_prompt": 32},
    }
    one, other = (
        load_study(over_default(DEFAULT, own | {"prompts": {"date": d}})) for d in ("2024-07-26", "2031-02-03")
    )
    assert one.base_id == other.base_id, "prompts go through no template"
    changed = {name for name in rewards if one.scorer_id(name) != other.scorer_id(name)}
    assert changed == {"chat", "guard", "tuned", "sum"}
    assert {name for name in rewards if other.dated(name) == {"date": "2031-02-03"}} == {"chat", "guard", "tuned"}
