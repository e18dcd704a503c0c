"""What a reward's own chat template is given: the study's date."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny_rewards import CHATML, PROMPTS, TEXTS
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from alignment_limits.config.load import load_study, over_default
from alignment_limits.proxies.fine_tune import fine_tune
from alignment_limits.rewards.load import load_reward

DEFAULT = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text("utf-8"))
ASKS = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CLASSIFIER = {"kind": "sequence-classifier", "text": "chat", "sign": 1, "label": 1}
GUARD = {"kind": "guard", "text": "reply", "sign": 1, "safe": "safe", "unsafe": "unsafe", "lead": ""}


def _score(folder, kind, string):
    """A reward's score of one text by a forward pass of its tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer(string, add_special_tokens=False)["input_ids"]])
    auto = AutoModelForCausalLM if kind == "guard" else AutoModelForSequenceClassification
    model = auto.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        if kind == "guard":
            logits = model(ids).logits[0, -1].double()
            good, bad = (tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in ("safe", "unsafe"))
            return float(logits[good] - logits[bad])
        return float(model.score(model.base_model(ids).last_hidden_state[0, -1])[1])


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
        np.testing.assert_allclose(scores.score, [_score(folder, spec["kind"], s) for s in expected], atol=1e-4)


def test_a_reward_is_fine_tuned_on_the_date_that_it_scores_on(make_causal, tmp_path):
    def loss(name, template, **date):
        settings = {"text": "chat", "wording": None, "max_length": None, "seed": 0, "epochs": 1, "batch": 2, "parts": 1}
        settings |= {"learning_rate": 1e-3, "dtype": "float32", "trust_remote_code": False} | date
        (tmp_path / name).mkdir()
        pairs = [("Hi", "Yes."), ("Why?", "So.")], [("Hi", "No!"), ("Why?", "What?")]
        start = make_causal("qwen2", template=template + CHATML)
        return fine_tune(start, *pairs, settings, tmp_path / name / "model", tmp_path / name)["loss"]

    dated = "{{ strftime_now('%d %b %Y') }}\n"
    assert loss("a", dated, date="2031-02-03") == loss("b", "03 Feb 2031\n") != loss("c", dated)


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
    own = {"rewards": rewards, "gold": "words", "ensembles": {}, "gold_labels": {"prompts": 8, "samples_per_prompt": 32}}
    one, other = (load_study(over_default(DEFAULT, own | {"prompts": {"date": d}})) for d in ("2024-07-26", "2031-02-03"))
    assert one.base_id == other.base_id, "prompts go through no template"
    changed = {name for name in rewards if one.scorer_id(name) != other.scorer_id(name)}
    assert changed == {"chat", "guard", "tuned", "sum"}
    assert {name for name in rewards if other.dated(name) == {"date": "2031-02-03"}} == {"chat", "guard", "tuned"}
